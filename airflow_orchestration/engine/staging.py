"""Keeps checked files between tasks: what is fetched is, byte for byte, what was stored."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from airflow_orchestration.domain.outcome import StagedFile
from airflow_orchestration.exceptions import StagedFileError

PIECE = 1024 * 1024


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
                f"{staged.uri} is gone; run its feed again, and keep staged files until the run is over."
            ) from None
        if (size, digest) != (staged.bytes, staged.sha256):
            target.unlink()
            raise StagedFileError(
                f"{staged.uri} isn't the file that was registered ({size} bytes, {staged.bytes} expected); "
                "run its feed again."
            )
        return target

    def discard(self, key: str) -> None:
        """Delete what stands at `key`, and what a store of it that was ended has left beside it."""
        target = self._below(key)
        target.unlink(missing_ok=True)
        if isinstance(target, Path):
            for partial in target.parent.glob(f".{target.name}.*.partial"):
                partial.unlink(missing_ok=True)

    def _below(self, key: str) -> Path | StoragePath:
        parts = key.split("/")
        if not all(parts) or {".", ".."} & set(parts) or "\\" in key or not key.isprintable():
            raise StagedFileError(f"{key!r} is no key of a staged file; write <run>/<name> without ..")
        target = self.root / key
        if isinstance(target, Path) and not target.resolve().is_relative_to(Path(str(self.root)).resolve()):
            raise StagedFileError(f"{key!r} leads out of the staging area; remove the link.")
        return target


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
