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


@pytest.mark.parametrize(
    "bad", ["$", "$name", "$[0]", "$.[0]", "$.", "$.a.", "$.a[x]", "$.a[0", '$."a', "$..a"]
)
def test_what_is_no_path_is_refused(bad: str) -> None:
    """What begins like a path and is none is not taken for a name."""
    with pytest.raises(ValueError, match="is no path"):
        json_path(bad)


@pytest.mark.parametrize("layout", ["json", "ndjson"])
def test_a_key_that_begins_like_a_path_is_written_in_quotes(bench: Bench, layout: str) -> None:
    """`$."$name"` is the key `$name` of the object itself."""
    rows: list[dict[str, object]] = [{"id": "A", "$name": "a", "size": 1}]
    done = bench.ingest(
        written(layout, rows), format=layout, columns={**COLUMNS, "name": '$."$name"', "size": "size"}
    )
    assert [("A", "a", 1)] == rows_of(done.staged, "id, name, size")


def test_what_is_no_path_in_an_expression_is_refused(bench: Bench) -> None:
    """An expression names keys by the same rules, and the error says how they are written."""
    columns = {**COLUMNS, "name": {"expression": 'upper("$name")'}}
    with pytest.raises(FeedError, match=r"list: columns: '\$name' is no path; write \$\.key"):
        bench.ingest(written("ndjson", ROWS), format="ndjson", columns=columns)


@pytest.mark.parametrize("layout", ["json", "ndjson"])
@pytest.mark.parametrize(("one", "other"), [("Name", "name"), ("$.At.size", "$.at.names[0]")])
def test_keys_that_differ_in_case_only_are_refused(bench: Bench, layout: str, one: str, other: str) -> None:
    """Not the file is blamed for what the engine can't tell apart."""
    with pytest.raises(
        FeedError, match=r"columns names '(?i:name|at)' and '(?i:name|at)', which differ in case only"
    ):
        bench.ingest(written(layout, ROWS), format=layout, columns={"id": "id", "name": one, "size": other})
