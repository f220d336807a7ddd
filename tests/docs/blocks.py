"""The fenced blocks of the documentation, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "generated" not in page.parts)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its page and line, its language and its text."""

    where: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """The blocks of these languages on all pages and in the README."""
    return [
        block
        for page in (REPOSITORY / "README.md", *PAGES)
        for block in _of(page)
        if block.language in languages
    ]


def _of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(f"{page.relative_to(REPOSITORY)}:{line}", found[2], found[3])


def commands() -> list[Block]:
    """Every line of a block without a language that is an `airflow` command, also by way of `make`."""
    return [
        Block(block.where, "", line)
        for block in blocks("")
        for written in block.text.splitlines()
        for line in [re.sub(r'^make airflow ARGS="(.*)"$', r"airflow \1", written)]
        if line.startswith("airflow ")
    ]


def mentioned() -> list[Block]:
    """Every `airflow orchestration ...` in a sentence or a table."""
    return [
        Block(str(page.relative_to(REPOSITORY)), "", words)
        for page in (REPOSITORY / "README.md", *PAGES)
        for words in re.findall(r"`(airflow orchestration [^`]+)`", page.read_text())
    ]


def ids(found: list[Block]) -> list[str]:
    """Name tests by the places."""
    return [block.where for block in found]
