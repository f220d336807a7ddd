"""Columns that a feed computes out of its own, in every format, against plain Python."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.expression_problems import expression_problems
from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import Bench, balanced, rejected, rows_of

TRIPS = Contract.model_validate(
    {
        "name": "trips",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "string", "required": True},
            {"name": "day", "type": "date"},
            {"name": "miles", "type": "number", "maximum": 1000},
            {"name": "stops", "type": "integer"},
            {"name": "long", "type": "boolean"},
            {"name": "title", "type": "string"},
        ],
    }
)
COLUMNS: Mapping[str, Any] = {
    "id": "id",
    "day": {"expression": "make_date(year::INTEGER, month::INTEGER, 1)"},
    "miles": {"expression": "round(km::DOUBLE / 1.609344, 2)"},
    "stops": {"expression": "stops::DOUBLE / 2"},
    "long": {"expression": "km::DOUBLE > 100"},
    "title": {"expression": "upper(trim(name))"},
}
NAMES = ("id", "year", "month", "km", "stops", "name")
FORMATS = ("csv", "ndjson", "json", "parquet")

Row = Sequence[str | None]


def written(rows: Sequence[Row], layout: str) -> bytes:
    objects = [dict(zip(NAMES, row, strict=True)) for row in rows]
    match layout:
        case "csv":
            lines = [",".join("" if cell is None else cell for cell in row) for row in (NAMES, *rows)]
            return "\n".join([*lines, ""]).encode()
        case "ndjson":
            return "".join(json.dumps(one) + "\n" for one in objects).encode() or b"\n"
        case "json":
            return json.dumps(objects).encode()
        case _:
            return parquet(rows)


def parquet(rows: Sequence[Row]) -> bytes:
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows ({', '.join(f'{name} VARCHAR' for name in NAMES)})")
        if rows:
            connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(NAMES))})", rows)
        connection.execute(f"COPY rows TO '{folder}/rows.parquet' (FORMAT parquet)")
        return (Path(folder) / "rows.parquet").read_bytes()


GOOD: Row = ("a", "2013", "2", "161", "4", " hop ")


@pytest.mark.parametrize("layout", FORMATS)
def test_a_row_is_computed_and_then_checked_as_any_other(bench: Bench, layout: str) -> None:
    """Results get the contract's types; what fails, what is lossy and what is out of bounds is put aside."""
    rows = [
        GOOD,
        ("fails", "2013", "13", "1", "2", "x"),
        ("lossy", "2013", "2", "1", "3", "x"),
        ("beyond", "2013", "2", "99999", "2", "x"),
        ("empty", None, "2", "NA", None, ""),
    ]
    done = bench.ingest(written(rows, layout), rules=TRIPS, format=layout, columns=COLUMNS, null_words=["NA"])

    assert balanced(done)
    assert [
        ("a", date(2013, 2, 1), 100.04, 2, True, "HOP"),
        ("empty", None, None, None, None, None),
    ] == rows_of(done.staged, "id, day, miles, stops, long, title")
    expected = {"fails": "expression", "lossy": "type", "beyond": "maximum"}
    found = rows_of(done.quarantine, "column_name, rule")
    assert [("day", "expression"), ("stops", "type"), ("miles", "maximum")] == found
    for name, (raw,) in zip(expected, rows_of(done.quarantine, "raw"), strict=True):
        assert name in raw


@pytest.mark.parametrize("layout", FORMATS)
def test_the_quarantine_shows_what_was_computed_and_out_of_what(bench: Bench, layout: str) -> None:
    """A row that can't be computed is found by its position, with the expression and the fields it names."""
    done = bench.ingest(
        written([GOOD, ("b", "2013", "second", "1", "2", "x")], layout),
        rules=TRIPS,
        format=layout,
        columns=COLUMNS,
    )
    ((position, reason, raw),) = rows_of(done.quarantine, "position, reason, raw")

    assert (3 if layout == "csv" else 2) == position
    assert "Can't be computed: make_date(year::INTEGER, month::INTEGER, 1)." == reason
    assert "second" in raw


numbers = st.one_of(
    st.none(), st.integers(-(2**33), 2**33).map(str), st.sampled_from(["", "NA", "x", "1.5", "007"])
)


def whole(text: str | None) -> int | None:
    """What a cast to INTEGER reads; raises `ValueError` where it fails. DuckDB rounds half away from zero."""
    if text in {None, "", "NA"}:
        return None
    number = 2 if text == "1.5" else int(text or "")
    if not -(2**31) <= number < 2**31:
        raise ValueError(text)
    return number


