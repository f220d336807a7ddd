from __future__ import annotations

from math import sqrt
from pathlib import Path
from random import Random
from typing import Any

import pytest

from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.insights.arrivals_file import Arrivals, read_arrivals
from airflow_orchestration.insights.simulation import (
    UNKNOWN,
    Simulated,
    Source,
    given_source,
    recorded_source,
    simulate,
)
from airflow_orchestration.insights.what_if import Terms
from tests.unit.insights.builders import recorded, seconds

RUNS = 4000
PROCEED, CONDITIONAL, GIVEN_UP = "proceed_to_data_merge", "conditional_proceed", "timeout_recovery"


def given(**feeds: dict[str, Any]) -> Source:
    return given_source(Arrivals.model_validate({"feeds": feeds}))


def run(source: Source, *policies: Terms, seed: int = 1, runs: int = RUNS) -> list[Simulated]:
    return simulate(source, policies, Random(seed).random, range(runs))


def shares(result: Simulated) -> dict[str, float]:
    told: dict[str, float] = result.as_json()["actions"]
    return told


def near(share: float, runs: int = RUNS) -> Any:
    """Within four standard errors."""
    return pytest.approx(share, abs=4 * sqrt(share * (1 - share) / runs))


def test_twenty_feeds_that_are_each_missing_one_night_in_twenty() -> None:
    """All are there on 0.95 ** 20 = 36 % of nights, and the expected weight missing is 5 % at any floor below."""
    source = given(**{f"f{number}": {"seconds": [60.0], "never_share": 0.05} for number in range(20)})
    strict, lenient = run(
        source, Terms(deadline=seconds(600), floor=1), Terms(deadline=seconds(600), floor=0.3)
    )

    assert near(0.95**20) == shares(strict)[PROCEED]
    assert near(1 - 0.95**20) == shares(strict)[GIVEN_UP]
    assert near(0.95**20) == shares(lenient)[PROCEED]
    assert 1.0 == lenient.as_json()["opened"]
    assert near(0.05, RUNS * 20) == lenient.as_json()["mean_weight_missing"]


def test_a_median_is_one() -> None:
    """Half of a lognormal feed's arrivals come by its median, and 84 % by the median times its spread."""
    source = given(a={"median_seconds": 100.0, "spread": 2.0})
    half, most = run(source, Terms(deadline=seconds(100)), Terms(deadline=seconds(200)))

    assert near(0.5) == shares(half)[PROCEED]
    assert near(0.841) == shares(most)[PROCEED]
    assert pytest.approx(100, rel=0.05) == half.as_json()["seconds"]["p50"]


def test_shares_of_failures_and_delays_are_kept() -> None:
    """A feed fails, never comes or comes late as often as it was given, and a failure is told at once."""
    feed = {
        "seconds": [10.0],
        "failed_share": 0.2,
        "never_share": 0.1,
        "late_share": 0.3,
        "late_seconds": 90.0,
    }
    (result,) = run(given(a=feed), Terms(deadline=seconds(60)))

    assert near(0.4) == shares(result)[PROCEED]
    assert near(0.2) == result.seconds.count(10.0) / RUNS - shares(result)[PROCEED]
    assert near(0.4) == result.seconds.count(60.0) / RUNS


def test_weights_and_required_feeds_count() -> None:
    """The gate opens without the light feed, and never without the required one."""
    source = given(
        heavy={"seconds": [1.0], "weight": 9.0, "required": True, "never_share": 0.25},
        light={"seconds": [2.0], "never_share": 0.5},
    )
    (result,) = run(source, Terms(deadline=seconds(60), floor=0.5))

    assert near(0.25) == shares(result)[GIVEN_UP]
    assert near(0.375) == shares(result)[CONDITIONAL]
    assert 0.9 == result.as_json()["least_weight_share"]
    assert ["light"] == list(result.as_json()["missed"])


def test_the_same_seed_draws_the_same_runs() -> None:
    """A simulation can be repeated, and another seed gives another one."""
    source = given(a={"median_seconds": 50.0, "spread": 3.0}, b={"seconds": [1.0, 70.0]})
    first, again, other = (
        run(source, Terms(deadline=seconds(60)), seed=seed, runs=50)[0] for seed in (1, 1, 2)
    )

    assert first.as_json() == again.as_json() != other.as_json()


