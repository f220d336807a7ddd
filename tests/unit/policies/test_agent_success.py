"""What is believed of a type of agent: SEED 21, the ruling on success rates, and what was measured."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.agent import WorkDay
from airflow_orchestration.policies.agent_success import NEWCOMER, AgentSuccess, Experience
from tests.unit.policies.vectors import cases


def day(text: str = "csv 0 1 0", **measured: Any) -> WorkDay:
    kind, days_ago, successes, failures = text.split()
    return WorkDay(
        agent_type="a",
        kind=kind,
        days_ago=int(days_ago),
        successes=int(successes),
        failures=int(failures),
        **measured,
    )


def believed(*days: WorkDay, kinds: tuple[str, ...] = ("csv",)) -> Experience:
    return AgentSuccess().learn(days).experience("a", kinds)


def check(row: dict[str, Any]) -> None:
    found = believed(*map(day, row["days"]), kinds=tuple(row.get("kinds", ["csv"])))

    assert (row["rate"], row["outcomes"]) == (round(found.success_rate, 3), found.outcomes)


@cases("agent_success", "seed_21")
def test_seed_21_the_prior(row: dict[str, Any]) -> None:
    """A new template is believed to succeed always, until it fails."""
    check(row)


@cases("agent_success", "ruling_learned")
def test_ruling_success_is_learned(row: dict[str, Any]) -> None:
    """Success is learned from recorded outcomes, with a prior and a memory that fades."""
    check(row)


def test_what_was_measured_is_a_mean_of_its_outcomes() -> None:
    """Time and quality are means of a batch, throughput is of all the time, memory is the highest."""
    found = believed(
        day("csv 0 2 1", measured=2, seconds=4.0, records=100, quality=1.5, peak_memory_mb=300.0),
        day("csv 0 1 0", measured=1, seconds=2.0, records=500, quality=0.75, peak_memory_mb=200.0),
    )

    expected = Experience(
        success_rate=pytest.approx(0.875),
        outcomes=4,
        measured=3,
        execution_time=timedelta(seconds=2),
        throughput=100.0,
        data_quality_score=0.75,
        peak_memory_mb=300.0,
    )
    assert expected == found
    assert 2.0 == found.as_json()["execution_seconds"]


def test_a_peak_is_forgotten_after_two_weeks() -> None:
    """One huge batch does not hold memory for three months; within 14 days it still does."""
    old, older = (day(f"csv {days_ago} 1 0", measured=1, peak_memory_mb=9000.0) for days_ago in (13, 14))
    new = day("csv 0 1 0", measured=1, peak_memory_mb=40.0)

    assert (9000.0, 40.0, None) == tuple(
        believed(*days).peak_memory_mb for days in ((old, new), (older, new), (older,))
    )


def test_only_measured_outcomes_are_enough_to_estimate() -> None:
    """Failures have no measures: a thousand of them and two successes are two to learn from."""
    two, three = (day(f"csv 0 {good} 1000", measured=good, seconds=1.0) for good in (2, 3))

    assert (False, True) == (believed(two).is_enough, believed(three).is_enough)


def test_recent_measures_count_more() -> None:
    """A batch of last week counts half in the mean time."""
    found = believed(day("csv 0 1 0", measured=1, seconds=4.0), day("csv 7 1 0", measured=1, seconds=1.0))

    assert timedelta(seconds=3) == found.execution_time


def test_what_nobody_measured_is_unknown() -> None:
    """Outcomes without a performance teach success and nothing else; a newcomer is all unknown."""
    assert Experience(success_rate=1.0, outcomes=3) == believed(day("csv 0 3 0"))
    assert NEWCOMER == believed()
    assert set(NEWCOMER.as_json().values()) == {1.0, 0, None}


def test_a_kind_of_work_is_known_from_all_types_together() -> None:
    """What a kind takes is learned from everybody who did it."""
    days = [
        WorkDay(agent_type=name, kind="csv", days_ago=0, successes=1, failures=0, measured=1, seconds=seconds)
        for name, seconds in (("a", 1.0), ("b", 3.0))
    ]
    found = AgentSuccess().learn(days)

    assert timedelta(seconds=2) == found.of_kind("csv").execution_time
    assert NEWCOMER == found.of_kind("json")


@pytest.mark.parametrize("name", ["prior_outcomes", "half_life_days", "outcomes_per_day"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    """Numbers that would divide by zero, or count for ever, are refused by name."""
    with pytest.raises(ValueError, match=f"{name} .* is not above 0"):
        AgentSuccess(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_the_prior_is_a_share(value: float) -> None:
    """A prior outside 0..1 is refused."""
    with pytest.raises(ValueError, match="is no share"):
        AgentSuccess(prior_success_rate=value)
