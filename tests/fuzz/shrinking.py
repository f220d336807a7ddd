"""Makes a failing input smaller while it fails in the same way: by lines, then by bytes, and only for seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.inputs import Made

SECONDS = 10.0
"""Ours: what a failure may cost beyond itself."""
Fails = Callable[[Made], str | None]
"""Says how an input fails, None when it does not."""


def shrunk(made: Made, why: str, fails: Fails, *, seconds: float = SECONDS) -> Made:
    """Return the smallest input that was found to fail in the same way."""
    ends, wanted = time.monotonic() + seconds, kind_of(why)
    for name in sorted(made.files, key=lambda one: len(made.files[one]), reverse=True):
        for separator in (b"\n", b""):
            smaller = _smaller(made, name, separator, wanted, fails, ends)
            made = replace(made, files={**made.files, name: smaller})
    return made


def kind_of(why: str) -> str:
    """How an input failed, without the numbers and names of this one."""
    return re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "", why)[:60]


def _smaller(made: Made, name: str, separator: bytes, wanted: str, fails: Fails, ends: float) -> bytes:
    pieces = made.files[name].split(separator) if separator else [bytes([one]) for one in made.files[name]]
    size = len(pieces) // 2
    while size:
        for left in _without(pieces, size):
            if time.monotonic() > ends:
                return separator.join(pieces)
            tried = replace(made, files={**made.files, name: separator.join(left)})
            if kind_of(fails(tried) or "") == wanted:
                pieces = left
                break
        else:
            size //= 2
    return separator.join(pieces)


def _without(pieces: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(pieces), size):
        yield pieces[:start] + pieces[start + size :]
