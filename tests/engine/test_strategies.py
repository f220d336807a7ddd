"""Every strategy agrees with plain Python, in both forms of the merge, value for value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.merge import Merge, Strategy
from airflow_orchestration.engine import fusing, key_ranges
from airflow_orchestration.engine.fusing import Fused, FusionSource, fuse
from airflow_orchestration.engine.opinions import whole_weights
from tests.engine.builders import rows_of

TYPES = {
    "word": ("string", "VARCHAR"),
    "exact": ("number", "DOUBLE"),
    "near": ("number", "DOUBLE"),
    "level": ("integer", "BIGINT"),
    "flag": ("boolean", "BOOLEAN"),
    "day": ("date", "DATE"),
    "seen_at": ("timestamp", "TIMESTAMP"),
}
READINGS = Contract.model_validate(
    {
        "name": "readings",
        "key": ["k"],
        "columns": [
            {"name": "k", "type": "integer"},
            *({"name": name, "type": kind} for name, (kind, _) in TYPES.items()),
        ],
    }
)
TOLERANCE = {"near": 0.5, "level": 2.0}
ORDERED = ("exact", "near", "day", "seen_at")
Row = dict[str, Any]
Said = dict[int, Any]
"""Number of a source -> what it says; the heaviest has the lowest number."""


@dataclass(frozen=True)
class Given:
    """A source as plain Python: key -> its row."""

    feed_id: str
    weight: float
    rows: Mapping[int, Row]


@dataclass(frozen=True)
class Opinions:
    """What all sources say of one attribute of one key."""

    said: Said
    weights: Sequence[float]
    times: Said
    tolerance: float

    def support(self, candidate: Any) -> float:
        """The weight of all that are within the tolerance."""
        return sum(self.weights[i] for i, value in self.said.items() if self.near(value, candidate))

    def near(self, value: Any, candidate: Any) -> bool:
        if not self.tolerance:
            return bool(value == candidate)
        margin = math.floor(self.tolerance) if isinstance(candidate, int) else self.tolerance
        return bool(candidate - margin <= value <= candidate + margin)


def primary(opinions: Opinions) -> int:
    return min(opinions.said)


def vote(opinions: Opinions) -> int:
    return min(opinions.said, key=lambda i: (-opinions.support(opinions.said[i]), i))


def median(opinions: Opinions) -> int:
    total = sum(opinions.weights[i] for i in opinions.said)
    reached = 0.0
    for i in sorted(opinions.said, key=lambda i: (opinions.said[i], i)):
        reached += opinions.weights[i]
        if 2 * reached >= total:
            return min(n for n, value in opinions.said.items() if value == opinions.said[i])
    raise AssertionError


def newest(opinions: Opinions) -> int:
    latest = max((time for i in opinions.said if (time := opinions.times[i]) is not None), default=None)
    return min(i for i in opinions.said if opinions.times[i] == latest)


def mean(opinions: Opinions) -> float:
    total, made = sum(opinions.weights[i] for i in opinions.said), 0.0
    for i, value in sorted(opinions.said.items()):
        made += value * (opinions.weights[i] / total)
    clamped: float = max(min(made, max(opinions.said.values())), min(opinions.said.values()))
    return clamped


PICKED: Mapping[Strategy, Callable[[Opinions], int]] = {
    Strategy.PRIMARY: primary,
    Strategy.VOTE: vote,
    Strategy.MEDIAN: median,
    Strategy.NEWEST: newest,
}


def expected(sources: Sequence[Given], rules: Merge) -> list[tuple[Any, ...]]:
    ordered = sorted(sources, key=lambda source: (-source.weight, source.feed_id))
    return [merged(key, ordered, rules) for key in sorted({key for source in ordered for key in source.rows})]


def merged(key: int, ordered: Sequence[Given], rules: Merge) -> tuple[Any, ...]:
    values: list[Any] = []
    origin: dict[str, Any] = {}
    confidence, conflicts = {}, []
    known = {i: source.rows[key] for i, source in enumerate(ordered) if key in source.rows}
    weights = whole_weights([source.weight for source in ordered])
    for name in TYPES:
        said = {i: row[name] for i, row in known.items() if row[name] is not None}
        if not said:
            values.append(None)
            continue
        times = {i: row["seen_at"] for i, row in known.items()}
        opinions = Opinions(said, weights, times, rules.tolerance.get(name, 0.0))
        strategy = rules.strategy_of(name)
        if strategy is Strategy.MEAN:
            values.append(mean(opinions))
            origin[name] = [ordered[i].feed_id for i in sorted(said)]
        else:
            chosen = PICKED[strategy](opinions)
            values.append(said[chosen])
            origin[name] = ordered[chosen].feed_id
        share = opinions.support(values[-1]) / sum(weights[i] for i in said)
        confidence[name] = math.floor(share * 10_000 + 0.5) / 10_000
        if not all(opinions.near(value, values[-1]) for value in said.values()):
            conflicts.append(name)
    feeds = [ordered[i].feed_id for i in sorted(known)]
    return (key, *values, feeds[0], feeds, origin, confidence, conflicts)


def write(source: Given, folder: Path) -> FusionSource:
    path = folder / f"{source.feed_id}.parquet"
    columns = ", ".join(f"{name} {kind}" for name, (_, kind) in TYPES.items())
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t (k BIGINT, {columns})")
        if source.rows:
            marks = ", ".join("?" for _ in range(len(TYPES) + 1))
            rows = [[key, *(row[name] for name in TYPES)] for key, row in source.rows.items()]
            connection.executemany(f"INSERT INTO t VALUES ({marks})", rows)
        connection.execute(f"COPY t TO '{path}'")
    return FusionSource(feed_id=source.feed_id, path=path, weight=source.weight)


def found(fused: Fused) -> list[tuple[Any, ...]]:
    columns = "* REPLACE (day::VARCHAR AS day, seen_at::VARCHAR AS seen_at)"
    return [(*row[:9], *map(json.loads, row[9:])) for row in rows_of(fused.path, columns)]


def both_forms(sources: Sequence[Given], rules: Merge) -> tuple[Fused, list[tuple[Any, ...]]]:
    """Merge joined, and stacked by another number of threads from another order of the sources."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        written = [write(source, folder) for source in sources]
        joined = fuse(written, contract=READINGS, merge=rules, scratch=folder)
        rows = found(joined)
        patch.setattr(fusing, "JOINED_SOURCES", 0)
        stacked = fuse(written[::-1], contract=READINGS, merge=rules, scratch=folder, threads=1)
        assert rows == found(stacked)
        assert joined == stacked
    return joined, rows


