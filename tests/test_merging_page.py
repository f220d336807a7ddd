"""The page about merging says what the engine does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.merge import Merge, Strategy
from airflow_orchestration.engine.fusing import FusionSource, fuse
from tests.engine.builders import rows_of

PAGE = Path(__file__).parents[1] / "docs" / "merging.md"
CONTRACT = Contract.model_validate(
    {
        "name": "page",
        "key": ["k"],
        "columns": [{"name": "k", "type": "integer"}, {"name": "v", "type": "number"}],
    }
)


def examples() -> list[list[str]]:
    """The rows of the page's examples."""
    part = PAGE.read_text().partition("## Examples")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if re.match(rf"\| ({'|'.join(Strategy)}) ", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def sources(told: str, folder: Path) -> list[FusionSource]:
    """Write down what `a 7 x2, b -` says."""
    written = []
    for part in told.split(", "):
        feed_id, value, *weight = part.split()
        path = folder / f"{feed_id}.parquet"
        with duckdb.connect() as connection:
            said = "NULL" if value == "-" else value
            connection.execute(f"COPY (SELECT 1::BIGINT AS k, {said}::DOUBLE AS v) TO '{path}'")
        written.append(
            FusionSource(feed_id=feed_id, path=path, weight=float("".join(weight).strip("x") or 1))
        )
    return written


@pytest.mark.parametrize(
    ("strategy", "tolerance", "told", "value", "origin", "confidence", "conflict"), examples()
)
def test_an_example_is_what_the_merge_makes(
    tmp_path: Path,
    strategy: str,
    tolerance: str,
    told: str,
    value: str,
    origin: str,
    confidence: str,
    conflict: str,
) -> None:
    """Value, origin, confidence and conflict of every line."""
    rules = Merge.model_validate({"attributes": {"v": strategy}, "tolerance": {"v": float(tolerance)}})
    merged = fuse(sources(told, tmp_path), contract=CONTRACT, merge=rules, scratch=tmp_path)
    ((found, *extras),) = rows_of(merged.path, "v, _attribution, _confidence, _conflicts")
    attribution, confidences, conflicts = map(json.loads, extras)
    feeds = attribution["v"] if isinstance(attribution["v"], list) else [attribution["v"]]
    assert (float(value), origin) == (found, ", ".join(feeds))
    assert (float(confidence), ["v"] if conflict == "yes" else []) == (confidences["v"], conflicts)


def test_every_strategy_stands_in_the_table() -> None:
    """And in the examples all but the one that needs a time and the one that needs learning."""
    listed = set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE.read_text(), re.MULTILINE))
    assert set(Strategy) == listed
    assert set(Strategy) - {Strategy.NEWEST, Strategy.TRUST} == {row[0] for row in examples()}
