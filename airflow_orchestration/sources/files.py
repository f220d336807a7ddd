"""Fetches a feed that is one file or many by a pattern, below a folder or in an object store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import REMOTE, Location, name_pattern
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from airflow_orchestration.sources.outside import Outside, RemotePath

MAX_FILES = 10_000
"""Files of one feed in one run."""
PIECE = 1024 * 1024


def anything_at(place: str, outside: Outside) -> bool:
    """Whether the file at this path or URI is there, or at least one whose name matches its last part."""
    folder, _, name = place.rpartition("/")
    pattern = name_pattern(name)
    if REMOTE in place:
        base = outside.storage(folder)
        if pattern is None:
            return (base / name).exists()
        return base.exists() and any(pattern.fullmatch(found.name) for found in base.iterdir())
    if pattern is None:
        return Path(place).exists()
    return Path(folder).is_dir() and any(pattern.fullmatch(found.name) for found in Path(folder).iterdir())


def fetch_files(feed: Feed, location: Location, outside: Outside, scratch: Path) -> Fetched:
    """The files of a feed in the order of their names; those of an object store are copied into `scratch`.

    Raises `FeedError` when there are none or too many, or when they are more or other bytes than they should be.
    """
    if feed.format is None:
        raise FeedError(f"{feed.id}: it isn't said how its files are written; add format.")
    found = _copied(feed, location, outside, scratch) if location.is_remote else local_files(feed, location)
    return Fetched(files=tuple(found), format=feed.format)


def local_files(feed: Feed, location: Location) -> list[SourceFile]:
    """The files of a feed below a folder of this machine; what they are is checked when they are opened.

    Raises `FeedError` when no name matches a pattern, or too many do.
    """
    root, path = Path(location.root), Path(location.root) / location.below
    pattern, names = name_pattern(path.name), [path.name]
    if pattern is not None:
        if not path.parent.resolve().is_relative_to(root.resolve()):
            raise FeedError(
                f"{feed.id}: {path.parent} lies outside its root, through a link; put the files below {root}."
            )
        names = _chosen(feed, location, (one.name for one in path.parent.iterdir() if one.is_file()))
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
        return sum(int(one.stat().st_size) for one in _listed(base) if pattern.fullmatch(one.name))
    except (OSError, FeedError):
        return 0


def _chosen(feed: Feed, location: Location, names: Iterator[str]) -> list[str]:
    last = location.below.rpartition("/")[2]
    pattern = name_pattern(last)
    if pattern is None:
        return [last]
    chosen = sorted(name for name in names if pattern.fullmatch(name))
    if not chosen:
        raise FeedError(f"{feed.id}: no file matches {location}; deliver one, or check the feed's uri.")
    if len(chosen) > MAX_FILES:
        raise FeedError(
            f"{feed.id}: {len(chosen)} files match {location}, and {MAX_FILES} are read at most; "
            "put fewer and larger ones there."
        )
    return chosen


def _origin(location: Location, name: str) -> str:
    folder = location.below.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _copied(feed: Feed, location: Location, outside: Outside, scratch: Path) -> Iterator[SourceFile]:
    folder = outside.storage(location.root)
    for part in location.below.split("/")[:-1]:
        folder /= part
    names = _chosen(feed, location, (one.name for one in _listed(folder)))
    left = feed.limits.bytes
    for number, name in enumerate(names):
        # The name stays, for messages and for the suffix; a folder of its own keeps equal names apart.
        target = scratch / f"{number:06}" / name
        target.parent.mkdir()
        left -= _copy(feed, folder / name, target, left)
        yield SourceFile(path=target, root=target.parent, origin=_origin(location, name))


def _listed(folder: RemotePath) -> Iterator[RemotePath]:
    yield from (found for found in folder.iterdir() if found.is_file())


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
        raise FeedError(f"{feed.id}: {source} is gone; deliver it again.") from None
    except PermissionError as error:
        raise FeedError(f"{feed.id}: {source} can't be read ({error}); let the connection read it.") from None
    if before != after or size != before[0]:
        raise FeedError(
            f"{feed.id}: {source.name} was changed while it was read; "
            "deliver files under another name and rename them when they are complete."
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
        "raise it, or deliver less."
    )
