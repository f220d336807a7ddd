"""The catalogue of bad inputs: what comes in, where, and exactly what becomes of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.exceptions import FeedError, InputRefusedError, OrchestrationError

FOLDER = Path(__file__).parent / "catalogue"
ANYTHING = "…"
"""Stands in an expected text for what differs from one machine or run to the next."""
_FIELDS = {"number", "input", "given", "refused", "becomes", "ours"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bad input. `ours` says why the answer is not the one that people would expect first."""

    number: int
    stage: str
    input: str
    given: Mapping[str, Any]
    refused: tuple[str, ...] = ()
    becomes: Mapping[str, Any] | None = None
    ours: str = ""

    def __str__(self) -> str:
        return f"{self.number}: {self.input}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of an input: what was told, or what it became."""

    refused: tuple[str, ...] = ()
    becomes: Mapping[str, Any] | None = None


def stages() -> list[str]:
    """Every part of the catalogue."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def rows_of(stage: str) -> list[Row]:
    """The rows of one part, as they are written."""
    document = tomllib.loads((FOLDER / f"{stage}.toml").read_text())
    for row in document["row"]:
        assert row.keys() <= _FIELDS, f"{row['number']} of {stage} says {sorted(row.keys() - _FIELDS)}"
        assert ("refused" in row) != ("becomes" in row), f"{row['number']} of {stage} says what becomes of it"
    return [Row(stage=stage, **{**row, "refused": tuple(row.get("refused", ()))}) for row in document["row"]]


def each_row(stage: str) -> pytest.MarkDecorator:
    """Run a test with each row of a part."""
    return pytest.mark.parametrize("row", rows_of(stage), ids=str)


def answer_of(attempt: Callable[[], Mapping[str, Any]]) -> Answer:
    """What is told of a refusal, with its code before it; or what the attempt says that it became."""
    try:
        return Answer(becomes=attempt())
    except InputRefusedError as refused:
        return Answer(refused=tuple(f"{problem.code} {problem}" for problem in refused.problems))
    except FeedError as refused:
        return Answer(refused=(f"{refused.code} {refused}",))
    except (OrchestrationError, ValueError) as refused:
        return Answer(refused=(f"{type(refused).__name__} {refused}",))


def check(row: Row, answer: Answer) -> None:
    """The answer is the one that the catalogue says, in every word."""
    if row.becomes is None:
        assert answer.becomes is None, f"accepted, and became {answer.becomes}"
        assert len(row.refused) == len(answer.refused), answer.refused
        assert [] == [
            (expected, found)
            for expected, found in zip(row.refused, answer.refused, strict=True)
            if not _same(expected, found)
        ]
        return
    assert () == answer.refused
    found = answer.becomes or {}
    assert {} == {
        name: (expected, found.get(name))
        for name, expected in row.becomes.items()
        if name not in found or not _same(expected, found[name])
    }


def _same(expected: object, found: object) -> bool:
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_same, expected, found))
    if not isinstance(expected, str) or not isinstance(found, str):
        return expected == found
    pattern = ".*".join(map(re.escape, expected.split(ANYTHING)))
    return re.fullmatch(pattern, found, re.DOTALL) is not None
