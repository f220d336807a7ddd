"""The figures of a profile are those of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.profile import FeedProfile
from airflow_orchestration.domain.quality_rule import Metric, Operator, QualityRule, Threshold
from airflow_orchestration.domain.statistics import Share
from airflow_orchestration.engine import profiling
from airflow_orchestration.engine.ingest import Ingested
from airflow_orchestration.engine.profiling import profile
from tests.engine.builders import PLACES, Bench, contract

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
EVENTS = contract(
    {"name": "amount", "type": "number"},
    {"name": "note", "type": "string"},
    {"name": "ok", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "timestamp"},
    {"name": "planned", "type": "timestamp"},
)
NAMES = ("id", "amount", "note", "ok", "day", "at", "planned")
COLUMNS = {name: name for name in NAMES}


def described(bench: Bench, lines: Sequence[str], **asked: Any) -> FeedProfile:
    data = "\n".join([",".join(NAMES), *lines, ""]).encode()
    return of(bench, bench.ingest(data, rules=EVENTS, columns=COLUMNS), **asked)


def of(bench: Bench, done: Ingested, **asked: Any) -> FeedProfile:
    given = {"contract": EVENTS, "columns": NAMES, "moment": NOW, "scratch": bench.scratch()}
    return profile(done, **(given | asked))


def fresh_by(name: str) -> Contract:
    """A contract with a freshness rule for a column."""
    threshold = Threshold(operator=Operator.LESS_THAN, low=60, high=60)
    rule = QualityRule(name="fresh", metric=Metric.FRESHNESS, threshold=threshold, columns=(name,))
    return EVENTS.model_copy(update={"quality": (rule,)})


def column(found: FeedProfile, name: str) -> Any:
    return next(one for one in found.columns if one.name == name)


LINES = [
    "a,1.5,one,true,2026-11-01,2026-11-20T10:00:00,2026-12-01T00:00:00",
    "b,2.5,three,false,2026-11-03,2026-11-21T06:00:00,2026-12-02T00:00:00",
    "c,,,,,,",
    "d,x,one,true,2026-11-02,2026-11-19T00:00:00,",
    "b,4,four,true,2026-11-02,2026-11-19T00:00:00,",
]
"""Three good rows, one with a number that is none, one that repeats a key."""


def test_the_shares_of_a_feed_are_those_of_its_ingestion(bench: Bench) -> None:
    """Valid are the good rows and the one that repeats a key; complete are their cells and those of the others."""
    found = described(bench, LINES)

    assert (3, Share(part=4, whole=5), Share(part=3, whole=4)) == (
        found.rows,
        found.validity,
        found.uniqueness,
    )
    assert (27, 35) == (found.completeness.part, found.completeness.whole)


def test_each_column_has_its_figures(bench: Bench) -> None:
    """Filled, different, mean and deviation, bounds, and how many rows were refused for it."""
    found = described(bench, LINES)
    amount, note, ok, day = (column(found, name) for name in ("amount", "note", "ok", "day"))

    assert (2, 2, 2, 1) == (amount.filled, amount.sampled, amount.distinct, amount.refused)
    assert (2.0, 0.5, 1.5, 2.5) == (amount.mean, amount.deviation, amount.lowest, amount.highest)
    assert (4.0, 1.0, None, None) == (note.mean, note.deviation, note.lowest, note.highest)
    assert (0.5, 0.5) == (ok.mean, ok.deviation)
    assert (None, "2026-11-01T00:00:00+00:00", "2026-11-03T00:00:00+00:00") == (
        day.mean,
        day.lowest,
        day.highest,
    )
    assert (Share(part=2, whole=3), Share(part=3, whole=4), Share(part=2, whole=2)) == (
        amount.completeness,
        amount.validity,
        amount.uniqueness,
    )


def test_the_newest_time_that_has_come_says_how_new_the_rows_are(bench: Bench) -> None:
    """Of all timestamps, but not of what is planned; or of the column of the contract's rule."""
    found = described(bench, LINES)
    named = described(bench, LINES, contract=fresh_by("day"))
    to_come = described(bench, LINES, contract=fresh_by("planned"))

    assert ("2026-11-21T06:00:00+00:00", 24 * 3600) == (found.newest, found.age_seconds)
    assert ("2026-11-03T00:00:00+00:00", timedelta(days=19, hours=6)) == (
        named.newest,
        timedelta(seconds=named.age_seconds or 0),
    )
    assert -timedelta(days=9, hours=18) == timedelta(seconds=to_come.age_seconds or 0)


