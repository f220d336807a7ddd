"""Merging agrees with an oracle in plain Python, value for value and count for count."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.engine import disagreeing, fusing
from airflow_orchestration.engine.disagreeing import MOST_OPINIONS
from airflow_orchestration.engine.fusing import Fused, FusionSource, fuse
from airflow_orchestration.engine.joining import Joined
from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import rows_of

# The names are those that the statements might use themselves.
SITES = Contract.model_validate(
    {
        "name": "sites",
        "key": ["a0_1", "p0"],
        "columns": [
            {"name": "name", "type": "string"},
            {"name": "p0", "type": "integer"},
            {"name": "a0_1", "type": "string"},
            {"name": "c0", "type": "number"},
            {"name": "n0", "type": "integer"},
            {"name": "day", "type": "date"},
        ],
    }
)
ATTRIBUTES = ("name", "c0", "n0", "day")
TOLERANCE = {"c0": 0.5, "n0": 2}
PRIMARY = Merge(tolerance=TOLERANCE)
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Given:
    """A source as plain Python."""

    feed_id: str
    weight: float
    rows: list[Row]


def write(source: Given, folder: Path) -> FusionSource:
    path = folder / f"{source.feed_id}.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t (name VARCHAR, p0 BIGINT, a0_1 VARCHAR, c0 DOUBLE, n0 BIGINT, day DATE, _position BIGINT)"
        )
        if source.rows:
            names = [column.name for column in SITES.columns]
            connection.executemany(
                "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)",
                [[*(row.get(name) for name in names), n] for n, row in enumerate(source.rows, 1)],
            )
        connection.execute(f"COPY t TO '{path}'")
    return FusionSource(feed_id=source.feed_id, path=path, weight=source.weight)


def fused(sources: Sequence[Given], folder: Path, **options: Any) -> Fused:
    written = [write(source, folder) for source in sources]
    return fuse(written, **{"contract": SITES, "merge": PRIMARY, "scratch": folder, **options})


@dataclass
class Expected:
    """What plain Python makes of the same sources."""

    rows: list[tuple[Any, ...]]
    published: dict[str, int]
    superseded: dict[str, int]
    disagreements: dict[str, int]
    compared: dict[str, int]
    completeness: float
    examples: dict[str, list[dict[str, Any]]]


def agrees(attribute: str, one: Any, other: Any) -> bool:
    if attribute in TOLERANCE:
        return bool(abs(one - other) <= TOLERANCE[attribute])
    return bool(one == other)


def oracle(sources: Sequence[Given]) -> Expected:
    ordered = sorted(sources, key=lambda source: (-source.weight, source.feed_id))
    known = {s.feed_id: {(row["a0_1"], row["p0"]): row for row in s.rows} for s in ordered}
    zeros = dict.fromkeys(ATTRIBUTES, 0)
    made = Expected([], {s.feed_id: 0 for s in ordered}, {}, {**zeros}, {**zeros}, 1.0, {})
    for key in sorted({key for rows in known.values() for key in rows}, key=lambda k: (k[0].encode(), k[1])):
        rows = {s: known[s.feed_id][key] for s in ordered if key in known[s.feed_id]}
        made.rows.append(merged(key, rows, ordered, made))
    made.superseded = {s.feed_id: len(s.rows) - made.published[s.feed_id] for s in ordered}
    filled = sum(len(row[8]) for row in made.rows)
    made.completeness = filled / (len(made.rows) * len(ATTRIBUTES)) if made.rows else 1.0
    return made


def merged(
    key: tuple[Any, ...], rows: dict[Given, Row], ordered: list[Given], made: Expected
) -> tuple[Any, ...]:
    chosen, attribution, confidence, conflicts = {}, {}, {}, []
    for attribute in ATTRIBUTES:
        said = {s: row[attribute] for s, row in rows.items() if row.get(attribute) is not None}
        if not said:
            continue
        first = next(iter(said))
        chosen[attribute], attribution[attribute] = said[first], first.feed_id
        alike = [s for s in said if agrees(attribute, said[s], said[first])]
        share = summed(ordered, alike) / summed(ordered, list(said))
        confidence[attribute] = math.floor(share * 10_000 + 0.5) / 10_000
        made.compared[attribute] += len(said) > 1
        if len(alike) < len(said):
            made.disagreements[attribute] += 1
            conflicts.append(attribute)
            others = [s for s in said if s is not first][: MOST_OPINIONS - 1]
            shown = [s for s in said if s is first or s in others]
            example = {
                "key": {"a0_1": key[0], "p0": str(key[1])},
                "values": {s.feed_id: str(said[s]) for s in shown},
                "more": len(said) - len(shown),
                "chosen": first.feed_id,
                "value": str(chosen[attribute]),
            }
            made.examples.setdefault(attribute, []).append(example)
    ids = [source.feed_id for source in rows]
    made.published[ids[0]] += 1
    values = (chosen.get("name"), key[1], key[0], chosen.get("c0"), chosen.get("n0"), chosen.get("day"))
    return (*values, ids[0], ids, attribution, confidence, conflicts)


def summed(ordered: list[Given], chosen: list[Given]) -> float:
    total = 0.0
    for source in ordered:
        total += source.weight if source in chosen else 0.0
    return total


def check(sources: Sequence[Given], found: Fused) -> None:
    expected = oracle(sources)
    rows = [
        (*row[:7], *map(json.loads, row[7:]))
        for row in rows_of(found.path, "* REPLACE (day::VARCHAR AS day)")
    ]
    assert expected.rows == rows
    assert len(expected.rows) == found.rows
    assert (expected.published, expected.superseded) == (found.published, found.superseded)
    assert (expected.disagreements, expected.compared) == (found.disagreements, found.compared)
    assert expected.completeness == found.completeness
    assert {name: told[:2] for name, told in expected.examples.items()} == found.examples


VALUES = {
    "name": st.none() | st.sampled_from(["x", "y", "", 'a "b"', "é"]),
    "c0": st.none() | st.sampled_from([0.0, 0.5, 0.75, 1.0, -3.25]),
    "n0": st.none() | st.sampled_from([0, 2, 3, 2**63 - 1, -(2**63)]),
    "day": st.none() | st.sampled_from(["2026-11-22", "2026-11-23"]),
}
KEYS = st.tuples(st.sampled_from(["A", "B", "b", "é"]), st.sampled_from([0, 1, -1]))
ROWS = st.dictionaries(KEYS, st.fixed_dictionaries(VALUES), max_size=7).map(
    lambda rows: [{"a0_1": key[0], "p0": key[1], **row} for key, row in rows.items()]
)
SOURCES = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 2.5, 0.001, 1000.0]), ROWS), min_size=1, max_size=6
).flatmap(
    lambda made: st.permutations([f"f{n}" for n in range(len(made))]).map(
        lambda names: [Given(name, weight, rows) for name, (weight, rows) in zip(names, made, strict=True)]
    )
)


@settings(max_examples=50, deadline=None)
@given(SOURCES)
def test_any_sources_merge_as_plain_python_merges_them(sources: list[Given]) -> None:
    """Nulls, ties, one source or six, values within and beyond the tolerance, the ends of the integers."""
    with TemporaryDirectory() as folder:
        check(sources, fused(sources, Path(folder), examples=2))


def site(key: str, **values: Any) -> Row:
    return {"a0_1": key, "p0": 1, **values}


def test_the_heaviest_source_with_a_value_wins(tmp_path: Path) -> None:
    """Value by value, with its origin and the share of the weight that agrees."""
    sources = [
        Given("light", 1, [site("A", name="light", c0=10.0, n0=1)]),
        Given("heavy", 3, [site("A", name="heavy", c0=10.4)]),
    ]
    found = fused(sources, tmp_path)
    ((name, _, _, c0, n0, day, primary, feeds, attribution, confidence, conflicts),) = rows_of(found.path)
    assert ("heavy", 10.4, 1, None, "heavy") == (name, c0, n0, day, primary)
    assert ["heavy", "light"] == json.loads(feeds)
    assert {"name": "heavy", "c0": "heavy", "n0": "light"} == json.loads(attribution)
    assert ({"name": 0.75, "c0": 1.0, "n0": 1.0}, ["name"]) == (json.loads(confidence), json.loads(conflicts))
    assert ({"name": 1, "c0": 0, "n0": 0, "day": 0}, 3 / 4) == (found.disagreements, found.completeness)
    assert [{"name": 1, "c0": 1, "n0": 0, "day": 0}] == [found.compared]


def test_of_equal_weights_the_first_by_id_wins(tmp_path: Path) -> None:
    """Whatever order the sources are given in."""
    sources = [Given("b", 1, [site("A", name="b")]), Given("a", 1, [site("A", name="a")])]
    assert [("a", "a")] == rows_of(fused(sources, tmp_path).path, "name, _primary_source")


def test_twenty_five_sources(tmp_path: Path) -> None:
    """As many as a wide run has, each knowing another part of the keys."""
    sources = [
        Given(
            f"f{n}",
            1 + n % 4,
            [site(f"K{k}", name=f"{n % 3}", c0=float(k), n0=n) for k in range(60) if k % (n + 1) < 3],
        )
        for n in range(25)
    ]
    check(sources, fused(sources, tmp_path, examples=2))


def test_very_many_sources_need_no_more_memory_than_few(tmp_path: Path) -> None:
    """Statements over all of them at once needed gigabytes to be planned; names come from the right source."""
    alike = [write(Given(f"s{n}", 1.0, [site(f"K{n}", c0=float(n))]), tmp_path) for n in range(4)]
    sources = [
        FusionSource(
            feed_id=f"f{n:03}", path=Path(copyfile(alike[n % 4].path, tmp_path / f"f{n}.parquet")), weight=1.0
        )
        for n in range(300)
    ]
    found = fuse(sources, contract=SITES, merge=PRIMARY, scratch=tmp_path, memory_mb=64)
    assert (4, 296) == (found.rows, sum(found.superseded.values()))
    assert [f"f{n:03}" for n in range(4)] == [row for (row,) in rows_of(found.path, "_primary_source")]
    assert 75 == len(json.loads(rows_of(found.path, "_sources")[0][0]))


def test_a_single_source_is_its_own_answer(tmp_path: Path) -> None:
    """Nothing is compared, nothing disagrees."""
    sources = [Given("only", 2.5, [site("A", name="x"), site("B")])]
    check(sources, fused(sources, tmp_path))


def test_sources_without_rows(tmp_path: Path) -> None:
    """An empty table, complete as it is."""
    found = fused([Given("a", 1, []), Given("b", 2, [])], tmp_path)
    assert (0, 1.0, {"a": 0, "b": 0}) == (
        found.rows,
        found.completeness,
        dict(sorted(found.published.items())),
    )
    assert [] == rows_of(found.path)


def test_the_result_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    """A retry makes the same file."""
    sources = [Given(f"f{n}", 1, [site(f"K{k}", n0=n) for k in range(300)]) for n in range(3)]
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(fused(sources, tmp_path / name).path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("others", [1, 16])  # joined and stacked
def test_a_made_value_is_nobodys(tmp_path: Path, others: int) -> None:
    """An example of it names no feed as chosen, and says what was made of the values."""
    sources = [Given(f"f{n:02}", 1, [site("A", c0=1.0)]) for n in range(others)]
    sources.append(Given("apart", others, [site("A", c0=3.0), site("B", c0=9.0)]))
    found = fused(sources, tmp_path, merge=Merge.model_validate({"attributes": {"c0": "mean"}}), examples=3)
    values = {"apart": "3.0"} | {
        source.feed_id: "1.0" for source in sources[: min(others, MOST_OPINIONS - 1)]
    }
    more = max(0, others + 1 - MOST_OPINIONS)
    key = {"a0_1": "A", "p0": "1"}
    example = {"key": key, "values": values, "more": more, "chosen": None, "value": "2.0"}
    assert {"c0": [example]} == found.examples


@pytest.mark.parametrize("apart", [5, 15])  # joined and stacked
def test_an_example_tells_the_chosen_opinion_and_the_heaviest_others(tmp_path: Path, apart: int) -> None:
    """Also where the lightest have their way; of the rest it says how many there are, and reads no more than it needs."""
    heavy = [Given(f"h{n:02}", 1.5, [site("A", name=f"{n}")]) for n in range(apart)]
    light = [Given(f"l{n}", 1.0, [site("A", name="same")]) for n in range(7)]
    vote = Merge.model_validate({"attributes": {"name": "vote"}})
    [example] = fused([*heavy, *light], tmp_path, merge=vote, examples=3).examples["name"]
    shown = [source.feed_id for source in heavy][: MOST_OPINIONS - 1]
    shown += [source.feed_id for source in light][: MOST_OPINIONS - len(shown)]
    assert (shown, apart + 7 - MOST_OPINIONS) == (list(example["values"]), example["more"])  # type: ignore[call-overload]
    assert ("l0", "same") == (example["chosen"], example["value"])


def test_examples_are_of_the_attributes_with_most_conflicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very many are in conflict, the others have none."""
    monkeypatch.setattr(disagreeing, "MOST_ATTRIBUTES", 1)
    sources = [
        Given("a", 2, [site("A", name="x", n0=1), site("B", n0=1)]),
        Given("b", 1, [site("A", name="y", n0=9), site("B", n0=9)]),
    ]
    assert {"n0"} == set(fused(sources, tmp_path, examples=3).examples)