def added(first: str | None, second: str | None) -> int | None:
    one, other = whole(first), whole(second)
    if one is None or other is None:
        return None
    if not -(2**31) <= one + other < 2**31:
        raise ValueError(one + other)
    return one + other


@given(pairs=st.lists(st.tuples(numbers, numbers), max_size=30), layout=st.sampled_from(FORMATS))
@settings(max_examples=15, deadline=None)
def test_results_and_failures_are_those_of_plain_python(
    pairs: list[tuple[str | None, str | None]], layout: str
) -> None:
    """Each row is computed alone: a failure is a quarantined row, an empty field is an empty result."""
    rows = [(f"k{number}", first, second, None, None, None) for number, (first, second) in enumerate(pairs)]
    columns = {"id": "id", "stops": {"expression": "year::INTEGER + month::INTEGER"}}
    expected: dict[str, int | None] = {}
    for key, first, second, *_ in rows:
        try:
            expected[str(key)] = added(first, second)
        except ValueError:
            continue
    with TemporaryDirectory() as folder:
        done = Bench(Path(folder)).ingest(
            written(rows, layout), rules=TRIPS, format=layout, columns=columns, null_words=["NA"]
        )

        assert balanced(done)
        assert expected == dict(rows_of(done.staged, "id, stops"))
        assert len(rows) - len(expected) == done.rejects.get("expression", 0)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("beside", [[], [("b", "1", "2", None, None, None)]])
def test_a_failure_does_not_depend_on_the_rows_beside_it(
    bench: Bench, layout: str, beside: list[Row]
) -> None:
    """What fails is put aside, also where another part of the expression is empty in all rows."""
    columns = {"id": "id", "stops": {"expression": "year::INTEGER + month::INTEGER"}}
    rows = [("a", None, "x", None, None, None), *beside]
    done = bench.ingest(written(rows, layout), rules=TRIPS, format=layout, columns=columns)

    assert {"expression": 1} == done.rejects
    assert [(row[0], 3) for row in beside] == rows_of(done.staged, "id, stops")


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("beside", [[], [("b", "1", "2", None, None, None)]])
def test_what_a_case_leaves_empty_is_empty_beside_a_failure(
    bench: Bench, layout: str, beside: list[Row]
) -> None:
    """An operand that the author made empty makes the result empty, whatever the rows beside it are."""
    columns = {
        "id": "id",
        "stops": {"expression": "CASE WHEN year <> '-' THEN year END::INTEGER + month::INTEGER"},
    }
    rows = [("a", "-", "x", None, None, None), *beside]
    done = bench.ingest(written(rows, layout), rules=TRIPS, format=layout, columns=columns)

    assert {} == done.rejects
    assert [("a", None), *((row[0], 3) for row in beside)] == rows_of(done.staged, "id, stops")


def test_parquet_has_types_of_its_own(bench: Bench) -> None:
    """An expression over Parquet is over numbers and dates, and its result is used as it is where its type fits."""
    buffer = io.BytesIO()
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'a' AS id, DATE '2013-02-08' AS day, 0.1::DOUBLE AS km) TO '{folder}/rows.parquet'"
        )
        buffer.write((Path(folder) / "rows.parquet").read_bytes())
    columns = {
        "id": "id",
        "day": {"expression": "date_trunc('month', day)::DATE"},
        "miles": {"expression": "km * 3"},
    }
    done = bench.ingest(buffer.getvalue(), rules=TRIPS, format="parquet", columns=columns)

    assert [(date(2013, 2, 1), 0.1 * 3)] == rows_of(done.staged, "day, miles")


def test_a_line_that_can_not_be_read_does_not_become_a_row(bench: Bench) -> None:
    """A key that is computed of nothing is empty, so that a broken line stays broken."""
    columns = {"id": {"expression": "coalesce(id, 'nobody')"}, "title": "name"}
    data = b'id,name\na,one\n"open,two\nc,three\n,\n'
    done = bench.ingest(data, rules=TRIPS, columns=columns)

    assert balanced(done)
    assert [("a", "one"), ("c", "three")] == rows_of(done.staged, "id, title")
    assert [(3, "malformed"), (5, "required")] == rejected(done)