def test_a_feed_without_times_has_no_age(bench: Bench) -> None:
    """Neither has one whose times are all to come, or empty."""
    plain = bench.ingest(b"id,name,size\nA,x,1\n")
    later = described(bench, ["a,,,,2026-11-01,2027-01-01T00:00:00,"])

    assert (None, None) == (of(bench, plain, contract=PLACES, columns=["id", "name", "size"]).newest, None)
    assert (None, None) == (later.newest, later.age_seconds)


def test_no_rows_have_no_figures(bench: Bench) -> None:
    """A header alone is a feed."""
    found = described(bench, [])

    assert (0, 7) == (found.rows, len(found.columns))
    assert {(0, 0, None, None, None)} == {
        (one.filled, one.distinct, one.mean, one.lowest, one.highest) for one in found.columns
    }


def test_columns_that_the_feed_does_not_fill_are_left_out(bench: Bench) -> None:
    """What is always empty says nothing."""
    done = bench.ingest(b"id,amount\na,1\n", rules=EVENTS, columns={"id": "id", "amount": "amount"})

    assert ["id", "amount"] == [one.name for one in of(bench, done, columns=["amount", "id"]).columns]


def test_numbers_beyond_all_measure_have_no_mean(bench: Bench) -> None:
    """The sum of two of the largest numbers is none."""
    amount = column(described(bench, ["a,1.7e308,,,,,", "b,1.7e308,,,,,"]), "amount")

    assert (None, 1.7e308) == (amount.mean, amount.highest)


cells = st.tuples(
    st.none() | st.floats(-1e9, 1e9).map(lambda value: round(value, 3)),
    st.none() | st.text("abcé", min_size=1, max_size=9),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(cells, max_size=60))
def test_figures_equal_those_of_plain_python(tmp_path_factory: Any, rows: list[tuple[Any, Any]]) -> None:
    """Over random tables, where the estimate of different values is exact enough to be checked within bounds."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    lines = [
        f"k{number},{'' if amount is None else amount},{note or ''},,,,"
        for number, (amount, note) in enumerate(rows)
    ]
    found = described(bench, lines)
    numbers = [amount for amount, _ in rows if amount is not None]
    lengths = [len(note.encode()) for _, note in rows if note is not None]

    for name, values in (("amount", numbers), ("note", lengths)):
        known = column(found, name)
        assert (len(rows), len(values)) == (known.rows, known.filled)
        assert known.mean == (pytest.approx(fmean(values), rel=1e-11, abs=1e-6) if values else None)
        assert known.deviation == (pytest.approx(pstdev(values), rel=1e-6, abs=1e-4) if values else None)
    known, different = column(found, "amount"), len(set(numbers))
    assert (min(numbers, default=None), max(numbers, default=None)) == (known.lowest, known.highest)
    assert 0.8 * different <= known.distinct <= min(len(numbers), 1.2 * different + 1)


def test_a_large_file_is_sampled_evenly(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and variety come from about so many rows of the whole file; empty cells and bounds from all of them."""
    monkeypatch.setattr(profiling, "SAMPLE_ROWS", 4000)
    rows = 100_000
    lines = [f"k{number},{number},{'x' if number % 4 else ''},,,," for number in range(rows)]
    found = described(bench, lines)
    amount, note = column(found, "amount"), column(found, "note")

    assert (rows, rows, 0, rows - 1) == (amount.rows, amount.filled, amount.lowest, amount.highest)
    assert 3 * rows // 4 == note.filled
    assert 4000 == amount.sampled
    assert pytest.approx(rows / 2, rel=0.001) == amount.mean
    assert pytest.approx(rows / 12**0.5, rel=0.05) == amount.deviation
    assert pytest.approx(1.0, abs=0.1) == amount.uniqueness.value


def test_two_scans_of_the_same_rows_say_the_same(bench: Bench) -> None:
    """Also where the sum of floats differs in its last digit from scan to scan."""
    path = bench.folder / "many.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT range::VARCHAR AS id, sin(range) * 1e6 AS amount FROM range(300000)) TO '{path}'"
        )
    done = bench.ingest(
        path.read_bytes(), rules=EVENTS, columns={"id": "id", "amount": "amount"}, format="parquet"
    )

    assert 1 == len({of(bench, done, columns=["id", "amount"]) for _ in range(4)})


def test_the_profile_reads_nothing_but_its_files(bench: Bench, tmp_path: Path) -> None:
    """It works in a sandbox of its own, and leaves nothing behind."""
    scratch = tmp_path / "own"
    scratch.mkdir()
    of(bench, bench.ingest(b"id,amount\na,1\n", rules=EVENTS, columns={"id": "id"}), scratch=scratch)

    assert [] == list(scratch.iterdir())