VALUES = {
    "word": st.none() | st.sampled_from(["x", "y", "", 'a "b"']),
    "exact": st.none() | st.sampled_from([0.0, 0.1, 0.7, 1e300, -3.25]),
    "near": st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.1, -0.2]),
    "level": st.none() | st.sampled_from([0, 2, 3, 5, 2**63 - 1, -(2**63)]),
    "flag": st.none() | st.booleans(),
    "day": st.none() | st.sampled_from(["2026-11-22", "2026-11-23", "2026-11-24"]),
    "seen_at": st.none() | st.sampled_from(["2026-11-22 10:00:00", "2026-11-22 10:00:01"]),
}
ROWS = st.dictionaries(st.integers(0, 9), st.fixed_dictionaries(VALUES), max_size=10)
WEIGHTS = st.sampled_from([1.0, 1.0, 2.0, 0.1, 0.2, 0.3, 1000.0])
SOURCES = st.lists(st.tuples(WEIGHTS, ROWS), min_size=1, max_size=6).flatmap(
    lambda made: st.permutations([f"f{n}" for n in range(len(made))]).map(
        lambda names: [Given(name, weight, rows) for name, (weight, rows) in zip(names, made, strict=True)]
    )
)
RULES = [
    Merge(strategy=Strategy.PRIMARY, tolerance=TOLERANCE),
    Merge(strategy=Strategy.VOTE, tolerance=TOLERANCE),
    Merge(strategy=Strategy.VOTE),
    Merge(strategy=Strategy.NEWEST, newest_by="seen_at", tolerance=TOLERANCE),
    Merge(attributes=dict.fromkeys([*ORDERED, "level"], Strategy.MEDIAN), tolerance=TOLERANCE),
    Merge(attributes={"exact": Strategy.MEAN, "near": Strategy.MEAN}, tolerance=TOLERANCE),
]


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(SOURCES, st.sampled_from(RULES))
def test_any_opinions_merge_as_plain_python_merges_them(sources: list[Given], rules: Merge) -> None:
    """Value, origin, confidence and conflicts, with nulls, ties, equal weights and tolerances."""
    fused, rows = both_forms(sources, rules)
    assert expected(sources, rules) == rows
    for source in sources:
        counted = fused.published[source.feed_id] + fused.superseded[source.feed_id]
        assert len(source.rows) == counted
    assert len(rows) == sum(fused.published.values())
    for name in TYPES:
        assert sum(name in row[-1] for row in rows) == fused.disagreements[name]


def said(name: str, **values: Any) -> list[Given]:
    """Sources by their names, of one attribute of one key; a value may come with its weight."""
    sources = []
    for feed_id, given_value in values.items():
        value, weight = given_value if isinstance(given_value, tuple) else (given_value, 1.0)
        sources.append(Given(feed_id, weight, {1: {**dict.fromkeys(TYPES), name: value}}))
    return sources


