"""Aggregates against plain Python on random rows, the same bits every time, within a limit of memory."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.source import AggregateFunction
from airflow_orchestration.engine.aggregating import CheckedRows, aggregate
from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import rows_of

ROWS = Contract.model_validate(
    {
        "name": "rows",
        "key": ["place"],
        "columns": [
            {"name": "place", "type": "string"},
            {"name": "day", "type": "date"},
            {"name": "whole", "type": "integer"},
            {"name": "real", "type": "number"},
            {"name": "word", "type": "string"},
        ],
    }
)
SQL_COLUMNS = "place VARCHAR, day DATE, whole BIGINT, real DOUBLE, word VARCHAR"
Row = tuple[str | None, None, int | None, float | None, str | None]

rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "A", None]),
        st.none(),
        st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(-3, 3)),
        st.one_of(st.none(), st.floats(-1e9, 1e9), st.sampled_from([0.1, -0.0, 1e-9])),
        st.one_of(st.none(), st.sampled_from(["x", "y", "long word"])),
    ),
    max_size=40,
)


def made(
    measures: dict[str, Any], *, group_by: Sequence[str] = ("place",), feeds: Sequence[str] = ("one",)
) -> Feed:
    return Feed.model_validate(
        {
            "id": "totals",
            "depends_on": list(feeds),
            "aggregate": {"feeds": list(feeds), "group_by": list(group_by), "measures": measures},
        }
    )


def staged(folder: Path, content: Sequence[Row], name: str = "one", columns: str = SQL_COLUMNS) -> Path:
    path = folder / f"{name}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE staged ({columns})")
        if content:
            marks = ", ".join("?" for _ in content[0])
            connection.executemany(f"INSERT INTO staged VALUES ({marks})", content)
        connection.execute(f"COPY staged TO '{path}' (FORMAT parquet)")
    return path


def aggregated(feed: Feed, *contents: Sequence[Row], **options: Any) -> list[tuple[Any, ...]]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        sources = [
            CheckedRows(path=staged(folder, content, f"feed{number}"), contract=ROWS)
            for number, content in enumerate(contents)
        ]
        return rows_of(aggregate(feed, sources, scratch=folder, **options))


def groups(content: Sequence[Row], column: int) -> dict[str | None, list[Any]]:
    found: dict[str | None, list[Any]] = defaultdict(list)
    for row in content:
        found[row[0]].extend([] if row[column] is None else [row[column]])
    return found


def assert_close(expected: dict[str | None, Any], found: list[tuple[Any, ...]]) -> None:
    assert expected.keys() == {group for group, *_ in found}
    for group, value in found:
        wanted = expected[group]
        if isinstance(wanted, float) and value is not None:
            assert math.isclose(wanted, value, rel_tol=1e-9, abs_tol=1e-6), (group, wanted, value)
        else:
            assert wanted == value, group


def spread(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def or_none(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda values: function(values) if values else None


IN_PYTHON: dict[AggregateFunction, tuple[int, Callable[[list[Any]], Any]]] = {
    AggregateFunction.COUNT: (4, len),
    AggregateFunction.COUNT_DISTINCT: (4, lambda values: len(set(values))),
    AggregateFunction.SUM: (3, or_none(math.fsum)),
    AggregateFunction.MEAN: (3, or_none(lambda values: math.fsum(values) / len(values))),
    AggregateFunction.MEDIAN: (3, or_none(statistics.median)),
    AggregateFunction.MIN: (4, or_none(min)),
    AggregateFunction.MAX: (3, or_none(max)),
    AggregateFunction.STDDEV: (3, spread),
}


@given(content=rows)
@settings(max_examples=20, deadline=None)
def test_every_function_is_what_plain_python_makes_of_the_rows(content: list[Row]) -> None:
    """Each group's value is the function of its filled values, and rows without a group are a group."""
    measures = {
        f"m_{function}": {"function": function, "column": ROWS.columns[column].name}
        for function, (column, _) in IN_PYTHON.items()
    }
    found = aggregated(made(measures), content)

    assert set(AggregateFunction) == set(IN_PYTHON)
    for number, (column, in_python) in enumerate(IN_PYTHON.values(), start=1):
        expected = {group: in_python(values) for group, values in groups(content, column).items()}
        assert_close(expected, [(row[0], row[number]) for row in found])


@given(content=rows)
@settings(max_examples=10, deadline=None)
def test_whole_numbers_are_added_exactly(content: list[Row]) -> None:
    """The sum of whole numbers is exact, beyond 64 bits too."""
    found = aggregated(made({"m": {"function": "sum", "column": "whole"}}), content)

    assert {group: sum(values) if values else None for group, values in groups(content, 2).items()} == dict(
        found
    )


@given(first=rows, second=rows)
@settings(max_examples=10, deadline=None)
def test_several_feeds_are_put_together(first: list[Row], second: list[Row]) -> None:
    """Two feeds give what their rows would give in one, and every row is counted in one group."""
    counted = made({"n": {"function": "count"}}, feeds=("one", "two"))
    found = aggregated(counted, first, second)

    assert aggregated(counted, first + second) == found
    assert len(first) + len(second) == sum(count for _, count in found)


@given(content=rows)
@settings(max_examples=10, deadline=None)
def test_a_condition_counts_only_rows_that_meet_it(content: list[Row]) -> None:
    """A group of which no row meets the condition is there all the same."""
    measure = {"function": "count", "where": "whole > 0 AND word = 'x'"}
    found = aggregated(made({"n": measure}), content)
    met = [row for row in content if row[2] is not None and row[2] > 0 and row[4] == "x"]

    assert {group: sum(row[0] == group for row in met) for group, *_ in content} == dict(found)


