"""What is unusual about a feed, and how seldom a steady feed is said to have drifted."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.domain.profile import ColumnProfile, FeedProfile, profile_of
from airflow_orchestration.domain.statistics import Share, robust_deviation, robust_z, wilson_interval
from airflow_orchestration.policies.drift import Drift, DriftDecision, DriftFacts
from tests.unit.policies.vectors import cases

USUAL = {"rows": 1000, "empty": 10, "mean": 50.0, "different": 400, "column": "size"}
DEVIATION = 20.0


def profile(**figures: Any) -> FeedProfile:
    """A feed with one column."""
    found = {**USUAL, **figures}
    rows, filled = found["rows"], max(0, found["rows"] - found["empty"])
    column = ColumnProfile(
        name=found["column"],
        rows=rows,
        filled=filled,
        sampled=filled,
        distinct=min(filled, found["different"]),
        mean=None if found["mean"] == "none" else found["mean"],
        deviation=None if found["mean"] == "none" else DEVIATION,
    )
    return feed_of(rows, column)


def feed_of(rows: int, *columns: ColumnProfile) -> FeedProfile:
    whole = Share(part=rows, whole=rows)
    return FeedProfile(rows=rows, completeness=whole, validity=whole, uniqueness=whole, columns=columns)


def judged(today: FeedProfile, history: list[FeedProfile]) -> DriftDecision:
    return Drift().evaluate(DriftFacts(feed_id="list", profile=today, history=tuple(history)))


def history_of(row: dict[str, Any]) -> list[FeedProfile]:
    figures = row.get("history", {})
    runs = row.get("runs") or len(figures["rows"])
    days = [
        {name: known[day] if isinstance(known, list) else known for name, known in figures.items()}
        for day in range(runs)
    ]
    return [profile(**day) for day in days]


@cases("drift", "drift")
def test_drift(row: dict[str, Any]) -> None:
    """A feed is compared with its own history, signal by signal."""
    decision = judged(profile(**row["today"]), history_of(row))

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "signals": [one.signal for one in decision.unusual],
    }
    assert decision.has_drifted == (row["expected"]["action"] == "drifted")


def test_the_decision_says_what_where_and_how_much() -> None:
    """The most unusual signal comes first, with its column, its value, and the usual one."""
    decision = judged(profile(empty=500, mean=254.0, different=200), [profile()] * 10)
    evidence = json.loads(json.dumps(decision.as_json()["evidence"]))

    assert {"feed": "list", "history": 10, "rows": 1000, "bound": 10.5, "unusual": 2} == {
        name: evidence[name] for name in ("feed", "history", "rows", "bound", "unusual")
    }
    assert [("mean", "size", 254.0, 50.0), ("null_share", "size", 0.5, 0.01)] == [
        (one["signal"], one["column"], one["value"], one["usual"]) for one in evidence["signals"]
    ]


def test_a_run_without_a_column_does_not_hide_it() -> None:
    """The column is compared with the runs that had it, as long as these are enough."""
    without, odd = feed_of(1000), profile(mean=254.0)

    assert ["mean"] == [one.signal for one in judged(odd, [profile()] * 9 + [without]).unusual]
    assert ["mean"] == [one.signal for one in judged(odd, [without] * 23 + [profile()] * 7).unusual]
    assert [] == [one.signal for one in judged(odd, [without] * 24 + [profile()] * 6).unusual]


def test_a_column_of_few_runs_is_judged_as_a_feed_of_few_runs() -> None:
    """Ten deviations from seven values are nothing unusual, though the feed itself is known for a month."""
    few = [profile(mean=50.0 + shift) for shift in (-1, -1, -1, 0, 1, 1, 1)]
    odd = profile(mean=50.0 + 10 * 1.4826)

    assert [] == [one.signal for one in judged(odd, [feed_of(1000)] * 23 + few).unusual]
    assert ["mean"] == [one.signal for one in judged(odd, few * 4).unusual]


def test_the_evidence_stays_small() -> None:
    """Of a thousand columns that drifted the ten most unusual are shown, and all are counted."""
    names = [f"c{number}" for number in range(1000)]

    def of(distinct: int) -> FeedProfile:
        return feed_of(
            100,
            *(
                ColumnProfile(name=name, rows=100, filled=100, sampled=100, distinct=distinct)
                for name in names
            ),
        )

    evidence = judged(of(1), [of(90)] * 10).as_json()["evidence"]

    assert isinstance(evidence, dict)
    assert (10, 1000) == (len(evidence["signals"]), evidence["unusual"])


@pytest.mark.parametrize(("threshold", "enough"), [(0, 7), (float("nan"), 7), (float("inf"), 7), (3.5, 0)])
def test_bounds_that_judge_nothing_are_refused(threshold: float, enough: int) -> None:
    """A threshold is above 0 and finite; without any history nothing is usual."""
    with pytest.raises(ValueError, match="judge nothing"):
        Drift(threshold=threshold, enough=enough)


def test_a_profile_survives_its_way_through_json() -> None:
    """What a store keeps is the profile."""
    whole = Share(part=9, whole=10)
    known = FeedProfile(
        rows=9,
        completeness=whole,
        validity=whole,
        uniqueness=whole,
        columns=(
            ColumnProfile(
                name="a", rows=9, filled=9, sampled=9, distinct=3, refused=1, mean=1.5, deviation=0.5
            ),
            ColumnProfile(
                name="b", rows=9, filled=0, sampled=0, distinct=0, lowest="2026-01-01", highest=2.0
            ),
        ),
        newest="2026-11-22T00:00:00+00:00",
        age_seconds=60.0,
    )

    assert known == profile_of(json.loads(json.dumps(known.as_json())))


class SteadyFeed:
    """Rows, empty cells, means and variety that vary from day to day around what they always were."""

    def __init__(self, seed: int, columns: int) -> None:
        self.dice = random.Random(seed)
        self.columns = columns

    def day(self) -> FeedProfile:
        rows = round(self.dice.gauss(10_000, 500))
        return feed_of(rows, *(self.column(f"c{number}", rows) for number in range(self.columns)))

    def column(self, name: str, rows: int) -> ColumnProfile:
        filled = rows - round(rows * min(0.5, max(0.0, self.dice.gauss(0.1, 0.01))))
        distinct = round(filled * min(1.0, self.dice.gauss(0.3, 0.03)))
        mean = self.dice.gauss(100, 5)
        return ColumnProfile(
            name=name, rows=rows, filled=filled, sampled=filled, distinct=distinct, mean=mean, deviation=30
        )


@pytest.mark.parametrize(
    ("runs", "columns", "most"), [(7, 3, 0.03), (10, 10, 0.02), (14, 10, 0.01), (30, 10, 0.01)]
)
def test_false_alarms_on_a_steady_feed_are_rare(runs: int, columns: int, most: float) -> None:
    """Over all signals of a feed together, whose figures are normal: a percent, and a few with a short history."""
    days, feed = 600, SteadyFeed(seed=runs, columns=columns)
    history = [feed.day() for _ in range(days + runs)]
    alarms = sum(
        judged(history[day], history[day - runs : day]).has_drifted for day in range(runs, days + runs)
    )

    assert days * most >= alarms


def test_what_matters_is_noticed_on_the_same_feed() -> None:
    """Half of the rows, a column that is half empty, and another unit, against the same variation."""
    feed = SteadyFeed(seed=1, columns=10)
    history, today = [feed.day() for _ in range(30)], feed.day()
    first, rest = today.columns[0], today.columns[1:]

    def of(column: ColumnProfile) -> FeedProfile:
        return feed_of(today.rows, column, *rest)

    half = feed_of(today.rows // 2, *today.columns)
    empty = ColumnProfile(
        name="c0", rows=today.rows, filled=today.rows // 2, sampled=5000, distinct=1500, mean=100
    )
    inches = ColumnProfile(
        name="c0", rows=today.rows, filled=first.filled, sampled=9000, distinct=2700, mean=254
    )

    assert ["volume"] == [one.signal for one in judged(half, history).unusual]
    assert ["null_share"] == [one.signal for one in judged(of(empty), history).unusual]
    assert ["mean"] == [one.signal for one in judged(of(inches), history).unusual]


FIGURES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
SAMPLES = st.lists(FIGURES, min_size=3, max_size=30)


@given(SAMPLES, FIGURES, FIGURES, st.floats(0.01, 100))
def test_shifting_everything_changes_nothing(
    usual: list[float], value: float, shift: float, least: float
) -> None:
    """A z-score looks at differences only."""
    moved = robust_z(value + shift, [one + shift for one in usual], least=least)

    assert robust_z(value, usual, least=least) == pytest.approx(moved, rel=1e-3, abs=1e-3)


@given(SAMPLES, FIGURES, st.floats(0.001, 1000), st.floats(0.01, 100))
def test_another_unit_changes_nothing(usual: list[float], value: float, unit: float, least: float) -> None:
    """A z-score has no unit."""
    scaled = robust_z(value * unit, [one * unit for one in usual], least=least * unit)

    assert robust_z(value, usual, least=least) == pytest.approx(scaled, rel=1e-6, abs=1e-6)


@given(st.lists(FIGURES, min_size=5, max_size=30, unique=True), st.floats(-1e12, 1e12))
def test_one_bad_day_widens_what_is_usual_by_no_more_than_the_others_do(
    usual: list[float], anything: float
) -> None:
    """Whatever one value becomes, the deviation is bounded by the spread of the others."""
    bad = [*usual[:-1], anything]

    assert robust_deviation(bad) <= 1.4827 * (max(usual[:-1]) - min(usual[:-1]))


@given(st.permutations(list(range(10))))
def test_the_order_of_the_history_does_not_matter(order: list[int]) -> None:
    """The history is a set."""
    days = [profile(rows=1000 + 7 * day * day) for day in range(10)]
    today = profile(rows=5000)

    assert judged(today, days) == judged(today, [days[day] for day in order])


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_an_interval_holds_its_share_and_narrows_with_rows(part: int, more: int) -> None:
    """Between 0 and 1, around the share, and ten times the rows give a narrower one."""
    share = Share(part=part, whole=part + more)
    low, high = share.interval
    narrow_low, narrow_high = wilson_interval(share.value, 10 * share.whole)

    assert 0 <= low <= share.value <= high <= 1
    assert high - low > narrow_high - narrow_low


def test_of_nothing_anything_may_be_true() -> None:
    """No rows: the share is whole and its interval everything."""
    nothing = Share(part=0, whole=0)

    assert (1.0, (0.0, 1.0)) == (nothing.value, nothing.interval)
