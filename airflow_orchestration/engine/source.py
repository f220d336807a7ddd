"""Opens a feed's file safely: below its root, a regular file, not empty, unpacked within bounds, unchanged."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from airflow_orchestration.engine.packing import DAMAGED, PACKINGS, Packing, packing_of
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import SourceFile

MAX_RATIO = 200
"""How many times its packed size a file may unpack to..."""
FREE_BYTES = 10 * 1024 * 1024
"""...once it is larger than this."""
PIECE = 1024 * 1024

Fingerprint = tuple[int, int, int, int, int]
"""Mode, device, inode, size and time of change."""

FD_FOLDER = Path("/proc/self/fd")
"""Linux: a path that leads to an opened file, whatever has become of its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A feed's bytes, unpacked, at a path that the engine may read."""

    feed_id: str
    path: Path
    seen: Fingerprint
    """Of the file as it was opened: two openings with the same one gave the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFile:
    """A regular file below its root, opened once: what was checked is what is read."""

    file: IO[bytes]
    path: Path
    """Without links, when it was opened."""

    @property
    def readable(self) -> Path:
        """The path of these bytes: of the descriptor, so that a name swapped later changes nothing."""
        opened = FD_FOLDER / str(self.file.fileno())
        return opened if opened.exists() else self.path


@contextmanager
def open_source(
    file: SourceFile,
    *,
    feed_id: str,
    scratch: Path,
    max_bytes: int = sys.maxsize,
    may_be_empty: bool = False,
) -> Iterator[Source]:
    """Yield the file's bytes as a plain file; gzip and zstd are unpacked into `scratch`.

    Raises `FeedError` when the file isn't a regular file below its root, is empty and may not be, can't be
    unpacked or unpacks to more than `max_bytes`, or was changed before the block ended.
    """
    path = file.path
    with open_regular(file.root, path, feed_id=feed_id) as opened:
        before = _fingerprint(os.fstat(opened.file.fileno()))
        plain = _plain(opened, feed_id, scratch, max_bytes)
        if not may_be_empty and plain.stat().st_size == 0:
            raise _empty(feed_id, path)
        try:
            yield Source(feed_id=feed_id, path=plain, seen=before)
        finally:
            if not _unchanged(opened, before):
                raise FeedError(
                    f"{feed_id}: {path.name} was changed while it was read; "
                    "deliver files under another name and rename them when they are complete.",
                    code=FeedCode.CHANGED_WHILE_READ,
                )


@contextmanager
def open_regular(root: Path, path: Path, *, feed_id: str) -> Iterator[OpenedFile]:
    """Yield a regular file below `root`; raises `FeedError` when `path` leads to none."""
    base, resolved = _resolved(root, path, feed_id)
    descriptor = _descriptor(resolved, feed_id)
    try:
        if not _real_path(descriptor, resolved).is_relative_to(base):
            raise _outside(feed_id, path, root)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FeedError(
                f"{feed_id}: {path.name} is no regular file; put the data itself there.",
                code=FeedCode.NOT_A_FILE,
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield OpenedFile(file=file, path=resolved)
    finally:
        os.close(descriptor)


def _resolved(root: Path, path: Path, feed_id: str) -> tuple[Path, Path]:
    try:
        base, resolved = root.resolve(strict=True), (root / path).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a circle of links"
        raise FeedError(
            f"{feed_id}: {path.name} can't be opened ({reason}); check the feed's uri.", code=FeedCode.MISSING
        ) from None
    if not resolved.is_relative_to(base):
        raise _outside(feed_id, path, root)
    return base, resolved


def _descriptor(resolved: Path, feed_id: str) -> int:
    """Open without following a link in the last place, and without waiting for the writer of a pipe."""
    try:
        return os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(feed_id, resolved, error) from None


def _real_path(descriptor: int, resolved: Path) -> Path:
    """Where an opened file lies: a folder above it may have become a link since its path was checked."""
    opened = FD_FOLDER / str(descriptor)
    return Path(os.path.realpath(opened if opened.exists() else resolved))


def _fingerprint(found: os.stat_result) -> Fingerprint:
    return (found.st_mode, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _unchanged(opened: OpenedFile, before: Fingerprint) -> bool:
    """Whether the file is as it was, and its name still stands for it."""
    try:
        named = opened.path.lstat()
    except OSError:
        return False
    return before == _fingerprint(named) == _fingerprint(os.fstat(opened.file.fileno()))


def _plain(opened: OpenedFile, feed_id: str, scratch: Path, max_bytes: int) -> Path:
    try:
        packing = packing_of(opened.file.read(4))
    except OSError as error:
        raise _unreadable(feed_id, opened.path, error) from None
    opened.file.seek(0)
    if packing is not None:
        return _unpacked(opened, packing, feed_id, scratch, max_bytes)
    for promised in PACKINGS:
        if opened.path.suffix == promised.suffix:
            raise FeedError(
                f"{feed_id}: {opened.path.name} ends in {promised.suffix} and is not {promised.name}; "
                "rename or pack it.",
                code=FeedCode.SYNTAX,
            )
    return opened.readable


def _unpacked(opened: OpenedFile, packing: Packing, feed_id: str, scratch: Path, max_bytes: int) -> Path:
    target, name = scratch / f"{feed_id}.unpacked", opened.path.name
    ratio_limit = max(FREE_BYTES, MAX_RATIO * os.fstat(opened.file.fileno()).st_size)
    limit = min(ratio_limit, max_bytes)
    try:
        with packing.open(opened.file) as packed, target.open("wb") as plain:
            size = _copy(packed, plain, limit)
    except DAMAGED:
        raise FeedError(
            f"{feed_id}: {name} is cut off or damaged inside its {packing.name}; deliver the file again.",
            code=FeedCode.DAMAGED,
        ) from None
    if size > ratio_limit:
        raise FeedError(
            f"{feed_id}: {name} unpacks to more than {MAX_RATIO} times its size; deliver it unpacked.",
            code=FeedCode.BOMB,
        )
    if size > max_bytes:
        raise FeedError(
            f"{feed_id}: {name} unpacks to more than {max_bytes:,} bytes, the feed's limits.bytes; "
            "raise it, or deliver the file in parts.",
            code=FeedCode.TOO_LARGE,
        )
    return target


def _copy(packed: IO[bytes], plain: IO[bytes], limit: int) -> int:
    size = 0
    while size <= limit and (piece := packed.read(PIECE)):
        plain.write(piece)
        size += len(piece)
    return size


def _outside(feed_id: str, path: Path, root: Path) -> FeedError:
    return FeedError(
        f"{feed_id}: {path.name} lies outside its root, through a link or ..; put the file below {root}.",
        code=FeedCode.OUTSIDE_ROOT,
    )


def _unreadable(feed_id: str, path: Path, error: OSError) -> FeedError:
    return FeedError(
        f"{feed_id}: {path.name} can't be read ({error.strerror}); let the worker's user read it.",
        code=FeedCode.UNREADABLE,
    )


def _empty(feed_id: str, path: Path) -> FeedError:
    return FeedError(
        f"{feed_id}: {path.name} is empty; a feed without rows has at least its header or [].",
        code=FeedCode.EMPTY,
    )


def first_bytes(path: Path, count: int) -> bytes:
    """Read the start of a regular file, never waiting for a writer; raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        return file.read(count)