def test_medians_beside_other_measures() -> None:
    """A median, a median of some rows, and a count stand in the order in which they are declared."""
    content: list[Row] = [
        ("b", None, None, 5.0, "x"),
        ("a", None, None, 1.0, "x"),
        ("a", None, None, 4.0, "y"),
    ]
    measures = {
        "of_x": {"function": "median", "column": "real", "where": "word = 'x'"},
        "n": {"function": "count"},
        "of_all": {"function": "median", "column": "real"},
    }

    assert [("a", 1.0, 2, 2.5), ("b", 5.0, 1, 5.0)] == aggregated(made(measures), content)


def test_a_group_of_two_columns_with_empty_ones() -> None:
    """Groups are of all columns together; an empty value is a value of its own, and comes last."""
    content: list[Row] = [(None, None, 1, None, "x"), (None, None, 2, None, None), ("a", None, 3, None, None)]
    measures = {"m": {"function": "median", "column": "whole"}}
    found = aggregated(made(measures, group_by=("place", "word")), content)

    assert [("a", None, 3.0), (None, "x", 1.0), (None, None, 2.0)] == found


def test_no_rows_make_no_groups() -> None:
    """Feeds without rows are no error."""
    assert [] == aggregated(made({"n": {"function": "count"}}), [])


def test_a_column_of_one_feed_only(tmp_path: Path) -> None:
    """Columns are put together by name; rows of a feed without the column leave it empty."""
    other = Contract.model_validate(
        {"name": "other", "key": ["place"], "columns": [{"name": "place", "type": "string"}]}
    )
    sources = [
        CheckedRows(path=staged(tmp_path, [("a", None, 7, None, None)]), contract=ROWS),
        CheckedRows(path=staged(tmp_path, [("a",), ("b",)], "other", "place VARCHAR"), contract=other),  # type: ignore[list-item]
    ]
    measures = {"n": {"function": "count"}, "m": {"function": "max", "column": "whole"}}
    feed = made(measures, feeds=("one", "other"))

    assert [("a", 2, 7), ("b", 1, None)] == rows_of(aggregate(feed, sources, scratch=tmp_path))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("word = 'x' OR", "aggregate.measures.n.where is no SQL"),
        ("whole", "aggregate.measures.n.where is a BIGINT; write a condition"),
        ("nowhere > 1", "names 'nowhere', which is no column"),
        ("whole > (SELECT 1)", "has a query inside it"),
    ],
)
def test_a_bad_condition_is_refused(where: str, message: str) -> None:
    """What is wrong with a condition is said with its place."""
    with pytest.raises(FeedError, match=message):
        aggregated(made({"n": {"function": "count", "where": where}}), [("a", None, 1, None, None)])


def test_a_condition_that_fails_for_a_row_fails_the_feed() -> None:
    """No row is left out because its condition can't be computed; what stands in the row is not told."""
    feed = made({"n": {"function": "count", "where": "word::INTEGER > 1"}})
    with pytest.raises(FeedError) as failed:
        aggregated(feed, [("a", None, 1, None, "2"), ("a", None, 1, None, "secret: two")])
    assert "totals: a row can't be aggregated (Conversion Error); change the where of n" in str(failed.value)
    assert "secret" not in str(failed.value)


def many_rows(folder: Path) -> Path:
    path = folder / "many.parquet"
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            "COPY (SELECT (random() * 200000)::INTEGER::VARCHAR AS place, NULL::DATE AS day, (random() * 1e6)::BIGINT AS "
            f"whole, random() * 1e6 AS real, NULL::VARCHAR AS word FROM range(1000000)) TO '{path}' (FORMAT parquet)"
        )
    return path


def test_the_same_rows_give_the_same_bits_with_little_memory(tmp_path: Path) -> None:
    """A million rows in 200,000 groups: medians and distinct counts spill, and the file is the same, byte for byte."""
    measures = {
        "total": {"function": "sum", "column": "real"},
        "spread": {"function": "stddev", "column": "real"},
        "middle": {"function": "median", "column": "real"},
        "kinds": {"function": "count_distinct", "column": "whole"},
    }
    source = CheckedRows(path=many_rows(tmp_path), contract=ROWS)
    files: list[bytes] = []
    for memory_mb in (128, 2048, 2048):
        folder = tmp_path / str(len(files))
        folder.mkdir()
        files.append(aggregate(made(measures), [source], scratch=folder, memory_mb=memory_mb).read_bytes())

    assert files[0] == files[1] == files[2]


def test_the_rows_of_two_feeds_give_the_same_bits_every_time(tmp_path: Path) -> None:
    """Floats are added in one order, and not now in that of one feed and now in that of the other."""
    columns = "place VARCHAR, real DOUBLE"
    contract = Contract.model_validate(
        {
            "name": "few",
            "key": ["place"],
            "columns": [{"name": "place", "type": "string"}, {"name": "real", "type": "number"}],
        }
    )
    measures = {
        function: {"function": function, "column": "real"}
        for function in ("sum", "mean", "stddev", "median", "max")
    }
    content = [[(f"{n % 7}", math.sin(n * k) * 10.0 ** (n % 9)) for n in range(3000)] for k in (1, 2)]
    sources = [
        CheckedRows(path=staged(tmp_path, rows, f"feed{number}", columns), contract=contract)  # type: ignore[arg-type]
        for number, rows in enumerate(content)
    ]
    feed = made(measures, feeds=("one", "two"))
    files = {aggregate(feed, sources, scratch=tmp_path).read_bytes() for _ in range(30)}

    assert 1 == len(files)
