"""Does the SQL of strategy trust say what the model says, in both forms, and do its counts add up?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.merge import Merge, Strategy
from airflow_orchestration.engine.balloting import ballots_of
from airflow_orchestration.engine.opinions import Cell, first, whole_weights
from airflow_orchestration.engine.probing import read_probes
from airflow_orchestration.engine.terms import FusionSource
from airflow_orchestration.engine.trusting import Trusting
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.policies.trust.ballot import Ballot
from airflow_orchestration.policies.trust.model import TrustModel

FEEDS = ("a", "b", "c", "d", "e")
MODEL = TrustModel(
    accuracy={"x": {"a": 0.9, "b": 0.6, "c": 0.7, "d": 0.3, "e": 0.65}},
    spread={"x": 5.0},
    copying={"b": {"c": 0.8}, "c": {"b": 0.8}, "a": {"e": 0.3}, "e": {"a": 0.3}},
    calibration=((0.1, 0.2), (0.5, 0.55), (0.99, 0.95)),
)
SQL_TYPES = {ColumnType.INTEGER: "BIGINT", ColumnType.STRING: "VARCHAR", ColumnType.NUMBER: "DOUBLE"}
CONTRACT = Contract(
    name="thing",
    key=("code",),
    columns=(
        Column(name="code", type=ColumnType.STRING),
        Column(name="x", type=ColumnType.INTEGER),
    ),
)
TRUST = Merge(strategy=Strategy.TRUST)

Row = tuple[int | None, ...]
Answer = tuple[int, object, int, float]


def both_forms(cell: Cell, rows: Sequence[Row]) -> tuple[list[Answer], list[Answer]]:
    """What is chosen of joined and of stacked opinions: row, value, source, confidence."""
    connection = duckdb.connect()
    kind = SQL_TYPES[cell.column.type]
    columns = ", ".join(f"{cell.value(i)} {kind}" for i in cell.sources)
    connection.execute(f"CREATE TABLE joined (id INTEGER, {columns})")
    marks = ", ".join("?" * (len(cell.feeds) + 1))
    connection.executemany(f"INSERT INTO joined VALUES ({marks})", [(n, *row) for n, row in enumerate(rows)])
    stacked = " UNION ALL ".join(
        f"SELECT id, {i} AS source, {cell.value(i)} AS value FROM joined WHERE {cell.says(i)}"
        for i in cell.sources
    )
    connection.execute(f"CREATE VIEW opinions AS {stacked}")
    choice, query = Trusting(MODEL).across(cell), "SELECT * FROM joined"
    for level in choice.levels:
        query = f"SELECT *{''.join(f', {sql} AS {name}' for name, sql in level.items())} FROM ({query})"
    value = first(choice.taken, [cell.value(i) for i in cell.sources])
    source = first(choice.taken, [str(i) for i in cell.sources])
    across = (
        f"SELECT id, {value} AS value, {source} AS source, {choice.confidence} AS confidence FROM ({query})"
    )
    down = f"SELECT id, value, source, confidence FROM ({Trusting(MODEL).down(cell)})"
    return (
        connection.execute(f"SELECT * FROM ({across}) WHERE value IS NOT NULL ORDER BY id").fetchall(),
        connection.execute(f"{down} ORDER BY id").fetchall(),
    )


def cell_of(kind: ColumnType, tolerance: float) -> Cell:
    return Cell(
        number=0,
        column=Column(name="x", type=kind),
        tolerance=tolerance,
        feeds=FEEDS,
        weights=whole_weights([1.0] * len(FEEDS)),
    )


ROWS = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 4)) for _ in FEEDS]), min_size=1, max_size=20)


@settings(max_examples=15, deadline=None)
@given(ROWS, st.sampled_from(sorted(SQL_TYPES)), st.sampled_from([0.0, 1.5]))
def test_both_forms_choose_the_same(rows: list[Row], kind: ColumnType, tolerance: float) -> None:
    """Joined or stacked, value, source and confidence are equal to the last digit."""
    across, down = both_forms(cell_of(kind, tolerance), rows)
    assert across == down


@settings(max_examples=15, deadline=None)
@given(ROWS)
def test_the_engine_is_as_sure_as_the_model(rows: list[Row]) -> None:
    """For equal values, SQL gives the confidence that the model gives to the best side."""
    _, down = both_forms(cell_of(ColumnType.INTEGER, 0.0), rows)
    for number, _, _, confidence in down:
        sides: dict[int, list[str]] = {}
        for feed, value in zip(FEEDS, rows[number], strict=True):
            if value is not None:
                sides.setdefault(value, []).append(feed)
        ballot = Ballot(attribute="x", sides=tuple(tuple(side) for side in sides.values()))
        assert MODEL.confidence(max(MODEL.raw_confidence(ballot))) == pytest.approx(confidence, abs=1e-6)


def staged(folder: Path, feed_id: str, rows: dict[str, int | None]) -> FusionSource:
    """A staged file with a code and an x."""
    path = folder / f"{feed_id}.parquet"
    listed = ", ".join(f"('{code}', {'NULL' if x is None else x}::BIGINT)" for code, x in rows.items())
    duckdb.execute(f"COPY (SELECT * FROM (VALUES {listed}) AS rows (code, x)) TO '{path}' (FORMAT parquet)")
    return FusionSource(feed_id=feed_id, path=path, weight=1.0)


@pytest.fixture
def sources(tmp_path: Path) -> list[FusionSource]:
    """Three feeds that agree about k and l in the same way, and are divided about m."""
    return [
        staged(tmp_path, "a", {"k": 1, "l": 7, "m": 3}),
        staged(tmp_path, "b", {"k": 1, "l": 7, "m": 5}),
        staged(tmp_path, "c", {"k": 2, "l": 9, "m": None}),
    ]


def test_keys_that_divide_the_feeds_alike_are_one_ballot(sources: list[FusionSource], tmp_path: Path) -> None:
    """A null is no opinion; equal sides are counted together."""
    found = ballots_of(sources, contract=CONTRACT, merge=TRUST, scratch=tmp_path)
    assert {((("a", "b"), ("c",)), 2.0), ((("a",), ("b",)), 1.0)} == {(one.sides, one.count) for one in found}


def test_values_within_the_tolerance_are_one_side(sources: list[FusionSource], tmp_path: Path) -> None:
    """With a tolerance of 1, 1 and 2 agree; 7 and 9 do not."""
    merge = TRUST.model_copy(update={"tolerance": {"x": 1.0}})
    found = ballots_of(sources, contract=CONTRACT, merge=merge, scratch=tmp_path)
    assert (("a", "b", "c"),) in {one.sides for one in found}
    assert 3 == len(found)


def test_probes_tell_who_is_right(sources: list[FusionSource], tmp_path: Path) -> None:
    """A known value makes its side the truth; one that nobody has makes it nobody's."""
    file = tmp_path / "probes.csv"
    file.write_text("code,x\nk,2\nm,4\n")
    probes = read_probes(file, contract=CONTRACT, scratch=tmp_path)
    found = ballots_of(sources, contract=CONTRACT, merge=TRUST, scratch=tmp_path, probes=probes)
    assert {1, -1, None} == {one.truth for one in found}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x\n1\n", "lacks the key column code"),
        ("code,y\nk,1\n", "has no attribute of the contract"),
        ("code,x\nk,1\nk,2\n", "repeats 1 keys"),
        ("code,x\nk,many\n", "can't be read as probes"),
    ],
)
def test_probes_that_are_none_are_refused(text: str, told: str, tmp_path: Path) -> None:
    """The message says what is wrong with the file."""
    file = tmp_path / "probes.csv"
    file.write_text(text)
    with pytest.raises(InputRefusedError, match=told):
        read_probes(file, contract=CONTRACT, scratch=tmp_path)
