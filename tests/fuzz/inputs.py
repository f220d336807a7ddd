"""An input of the fuzzer as plain data: the files that it is made of, and how they are to be read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One input."""

    kind: str
    files: Mapping[str, bytes]
    terms: Mapping[str, Any]
    """JSON: which contract, which feed, which arguments; what the kind's judge needs beside the files."""
    changes: tuple[str, ...] = ()
    """What was done to a valid example to make it; for people."""

    def text(self) -> str:
        """Return it as JSON."""
        files = {name: base64.b64encode(data).decode() for name, data in self.files.items()}
        told = {"kind": self.kind, "changes": self.changes, "terms": self.terms, "files": files}
        return json.dumps(told, indent=1)

    @classmethod
    def of(cls, text: str) -> Made:
        """Read what `text` wrote."""
        told = json.loads(text)
        files = {name: base64.b64decode(data) for name, data in told["files"].items()}
        return cls(kind=told["kind"], files=files, terms=told["terms"], changes=tuple(told["changes"]))

    def write(self, folder: Path) -> dict[str, Path]:
        """Write the files below a folder, and return where each is."""
        places = {name: folder / name for name in self.files}
        for name, place in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.files[name])
        return places


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder with what is in it."""
    for place in sorted(folder.rglob("*")):
        if place.is_file():
            yield str(place.relative_to(folder)), place.read_bytes()