@pytest.mark.parametrize(
    ("expression", "staged", "rejects"),
    [
        ("km::DOUBLE / 0", [], {"type": 1}),
        ("km::INTEGER // 0", [(None,)], {}),
        ("km::INTEGER % 0", [(None,)], {}),
        ("replace(km, '1', '2')::DOUBLE", [(222.0,)], {}),
        ("CASE WHEN km = '121' THEN 1.5 END", [(1.5,)], {}),
    ],
)
def test_the_edges_of_arithmetic(
    bench: Bench, expression: str, staged: list[tuple[float | None]], rejects: dict[str, int]
) -> None:
    """Infinity is no number, and a remainder by nothing is empty."""
    columns = {"id": "id", "miles": {"expression": expression}}
    done = bench.ingest(b"id,km\na,121\n", rules=TRIPS, columns=columns)

    assert staged == rows_of(done.staged, "miles")
    assert rejects == done.rejects


def test_columns_may_be_called_as_the_engine_calls_its_own(bench: Bench) -> None:
    """x0, c1, t0 and v are names like any others."""
    columns = {"id": "x0", "title": {"expression": "c1 || t0 || v || y0"}}
    done = bench.ingest(b"x0,c1,t0,v,y0\na,b,c,d,e\n", rules=TRIPS, columns=columns)

    assert [("a", "bcde")] == rows_of(done.staged, "id, title")


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_columns_that_are_not_there_are_named(bench: Bench, layout: str) -> None:
    """All expressions that name a column in vain are told at once."""
    columns = {"id": "id", "miles": {"expression": "mile::DOUBLE"}, "stops": {"expression": "stop + 1"}}
    with pytest.raises(
        FeedError, match=r"columns\.miles\.expression names 'mile', .*columns\.stops\.expression names"
    ):
        bench.ingest(written([GOOD], layout), rules=TRIPS, format=layout, columns=columns)


@pytest.mark.parametrize("layout", ["json", "ndjson"])
def test_a_key_that_no_object_has_is_named(bench: Bench, layout: str) -> None:
    """Of JSON it shows when no row has it."""
    columns = {"id": "id", "miles": {"expression": "mile::DOUBLE"}}
    with pytest.raises(FeedError, match="no row has a column 'mile'"):
        bench.ingest(written([GOOD], layout), rules=TRIPS, format=layout, columns=columns)


def test_an_expression_reaches_into_objects(bench: Bench) -> None:
    """A path in quotation marks names a value inside an object."""
    columns = {"id": "id", "miles": {"expression": '"$.way.km"::DOUBLE * 2'}}
    done = bench.ingest(b'{"id": "a", "way": {"km": 1.5}}\n', rules=TRIPS, format="ndjson", columns=columns)

    assert [("a", 3.0)] == rows_of(done.staged, "id, miles")


def spec(feeds: list[dict[str, Any]]) -> RunSpec:
    file = {"uri": "landing/list.csv", "format": "csv"}
    pipeline = Pipeline.model_validate(
        {
            "id": "trips",
            "roots": {"landing": "/landing"},
            "staging": "/staging",
            "contract": "unused",
            "feeds": [feed if "aggregate" in feed else {**file, **feed} for feed in feeds],
            "sync": {"deadline": 60},
            "publish": {"table": "public.trips"},
        }
    )
    return RunSpec(pipeline=pipeline, contracts=(TRIPS,), run_date=date(2026, 11, 22))


def test_bad_expressions_are_refused_before_anything_is_read() -> None:
    """All of them at once, each with its path; what depends on a feed's columns or types is left for later."""
    measures = {
        "stops": {"function": "count", "where": "km > 1"},
        "miles": {"function": "count", "where": "miles > 1"},
    }
    feeds: list[dict[str, Any]] = [
        {"id": "one", "columns": {"id": "id", "title": {"expression": "repeat(name, 1000)"}}},
        {"id": "two", "columns": {"id": "id", "title": {"expression": "lower(name"}}},
        {"id": "three", "columns": {"id": "id", "stops": {"expression": "km * 2"}}},
        {"id": "four", "format": "parquet", "columns": {"id": "id", "stops": {"expression": "km * 2"}}},
        {"id": "five", "columns": COLUMNS},
        {
            "id": "six",
            "depends_on": ["five"],
            "aggregate": {"feeds": ["five"], "group_by": ["id"], "measures": measures},
        },
    ]
    found = {problem.path: problem.message for problem in expression_problems(spec(feeds))}

    assert {
        "feeds.one.columns.title.expression",
        "feeds.two.columns.title.expression",
        "feeds.three.columns.stops.expression",
        "feeds.six.aggregate.measures.stops.where",
    } == found.keys()
    assert "calls repeat" in found["feeds.one.columns.title.expression"]
    assert "names 'km', which is no column" in found["feeds.six.aggregate.measures.stops.where"]
