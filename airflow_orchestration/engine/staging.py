"""Keeps checked files between tasks: what is fetched is, byte for byte, what was stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from airflow_orchestration.domain.outcome import StagedFile
from airflow_orchestration.exceptions import StagedFileError

PIECE = 1024 * 1024
NEW_RUN = "trigger a new run: what a run has registered it does not read again"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file of a staging area, whoever put it there."""

    key: str
    bytes: int


class FileSystem(Protocol):
    """What is needed of an object store beside its paths; fsspec's file systems have it."""

    def find(self, path: str, *, detail: bool) -> Mapping[str, Mapping[str, Any]]:
        """Every file below a path, with its size; none where nothing is."""

    def ls(self, path: str, *, detail: bool) -> Sequence[Mapping[str, Any]]:
        """What stands directly below a path, each with its name and type; `FileNotFoundError` where nothing is."""

    def invalidate_cache(self) -> None:
        """Forget every listing."""

    def rm(self, path: list[str]) -> None:
        """Delete files."""


class StoragePath(Protocol):
    """What is needed of a place: `pathlib.Path` has it, and so has Airflow's `ObjectStoragePath`."""

    def __truediv__(self, key: str, /) -> StoragePath:
        """A path below this one."""

    def open(self, mode: str, /) -> IO[Any]:
        """Open the file."""

    def unlink(self, *, missing_ok: bool) -> None:
        """Delete the file."""

    @property
    def parent(self) -> StoragePath:
        """The folder."""

    @property
    def fs(self) -> FileSystem:
        """What the path is in; a `pathlib.Path` has none, and is asked for none."""

    @property
    def path(self) -> str:
        """How `fs` calls it."""

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
        """Make the folder; object stores have none and do nothing."""


class StagingArea:
    """A folder, or a prefix of an object store, for the files of runs."""

    def __init__(self, root: Path | StoragePath) -> None:
        self.root = root

    def store(self, local: Path, key: str, *, rows: int) -> StagedFile:
        """Copy a local file to `key` below the root, whole or not at all, over what may be there.

        Raises `StagedFileError` for a key that isn't a plain relative path.
        """
        target = self._below(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with local.open("rb") as source:
            if isinstance(target, Path):
                size, digest = _store_locally(source, target)
            else:
                with target.open("wb") as sink:
                    size, digest = _copy(source, sink)
        return StagedFile(uri=str(target), sha256=digest, bytes=size, rows=rows)

    def fetch(self, staged: StagedFile, scratch: Path) -> Path:
        """Copy a stored file into `scratch`; raises `StagedFileError` when it isn't the one that was stored."""
        target = scratch / f"{staged.sha256[:16]}-{PurePosixPath(staged.uri).name}"
        prefix = f"{str(self.root).rstrip('/')}/"
        if not staged.uri.startswith(prefix):
            raise StagedFileError(
                f"{staged.uri} isn't below the staging area {prefix}; the pipeline's staging was changed."
            )
        try:
            with self._below(staged.uri.removeprefix(prefix)).open("rb") as source, target.open("wb") as sink:
                size, digest = _copy(source, sink)
        except FileNotFoundError:
            raise StagedFileError(
                f"{staged.uri} is gone; put it back, or {NEW_RUN}. Keep staged files until their run is over."
            ) from None
        if (size, digest) != (staged.bytes, staged.sha256):
            target.unlink()
            found = "other bytes" if size == staged.bytes else f"{size} bytes, {staged.bytes} expected"
            raise StagedFileError(
                f"{staged.uri} isn't the file that was registered ({found}); put that back, or {NEW_RUN}."
            )
        return target

    def discard(self, key: str) -> None:
        """Delete what stands at `key`, and what a store of it that was ended has left beside it."""
        target = self._below(key)
        target.unlink(missing_ok=True)
        if isinstance(target, Path):
            for partial in target.parent.glob(f".{target.name}.*.partial"):
                partial.unlink(missing_ok=True)

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly below a folder of the area, sorted; none where nothing is.

        Raises `StagedFileError` when an object store does not answer, and `OSError` for a folder that can't be read.
        """
        top = self._below(folder)
        if isinstance(top, Path):
            with suppress(FileNotFoundError), os.scandir(top) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            return []
        with _asking(top), suppress(FileNotFoundError):
            listed = top.fs.ls(top.path, detail=True)
            return sorted(PurePosixPath(it["name"]).name for it in listed if it["type"] == "directory")
        return []

    def files(self, folder: str) -> list[FoundFile]:
        """Every file below a folder of the area, in the order of their keys.

        Raises as `folders` does, and so does `discard_all`.
        """
        top = self._below(folder)
        if isinstance(top, Path):
            found = list(_local_files(Path(str(self.root)), top))
        else:
            start = len(top.path.removesuffix(folder))
            with _asking(top):
                named = top.fs.find(top.path, detail=True)
                top.fs.invalidate_cache()  # else it holds the listings of all folders in the end
            found = [
                FoundFile(key=path[start:], bytes=int(known.get("size") or 0))
                for path, known in named.items()
            ]
        return sorted(found, key=lambda file: file.key)

    def discard_all(self, keys: Collection[str]) -> None:
        """Delete files, and the folders that are empty then. What is gone already is no error."""
        targets = [self._below(key) for key in keys]
        remote = [target for target in targets if not isinstance(target, Path)]
        if remote:
            with _asking(remote[0]), suppress(FileNotFoundError):  # somebody else does the same
                remote[0].fs.rm([target.path for target in remote])
        for target in targets:
            if isinstance(target, Path):
                target.unlink(missing_ok=True)
                _drop_empty(target.parent, Path(str(self.root)))

    def _below(self, key: str) -> Path | StoragePath:
        parts = key.split("/")
        if not all(parts) or {".", ".."} & set(parts) or "\\" in key or not key.isprintable():
            raise StagedFileError(f"{key!r} is no key of a staged file; write <run>/<name> without ..")
        target = self.root / key
        if isinstance(target, Path) and not target.resolve().is_relative_to(Path(str(self.root)).resolve()):
            raise StagedFileError(f"{key!r} leads out of the staging area; remove the link.")
        return target


@contextmanager
def _asking(place: StoragePath) -> Iterator[None]:
    """Tell what goes wrong in an object store, which comes in errors of any class, in one of ours."""
    try:
        yield
    except Exception as error:
        raise StagedFileError(
            f"{place} does not answer as it should ({type(error).__name__}: {error}); look at its connection, "
            "and try again."
        ) from error


def _local_files(root: Path, top: Path) -> Iterator[FoundFile]:
    """Links are not followed: what they lead to is not ours. A folder that can't be read is not an empty one."""

    def told(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, _, names in os.walk(top, onerror=told):
        for name in names:
            path = Path(folder, name)
            with suppress(FileNotFoundError):
                yield FoundFile(key=str(path.relative_to(root)), bytes=path.lstat().st_size)


def _drop_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it, as long as nothing is in them."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _store_locally(source: IO[bytes], target: Path) -> tuple[int, str]:
    """Write beside the target, make it durable, and only then give it its name."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as sink:
            written = _copy(source, sink)
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return written


def _copy(source: IO[bytes], sink: IO[bytes]) -> tuple[int, str]:
    """Copy, and tell how many bytes there were and their SHA-256."""
    size, digest = 0, hashlib.sha256()
    while piece := source.read(PIECE):
        sink.write(piece)
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()
