"""Opens a feed's file safely: below its root, a regular file, not empty, unpacked within bounds, unchanged."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from airflow_orchestration.exceptions import FeedError

GZIP_MAGIC = b"\x1f\x8b"
MAX_RATIO = 200
"""How many times its packed size a file may unpack to..."""
FREE_BYTES = 10 * 1024 * 1024
"""...once it is larger than this."""
PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A feed's bytes, unpacked, at a path that the engine may read."""

    feed_id: str
    path: Path


@contextmanager
def open_source(root: Path, path: Path, *, feed_id: str, scratch: Path) -> Iterator[Source]:
    """Yield the file's bytes as a plain file; gzip is unpacked into `scratch`.

    Raises `FeedError` when the file isn't a regular file below `root`, is empty, can't be unpacked,
    or was changed before the block ended.
    """
    resolved = _resolved(root, path, feed_id)
    before = _fingerprint(resolved)
    if not stat.S_ISREG(before[0]):
        raise FeedError(f"{feed_id}: {path.name} is no regular file; put the data itself there.")
    if before[2] == 0:
        raise _empty(feed_id, path)
    plain = _plain(resolved, feed_id, scratch)
    try:
        yield Source(feed_id=feed_id, path=plain)
    finally:
        if _fingerprint(resolved) != before:
            raise FeedError(
                f"{feed_id}: {path.name} was changed while it was read; "
                "deliver files under another name and rename them when they are complete."
            )


def _resolved(root: Path, path: Path, feed_id: str) -> Path:
    try:
        base, resolved = root.resolve(strict=True), (root / path).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a circle of links"
        raise FeedError(f"{feed_id}: {path.name} can't be opened ({reason}); check the feed's uri.") from None
    if not resolved.is_relative_to(base):
        raise FeedError(
            f"{feed_id}: {path.name} lies outside its root, through a link or ..; put the file below {root}."
        )
    return resolved


def _fingerprint(path: Path) -> tuple[int, int, int, int]:
    """Mode, inode, size and time of change; zeros when the file is gone."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns)


def _plain(path: Path, feed_id: str, scratch: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(len(GZIP_MAGIC))
    except OSError as error:
        raise FeedError(
            f"{feed_id}: {path.name} can't be read ({error.strerror}); let the worker's user read it."
        ) from None
    if magic == GZIP_MAGIC:
        return _unpacked(path, feed_id, scratch)
    if path.suffix == ".gz":
        raise FeedError(f"{feed_id}: {path.name} ends in .gz and is not gzip; rename or pack it.")
    return path


def _unpacked(path: Path, feed_id: str, scratch: Path) -> Path:
    target = scratch / f"{feed_id}.unpacked"
    limit = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            size = _copy(packed, plain, limit)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise FeedError(
            f"{feed_id}: {path.name} is cut off or damaged inside its gzip; deliver the file again."
        ) from None
    if size > limit:
        raise FeedError(
            f"{feed_id}: {path.name} unpacks to more than {MAX_RATIO} times its size; deliver it unpacked."
        )
    if size == 0:
        raise _empty(feed_id, path)
    return target


def _copy(packed: gzip.GzipFile, plain: IO[bytes], limit: int) -> int:
    size = 0
    while size <= limit and (piece := packed.read(PIECE)):
        plain.write(piece)
        size += len(piece)
    return size


def _empty(feed_id: str, path: Path) -> FeedError:
    return FeedError(f"{feed_id}: {path.name} is empty; a feed without rows has at least its header or [].")


def first_bytes(path: Path, count: int) -> bytes:
    """Read the start of a regular file, never waiting for a writer; raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        return file.read(count)
