"""What learning gains, and whom it gives another chance: drawn with a seed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.insights.agent_simulation import (
    BACKLOG,
    BAD_DAY,
    DAYS,
    Batch,
    Comparison,
    Played,
    Setting,
    SimulatedTemplate,
    bad_for_good,
    compare,
    drawn_setting,
    one_bad_day,
    play,
)
from airflow_orchestration.policies.agent_success import AgentSuccess

SIZE = ResourceRequirements(cpu_millicores=500, memory_mb=256)
NO_LIMIT = AgentSuccess(outcomes_per_day=1e9)


@pytest.fixture(scope="module")
def found() -> Comparison:
    """Three drawn settings."""
    return compare(Random(1).random, 3)


def batches(*runs: int, luck: float = 0.5) -> tuple[tuple[Batch, ...], ...]:
    return tuple((Batch(needed=SIZE, luck=luck),) * size for size in runs)


def test_learning_gains_over_the_constant(found: Comparison) -> None:
    """In every drawn setting more batches succeed, and never more than who knew the truth could expect."""
    assert min(found.gains) > 0
    assert found.learned - found.constant == sum(found.gains)
    assert found.constant < found.learned < found.best


def test_one_bad_day_does_not_banish_a_known_template(found: Comparison) -> None:
    """Hundreds of failures on one day, and it is chosen again the next; one that nobody knew within three weeks."""
    assert 1 == found.one_bad_day
    assert found.first_day_bad is not None
    assert 21 >= found.first_day_bad


def test_without_the_limit_of_a_day_it_would_be_banished() -> None:
    """Were every failure counted, one day would cost the template a month and more."""
    played = play(one_bad_day(Random(1).random, BAD_DAY), NO_LIMIT)

    assert 250 < played.chosen[BAD_DAY]["unlucky"] < BACKLOG
    assert 30 < (played.again_after("unlucky", BAD_DAY) or DAYS)


def test_who_turned_bad_for_good_is_left(found: Comparison) -> None:
    """It gets a batch now and then, to be known; with the constant it keeps half of them."""
    assert 0.05 > found.bad_for_good
    assert 0.4 < play(bad_for_good(Random(1).random), None).last_share("broken")


def test_the_same_seed_draws_the_same(found: Comparison) -> None:
    """A figure can be had again, and another seed gives another."""
    first, again, other = (drawn_setting(Random(seed).random) for seed in (1, 1, 2))

    assert first == again != other
    assert {"learned", "constant", "best"} == set(found.as_json()["successes"])


def test_runs_learn_from_earlier_runs_of_the_day() -> None:
    """Both templates fit alike: all of a run go to the first by name, the next run avoids who failed."""
    templates = tuple(
        SimulatedTemplate(name=name, success_rate=rate, footprint=SIZE)
        for name, rate in (("a", 0.1), ("b", 0.9))
    )
    setting = Setting(templates=templates, days=(batches(3, 2), batches(1)))

    assert Played(successes=3, batches=6, chosen=[Counter("aaabb"), Counter("b")]) == play(
        setting, AgentSuccess()
    )
    assert Played(successes=0, batches=6, chosen=[Counter("aaaaa"), Counter("a")]) == play(setting, None)


def test_a_template_that_is_never_chosen_again_is_told_so() -> None:
    """No later choice is None; the day itself does not count."""
    played = Played(chosen=[Counter(day) for day in ("a", "a", "", "aa")])

    assert (2, None) == (played.again_after("a", 1), played.again_after("a", 3))


def test_a_chance_may_change() -> None:
    """A chance holds until its day, the new one from then on, and a bad day has none."""
    template = SimulatedTemplate(name="a", success_rate=0.9, footprint=SIZE, later=(2, 0.4), bad_day=3)

    assert [0.9, 0.9, 0.4, 0.0, 0.4] == [template.rate_on(day) for day in range(5)]
