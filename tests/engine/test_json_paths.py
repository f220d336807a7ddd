"""Columns out of nested JSON: by keys, through lists, beside plain columns of the same object."""

from __future__ import annotations

import json

import pytest

from airflow_orchestration.domain.json_path import json_path
from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import Bench, rejected, rows_of

ROWS = [
    {"id": "A", "at": {"names": ["a", "b"], "size": 1}},
    {"id": "B", "at": {"names": [], "size": "x"}},
    {"id": "C", "at": None},
    {"id": "D", "at": "text"},
    {"id": "E", "at": {"names": ["e"], "size": 5}},
]
COLUMNS = {"id": "id", "name": "$.at.names[0]", "size": "$.at.size"}


def written(layout: str, rows: list[dict[str, object]]) -> bytes:
    if layout == "json":
        return json.dumps(rows).encode()
    return b"\n".join(json.dumps(row).encode() for row in rows)


@pytest.mark.parametrize("layout", ["json", "ndjson"])
def test_nested_values_are_reached_by_paths(bench: Bench, layout: str) -> None:
    """A path goes through objects and lists; where it leads nowhere there is no value."""
    done = bench.ingest(written(layout, ROWS), format=layout, columns=COLUMNS)
    found = [("A", "a", 1), ("C", None, None), ("D", None, None), ("E", "e", 5)]
    assert found == rows_of(done.staged, "id, name, size")
    assert [(2, "type")] == rejected(done)


@pytest.mark.parametrize("layout", ["json", "ndjson"])
def test_an_object_and_what_is_in_it_can_both_be_mapped(bench: Bench, layout: str) -> None:
    """A plain column is the whole object as text."""
    rows: list[dict[str, object]] = [{"id": "A", "at": {"size": 1}}]
    done = bench.ingest(written(layout, rows), format=layout, columns={**COLUMNS, "name": "at"})
    assert [("A", '{"size":1}', 1)] == rows_of(done.staged, "id, name, size")


@pytest.mark.parametrize("layout", ["json", "ndjson"])
def test_a_path_that_no_row_has_is_refused(bench: Bench, layout: str) -> None:
    """A wrong path fails the feed, as a wrong column does."""
    with pytest.raises(FeedError, match=r"no row has a column '\$\.at\.nmaes\[0\]'"):
        bench.ingest(written(layout, ROWS), format=layout, columns={**COLUMNS, "name": "$.at.nmaes[0]"})


@pytest.mark.parametrize("bad", ["$.", "$.a.", "$.a[x]", "$.a[0", '$."a', "$..a"])
def test_what_is_no_path_is_refused(bad: str) -> None:
    """What begins like a path and is none is not taken for a name."""
    with pytest.raises(ValueError, match="is no path"):
        json_path(bad)
