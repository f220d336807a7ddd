"""Fetches a feed that is one file or many by a pattern, below a folder or in an object store."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import REMOTE, Location, name_pattern
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from airflow_orchestration.sources.outside import Outside, RemotePath

log = logging.getLogger(__name__)

MAX_FILES = 10_000
"""Files of one feed in one run."""
PIECE = 1024 * 1024
LOCAL_NAME = 255
"""Bytes of the longest name that a file of this machine can have."""


def anything_at(place: str, outside: Outside) -> bool:
    """Whether the file at this path or URI is there, or at least one whose name matches its last part."""
    folder, _, name = place.rpartition("/")
    pattern = name_pattern(name)
    if REMOTE in place:
        base = outside.storage(folder)
        return (base / name).exists() if pattern is None else any(_matching(base, pattern))
    return Path(place).exists() if pattern is None else any(_matching(Path(folder), pattern))


def fetch_files(feed: Feed, location: Location, outside: Outside, scratch: Path) -> Fetched:
    """The files of a feed in the order of their names; those of an object store are copied into `scratch`.

    Raises `FeedError` when there are none or too many, or when they are more or other bytes than they should be.
    """
    if feed.format is None:
        raise FeedError(
            f"{feed.id}: it isn't said how its files are written; add format.", code=FeedCode.REFUSED
        )
    found = _copied(feed, location, outside, scratch) if location.is_remote else local_files(feed, location)
    return Fetched(files=tuple(found), format=feed.format)


def local_files(feed: Feed, location: Location) -> list[SourceFile]:
    """The files of a feed below a folder of this machine; what they are is checked when they are opened.

    Raises `FeedError` when no name matches a pattern, too many do, or one is no text.
    """
    root, path = Path(location.root), Path(location.root) / location.below
    if name_pattern(path.name) is not None and not path.parent.resolve().is_relative_to(root.resolve()):
        raise FeedError(
            f"{feed.id}: {path.parent} lies outside its root, through a link; put the files below {root}.",
            code=FeedCode.OUTSIDE_ROOT,
        )
    names = _chosen(feed, location, path.parent)
    for name in names:
        _check_letters(feed, path.parent, name)
    return [
        SourceFile(path=path.with_name(name), root=root, origin=_origin(location, name)) for name in names
    ]


def remote_bytes(location: Location, outside: Outside) -> int:
    """The size of a feed's objects together; 0 when that can't be told."""
    folder, _, name = str(location).rpartition("/")
    try:
        base, pattern = outside.storage(folder), name_pattern(name)
        if pattern is None:
            return int((base / name).stat().st_size)
        return sum(int(one.stat().st_size) for one in _matching(base, pattern))
    except Exception:  # of whatever store it is: the work on the feed meets it too, and says it
        log.warning("The size of %s can't be told; its cost is taken as unknown", location, exc_info=True)
        return 0


def _matching(folder: RemotePath, pattern: re.Pattern[str]) -> Iterator[RemotePath]:
    """The files that a pattern stands for: asked when a feed is waited for, and when it is fetched."""
    try:
        found = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (one for one in found if pattern.fullmatch(one.name) and one.is_file())


def _chosen(feed: Feed, location: Location, folder: RemotePath) -> list[str]:
    last = location.below.rpartition("/")[2]
    pattern = name_pattern(last)
    if pattern is None:
        return [last]
    chosen = sorted(one.name for one in _matching(folder, pattern))
    if not chosen:
        raise FeedError(
            f"{feed.id}: no file matches {location}; deliver one, or check the feed's uri.",
            code=FeedCode.MISSING,
        )
    if len(chosen) > MAX_FILES:
        raise FeedError(
            f"{feed.id}: {len(chosen)} files match {location}, and {MAX_FILES} are read at most; "
            "put fewer and larger ones there.",
            code=FeedCode.TOO_LARGE,
        )
    return chosen


def _check_letters(feed: Feed, folder: Path, name: str) -> None:
    """Refuse a name whose bytes are no UTF-8: no store and no engine takes it as text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        escaped = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise FeedError(
            f"{feed.id}: the name of {folder}/{escaped} is no UTF-8; rename the file, or let the uri not match it.",
            code=FeedCode.BAD_NAME,
        ) from None


def _origin(location: Location, name: str) -> str:
    folder = location.below.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _copied(feed: Feed, location: Location, outside: Outside, scratch: Path) -> Iterator[SourceFile]:
    folder = outside.storage(location.root)
    for part in location.below.split("/")[:-1]:
        folder /= part
    left = feed.limits.bytes
    for number, name in enumerate(_chosen(feed, location, folder)):
        # The name stays, for messages and for the suffix; a folder of its own keeps equal names apart.
        target = scratch / f"{number:06}" / _local_name(name)
        target.parent.mkdir()
        left -= _copy(feed, folder / name, target, left)
        yield SourceFile(path=target, root=target.parent, origin=_origin(location, name))


def _local_name(name: str) -> str:
    """A name, or the end of one that is too long for a file: a key may have 1,024 bytes."""
    return name if len(name.encode()) <= LOCAL_NAME else name[-LOCAL_NAME // 4 :]


def _copy(feed: Feed, source: RemotePath, target: Path, most: int) -> int:
    """Copy an object of at most `most` bytes, and make sure that it was one object all the time."""
    try:
        before = _version(source)
        if before[0] > most:
            raise _too_large(feed, source)
        size = 0
        with source.open("rb") as file, target.open("wb") as copy:
            while piece := file.read(PIECE):
                size += copy.write(piece)
                if size > most:
                    raise _too_large(feed, source)
        after = _version(source)
    except FileNotFoundError:
        raise FeedError(f"{feed.id}: {source} is gone; deliver it again.", code=FeedCode.MISSING) from None
    except PermissionError as error:
        raise FeedError(
            f"{feed.id}: {source} can't be read ({error}); let the connection read it.",
            code=FeedCode.UNREADABLE,
        ) from None
    if before != after or size != before[0]:
        raise FeedError(
            f"{feed.id}: {source.name} was changed while it was read; "
            "deliver files under another name and rename them when they are complete.",
            code=FeedCode.CHANGED_WHILE_READ,
        )
    return size


def _version(path: RemotePath) -> tuple[int, str]:
    """Size, and the etag where the store has one."""
    known = path.stat()
    details = known if isinstance(known, Mapping) else {}
    return int(known.st_size), str(details.get("ETag") or details.get("etag") or known.st_mtime)


def _too_large(feed: Feed, source: RemotePath) -> FeedError:
    return FeedError(
        f"{feed.id}: {source.name} makes it more than {feed.limits.bytes:,} bytes, the feed's limits.bytes; "
        "raise it, or deliver less.",
        code=FeedCode.TOO_LARGE,
    )