@pytest.mark.parametrize(
    ("strategy", "values", "value", "origin", "confidence"),
    [
        ("primary", {"a": 1.0, "b": (3.0, 2.0), "c": 1.0}, 3.0, "b", 0.5),
        ("vote", {"a": 1.0, "b": (3.0, 2.0), "c": 1.0}, 3.0, "b", 0.5),
        ("vote", {"a": 1.0, "b": (3.0, 1.5), "c": 1.0}, 1.0, "a", 0.5714),
        ("vote", {"a": (1.0, 0.1), "b": (1.0, 0.2), "c": (2.0, 0.3)}, 2.0, "c", 0.5),
        ("vote", {"a": 0.0, "b": 0.4, "c": 0.8}, 0.4, "b", 1.0),
        ("median", {"a": 9.0, "b": 1.0}, 1.0, "b", 0.5),
        ("median", {"a": 9.0, "b": 1.0, "c": 3.0}, 3.0, "c", 0.3333),
        ("median", {"a": (9.0, 2.0), "b": 1.0}, 9.0, "a", 0.6667),
        ("mean", {"a": 1.0, "b": (4.0, 2.0), "c": None}, 3.0, ["b", "a"], 0.0),
        ("mean", {"a": 0.1, "b": 0.1, "c": 0.1}, 0.1, ["a", "b", "c"], 1.0),
        ("mean", {"a": 1.7e308, "b": 1.7e308, "c": 1.7e308}, 1.7e308, ["a", "b", "c"], 1.0),
    ],
)
def test_a_case_that_is_asked_about(
    strategy: str, values: dict[str, Any], value: float, origin: Any, confidence: float
) -> None:
    """Ties, the middle of an even number, sums that floats would miss."""
    rules = Merge.model_validate(
        {"strategy": "primary", "attributes": {"near": strategy}, "tolerance": TOLERANCE}
    )
    _, ((_, _, _, near, *_, attribution, confidences, _),) = both_forms(said("near", **values), rules)
    assert (value, {"near": origin}, {"near": confidence}) == (near, attribution, confidences)


def test_the_newest_row_wins_and_one_without_a_time_is_the_oldest() -> None:
    """However heavy it is."""
    rows: dict[str, tuple[float, Row]] = {
        "undated": (9.0, {"word": "u", "seen_at": None}),
        "old": (2.0, {"word": "o", "seen_at": "2026-11-22 10:00:00"}),
        "new": (1.0, {"word": "n", "seen_at": "2026-11-22 10:00:01"}),
        "silent": (1.0, {"word": None, "seen_at": "2026-11-22 10:00:02"}),
    }
    sources = [
        Given(name, weight, {1: {**dict.fromkeys(TYPES), **row}}) for name, (weight, row) in rows.items()
    ]
    _, ((_, word, *_, seen_at, primary_source, _, attribution, _, _),) = both_forms(
        sources, Merge(strategy=Strategy.NEWEST, newest_by="seen_at")
    )
    assert ("n", "2026-11-22 10:00:02", "undated") == (word, seen_at, primary_source)
    assert {"word": "new", "seen_at": "silent"} == attribution


@pytest.mark.parametrize("joined", [12, 0])
def test_parts_order_and_threads_make_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joined: int
) -> None:
    """To the byte; what does not fit at once is merged part by part, and no key is lost between parts."""
    monkeypatch.setattr(fusing, "JOINED_SOURCES", joined)
    sources = [
        write(
            Given(f"f{n}", 1.0, {k: {**dict.fromkeys(TYPES), "near": k / (n + 1)} for k in range(n, 500, 2)}),
            tmp_path,
        )
        for n in range(3)
    ]
    rules = Merge(strategy=Strategy.VOTE, attributes={"near": Strategy.MEAN}, tolerance=TOLERANCE)
    whole = fuse(sources, contract=READINGS, merge=rules, scratch=tmp_path).path.read_bytes()
    monkeypatch.setattr(key_ranges, "VALUE_BYTES", 2**19)
    parts = fuse(sources[::-1], contract=READINGS, merge=rules, scratch=tmp_path, threads=1).path
    assert whole == parts.read_bytes()


def test_sixty_sources_merge_as_plain_python_merges_them() -> None:
    """Stacked as they are, and joined on demand."""
    sources = [
        Given(
            f"f{n:02}",
            1 + n % 4,
            {
                k: {
                    **dict.fromkeys(TYPES),
                    "near": (k * n) % 7 / 4,
                    "word": "abc"[(k + n) % 3],
                    "level": n % 5,
                }
                for k in range(40)
                if (k + n) % 5
            },
        )
        for n in range(60)
    ]
    rules = Merge(strategy=Strategy.VOTE, attributes={"near": Strategy.MEAN}, tolerance=TOLERANCE)
    with TemporaryDirectory() as name:
        folder = Path(name)
        stacked = fuse(
            [write(one, folder) for one in sources], contract=READINGS, merge=rules, scratch=folder
        )
        assert expected(sources, rules) == found(stacked)
