"""The ways in which a file may be packed, told by its first bytes."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


_BITE = 1024


class Decompressor(Protocol):
    """Unpacks bytes piece by piece."""

    @property
    def eof(self) -> bool:
        """Whether the packed bytes are complete."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpack a piece, to `max_length` bytes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """One way to pack a file."""

    name: str
    suffix: str
    magic: bytes
    """What a file that is packed so begins with."""
    open: Callable[[Any], IO[bytes]]
    """Opens a packed file for reading what is in it."""
    decompressor: Callable[[], Decompressor]


def _gzip(file: IO[bytes]) -> IO[bytes]:
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # reads bytes, as IO[bytes] does


def _zstd(file: IO[bytes]) -> IO[bytes]:
    return zstd.ZstdFile(file)  # type: ignore[return-value]  # as above


def _inflater() -> Decompressor:
    return zlib.decompressobj(wbits=31)


PACKINGS = (
    Packing(name="gzip", suffix=".gz", magic=b"\x1f\x8b", open=_gzip, decompressor=_inflater),
    Packing(
        name="zstd",
        suffix=".zst",
        magic=b"\x28\xb5\x2f\xfd",
        open=_zstd,
        decompressor=zstd.ZstdDecompressor,
    ),
)
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError)
"""What reading a cut or damaged packed file raises."""


def packing_of(start: bytes) -> Packing | None:
    """Tell how a file is packed from its first four bytes; None for a plain one."""
    return next((packing for packing in PACKINGS if start.startswith(packing.magic)), None)


def unpacked_start(packing: Packing, start: bytes, most: int) -> tuple[bytes, int]:
    """Unpack the beginning of a packed file: at most `most` bytes, and how many packed bytes they took.

    Nothing comes of what is damaged.
    """
    unpacker, text, taken = packing.decompressor(), bytearray(), 0
    while taken < len(start) and len(text) < most and not unpacker.eof:
        try:
            text += unpacker.decompress(start[taken : taken + _BITE], most - len(text))
        except DAMAGED:
            return b"", len(start)
        taken = min(taken + _BITE, len(start))
    return bytes(text), taken