def test_policies_are_tried_on_the_same_draws() -> None:
    """Of two equal policies side by side no one is luckier."""
    source = given(a={"median_seconds": 50.0, "spread": 3.0}, b={"median_seconds": 40.0, "never_share": 0.5})
    one, other = run(source, *[Terms(deadline=seconds(60), floor=0.5)] * 2, runs=200)

    assert one.as_json() == other.as_json()


def test_recorded_arrivals_are_drawn_as_often_as_they_were_recorded() -> None:
    """Of four nights on which a feed was late on one, a quarter of the draws are late."""
    on_time = recorded({"a": "a"}, {"a": ("success", 5)}, at=5.2)
    late = recorded({"a": "p"}, {"a": ("success", 80)}, at=60.2)
    (result,) = run(recorded_source([on_time, late, on_time, on_time]), Terms())

    assert near(0.75) == shares(result)[PROCEED]
    assert near(0.25) == shares(result)[GIVEN_UP]


def test_first_rounds_are_drawn_from_and_the_newest_policy_is_tried() -> None:
    """A round that runs feeds again says nothing of when they come; members and terms change over time."""
    old = recorded({"a": "a", "gone": "a"}, {"a": ("success", 5)}, at=5.2, floor=0.5)
    new = recorded({"a": "a", "b": "a"}, {"a": ("success", 7), "b": ("success", 6)}, at=7.1, floor=0.9)
    again = new.model_copy(update={"round": 2})
    alone = recorded({"x": "a"}, at=3).model_copy(update={"dag_id": ""})
    source = recorded_source([old, again, new, again, alone])
    (result,) = run(source, Terms(), runs=10)

    assert {"a": 2, "b": 1} == source.observations
    assert 0.9 == result.gate.floor
    assert {5.0, 6.0, 7.0} >= {*result.seconds}


def test_what_nobody_looked_for_is_unknown() -> None:
    """A feed that had not come when the recorded gate decided is not guessed beyond that moment."""
    there, missing = recorded({"a": "a"}, {"a": ("success", 5)}, at=5.2), recorded({"a": "p"}, at=60.2)
    source = recorded_source([there, missing])
    as_recorded, longer = run(source, Terms(), Terms(deadline=seconds(600)))

    assert near(0.5) == shares(as_recorded)[GIVEN_UP]
    assert near(0.5) == shares(longer)[UNKNOWN]
    assert {"a": 2} == source.observations


def test_gates_of_several_dags_are_refused() -> None:
    """One gate is simulated at a time; the message names the Dags and the option."""
    gate = recorded({"a": "a"}, at=5)
    other = gate.model_copy(update={"dag_id": "morning"})
    with pytest.raises(InputRefusedError, match="morning, night; choose one with --dag-id"):
        recorded_source([gate, other])
    with pytest.raises(InputRefusedError, match="no recorded gates"):
        recorded_source([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feeds: {a: {}}", "feeds.a: needs either median_seconds or a list of seconds"),
        ("feeds: {a: {median_seconds: 5, seconds: [1]}}", "feeds.a: needs either"),
        ("feeds: {a: {seconds: [1], never_share: 0.7, failed_share: 0.6}}", "add up to 1.3, more than 1"),
        (
            "feeds: {a: {seconds: [1], late_share: 0.1}}",
            "feeds.a: needs late_share and late_seconds together",
        ),
        ("feeds: {a: {seconds: [-1]}}", "feeds.a.seconds[0]: must be greater than or equal to 0"),
        ("feeds: {a: {medianseconds: 5}}", "feeds.a.medianseconds: is not a known field"),
        ("feeds: {a: {median_seconds: '5'}}", "feeds.a.median_seconds: must be a valid number"),
        ("feeds: {}", "feeds: "),
    ],
)
def test_a_bad_arrivals_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Each problem of a file is told with its path."""
    path = tmp_path / "arrivals.yaml"
    path.write_text(text)
    with pytest.raises(InputRefusedError) as refused:
        read_arrivals(path)

    assert "arrivals file arrivals.yaml" in str(refused.value)
    assert message in str(refused.value)
