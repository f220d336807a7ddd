"""Changes bytes: flips, cuts, splices, and packs them in ways that are not what they seem."""

from __future__ import annotations

import gzip
import zlib
from random import Random

PIECES = (
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b",",
    b";",
    b"\\",
    b"\x1a",
)
BOMB = 12 * 1024 * 1024
"""Bytes of what a bomb unpacks to: enough to be one, and unpacked in a tenth of a second."""


def change(dice: Random, data: bytes) -> tuple[bytes, str]:
    """Return changed bytes, and what was done."""
    how = dice.choice((_flip, _cut, _insert, _delete, _repeat, _splice, _overwrite, _shift))
    return how(dice, data), how.__name__[1:]


def _flip(dice: Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        if made:
            made[dice.randrange(len(made))] ^= 1 << dice.randrange(8)
    return bytes(made)


def _cut(dice: Random, data: bytes) -> bytes:
    at = dice.randint(0, len(data))
    return data[:at] if dice.random() < 0.7 else data[at:]


def _insert(dice: Random, data: bytes) -> bytes:
    at, piece = dice.randint(0, len(data)), dice.choice((*PIECES, dice.randbytes(4)))
    return data[:at] + piece * dice.choice((1, 1, 2, 100)) + data[at:]


def _delete(dice: Random, data: bytes) -> bytes:
    at = dice.randint(0, len(data))
    return data[:at] + data[at + dice.choice((1, 1, 2, 10, 100)) :]


def _repeat(dice: Random, data: bytes) -> bytes:
    at = dice.randint(0, len(data))
    piece = data[at : at + dice.choice((1, 5, 50, 500))]
    return data[:at] + piece * dice.choice((2, 3, 50)) + data[at:]


def _splice(dice: Random, data: bytes) -> bytes:
    """Put a piece of it elsewhere."""
    start, at = dice.randint(0, len(data)), dice.randint(0, len(data))
    return data[:at] + data[start : start + dice.randint(1, 64)] + data[at:]


def _overwrite(dice: Random, data: bytes) -> bytes:
    at, length = dice.randint(0, len(data)), dice.choice((1, 4, 8, 16))
    return data[:at] + dice.choice((b"\0", b"\xff", b"\x7f")) * length + data[at + length :]


def _shift(dice: Random, data: bytes) -> bytes:
    """Write it as another encoding would."""
    return data.decode("utf-8", "replace").encode(
        dice.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "utf-7"))
    )


def pack(dice: Random, data: bytes) -> tuple[bytes, str, str]:
    """Pack bytes: what comes of it, the suffix of its name, and what was done. Most of it is whole."""
    how = dice.choice((_whole, _whole, _members, _truncated, _trailing, _bomb, _flipped, _misnamed))
    made = how(dice, data)
    return made, ".gz", how.__name__[1:]


def _whole(_: Random, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _members(dice: Random, data: bytes) -> bytes:
    at = dice.randint(0, len(data))
    return gzip.compress(data[:at], mtime=0) + gzip.compress(data[at:], mtime=0)


def _truncated(dice: Random, data: bytes) -> bytes:
    whole = gzip.compress(data, mtime=0)
    return whole[: dice.randint(2, len(whole))]


def _trailing(dice: Random, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0) + dice.choice((b"\0" * 64, b"tail", b"\x1f\x8b"))


def _bomb(dice: Random, data: bytes) -> bytes:
    return (
        gzip.compress(data + b"\n" * BOMB, compresslevel=1, mtime=0)
        if dice.random() < 0.2
        else _whole(dice, data)
    )


def _flipped(dice: Random, data: bytes) -> bytes:
    return _flip(dice, gzip.compress(data, mtime=0))


def _misnamed(_: Random, data: bytes) -> bytes:
    return data


def unpacked(data: bytes) -> bytes | None:
    """What is in gzip, member by member; the bytes themselves where they are none, None where it is damaged.

    A second reading: the product unpacks by `gzip.GzipFile`.
    """
    if data[:2] != b"\x1f\x8b":
        return data
    made = bytearray()
    while data:
        reader = zlib.decompressobj(wbits=31)
        try:
            made += reader.decompress(data) + reader.flush()
        except zlib.error:
            return None
        if not reader.eof:
            return None
        data = reader.unused_data.lstrip(b"\0")
    return bytes(made)
