"""Where is the SQL? In `.sql` files: blocks that begin with `-- name: x`, each told in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from types import MappingProxyType

FOLDER = files("airflow_orchestration.storage")
_BLOCK = re.compile(
    r"^-- name: (?P<name>[a-z_]+)\n(?P<sentence>(?:-- [^\n]+\n)+)(?P<text>[^-].*?)(?=^-- name: |\Z)",
    re.MULTILINE | re.DOTALL,
)


def statements(file_name: str) -> Mapping[str, str]:
    """Read the named statements of a file beside this module."""
    text = FOLDER.joinpath(file_name).read_text(encoding="utf-8")
    found = dict(_blocks(text))
    if len(found) != text.count("-- name: "):
        raise ValueError(f"{file_name}: a block has no sentence, no text, or the name of another one")
    return MappingProxyType(found)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    for block in _BLOCK.finditer(text):
        yield block["name"], block["text"].strip().removesuffix(";")
