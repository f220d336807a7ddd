"""Markdown made of docstrings and values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
SOURCES = re.compile(r"\s*\((?:SEED|ruling)[^)]*\)")
"""Where a rule comes from, which says nothing to a reader of the page."""
SOURCE_NUMBER = re.compile(r"SEED [0-9, ]+(?:and (?:its )?rulings?)?: ?")

PARAMETER = re.compile(r"^:param (\w+): ?", re.MULTILINE)


def prose(text: str | None) -> str:
    """Return a docstring as Markdown: examples in fences, without the places that its numbers come from."""
    cleaned = SOURCE_NUMBER.sub("", SOURCES.sub("", inspect.cleandoc(text or "")))
    cleaned = PARAMETER.sub(r"* `\1`: ", cleaned)
    parts = re.split(r"((?:^>>> .*\n?(?:^(?!\s*$).*\n?)*\n?)+)", cleaned, flags=re.MULTILINE)
    return "".join(f"```python\n{part.strip()}\n```\n" if part.startswith(">>>") else part for part in parts)


def cell(value: object) -> str:
    """Return a text that stands in one cell of a table."""
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|").strip()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines) + "\n"


def anchor(heading: str) -> str:
    """Return the id that repository pages and the site give a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def write(path: Path, text: str) -> None:
    """Write a page if it changed: Sphinx reads again what is newer."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
