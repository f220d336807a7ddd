"""The page about contracts names exactly what is honoured, and its example is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_orchestration.domain import odcs_parts
from airflow_orchestration.domain.formats import NUMBER_BOUNDS, TEXT_FORMATS, TIME_PARTS
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.odcs_parts import Parts
from airflow_orchestration.domain.quality_rule import Metric
from airflow_orchestration.engine.vocabulary import AGGREGATES, GROUPS, MAX_LETTERS, MAX_NODES

PAGE = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text()
PARTS: dict[str, Parts] = {
    "the contract": odcs_parts.DOCUMENT,
    "a schema object": odcs_parts.SCHEMA_OBJECT,
    "a property": odcs_parts.SCHEMA_PROPERTY,
    "an enum value": odcs_parts.ENUM_VALUE,
    "a quality rule": odcs_parts.QUALITY,
    "an SLA property": odcs_parts.SLA_PROPERTY,
}


def named(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def row(first: str) -> list[str]:
    """The cells of the page's row that begins so."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("kind", PARTS)
def test_the_table_of_parts_is_that_of_the_code(kind: str) -> None:
    """Honoured, descriptive, refused."""
    _, honoured, descriptive, refused = row(kind)
    parts = PARTS[kind]

    assert (parts.honoured, parts.descriptive, set(parts.refused)) == (
        named(honoured),
        named(descriptive),
        named(refused),
    )


@pytest.mark.parametrize("group", [*GROUPS, "aggregates, in queries"])
def test_the_table_of_functions_is_that_of_the_code(group: str) -> None:
    """Whatever else is refused."""
    assert {**GROUPS, "aggregates, in queries": AGGREGATES}[group] == {
        name.replace("\\", "") for name in named(row(group)[1])
    }


FORMATS = [
    ("an integer or number", NUMBER_BOUNDS.keys()),
    ("a string", TEXT_FORMATS.keys()),
    ("a date or timestamp", TIME_PARTS.keys()),
]


@pytest.mark.parametrize(("kind", "names"), FORMATS)
def test_the_formats_are_those_of_the_code(kind: str, names: set[str]) -> None:
    """Of texts, numbers and times."""
    assert names == named(row(f"`format` of {kind}")[1])


def test_the_bounds_are_those_of_the_code() -> None:
    """How large an expression may be."""
    assert f"{MAX_NODES} parts and {MAX_LETTERS} letters" in " ".join(PAGE.split())


def test_the_example_is_read(tmp_path: Path) -> None:
    """With its rules."""
    path = tmp_path / "flight.odcs.yaml"
    path.write_text("apiVersion: v3.1.0\n" + PAGE.partition("```yaml\n")[2].partition("```")[0])
    (found,) = read_contracts(path)

    assert {Metric.NULL_VALUES, Metric.SQL, Metric.ROW_COUNT, Metric.FRESHNESS} == {
        rule.metric for rule in found.measured
    }