def test_examples_are_short_and_can_be_stored(tmp_path: Path) -> None:
    """Of keys and values 200 characters are told, without the zero that PostgreSQL keeps in no text."""
    key = "K" * 201
    sources = [Given("a", 2, [site(key, name="é" * 201)]), Given("b", 1, [site(key, name="x\0y")])]
    [example] = fused(sources, tmp_path, examples=3).examples["name"]
    assert {"a": "é" * 200, "b": "x\N{REPLACEMENT CHARACTER}y"} == example["values"]
    assert ("K" * 200, "é" * 200) == (example["key"]["a0_1"], example["value"])


def test_without_being_asked_a_merge_tells_no_examples(tmp_path: Path) -> None:
    """They are for the round's own merge; nobody looks at those of others."""
    sources = [Given("a", 1, [site("A", n0=1)]), Given("b", 1, [site("A", n0=9)])]
    assert (1, {}) == ((found := fused(sources, tmp_path)).disagreements["n0"], found.examples)


def test_a_merge_is_whole_without_its_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the memory does not last for them, the merge ends well all the same."""

    def short_of_memory(*_: object) -> None:
        raise duckdb.OutOfMemoryException

    monkeypatch.setattr(fusing, "disagreements", short_of_memory)
    sources = [Given("a", 2, [site("A", n0=1)]), Given("b", 1, [site("A", n0=9)])]
    found = fused(sources, tmp_path, examples=3)
    assert ({}, [(1,)]) == (found.examples, rows_of(found.path, "n0"))


def test_no_sources_are_refused(tmp_path: Path) -> None:
    """There is no table of nothing."""
    with pytest.raises(ValueError, match="no sources"):
        fused([], tmp_path)


@pytest.mark.parametrize(
    "rows", [[site("A"), site("A")], [{"a0_1": None, "p0": 1}], [{"a0_1": "A", "p0": None}]]
)
def test_a_key_that_is_not_unique_is_refused(tmp_path: Path, rows: list[Row]) -> None:
    """The join would multiply or lose such rows."""
    with pytest.raises(FeedError, match=r"bad: .* staged rows repeat a key"):
        fused([Given("good", 1, [site("A")]), Given("bad", 1, rows)], tmp_path)


@pytest.mark.parametrize(("memory_mb", "over_memory"), [(250, 2.0), (100, 16.0)])
def test_a_merge_larger_than_its_memory_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mb: int, over_memory: float
) -> None:
    """Four sources of 300,000 rows spill; and what does not even then fit is merged anew in smaller parts."""
    monkeypatch.setattr(Joined, "over_memory", over_memory)
    sources = []
    for n in range(4):
        path = tmp_path / f"big{n}.parquet"
        select = (
            f"SELECT repeat('n', 30) || range AS name, range AS p0, 'key-' || range AS a0_1, range * 1.0::DOUBLE AS c0, "
            f"{n} AS n0, DATE '2026-01-01' AS day, range AS _position FROM range({n * 100_000}, {n * 100_000 + 300_000})"
        )
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({select}) TO '{path}'")
        sources.append(FusionSource(feed_id=f"f{n}", path=path, weight=4 - n))
    found = fuse(sources, contract=SITES, merge=Merge(), scratch=tmp_path, memory_mb=memory_mb)
    assert (600_000, [300_000, 100_000, 100_000, 100_000]) == (found.rows, list(found.published.values()))
    assert (400_000, 400_000) == (found.compared["n0"], found.disagreements["n0"])
