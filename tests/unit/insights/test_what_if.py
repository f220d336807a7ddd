from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_orchestration.insights.courses import Ending, Unknown
from airflow_orchestration.insights.what_if import UNTIL_DEADLINE, Terms, Trial, summary, trial, trial_as_json
from tests.unit.insights.builders import decided, recorded, seconds

THREE = {name: ("success", float(at)) for name, at in (("a", 5), ("b", 10), ("c", 20))}


def late_by_20() -> Trial:
    """Three of four came by 20 s; the deadline was 60 s, and the fourth came at 80 s."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, {**THREE, "d": ("success", 80)}, at=60.7)
    return trial(gate, Terms(deadline=seconds(90)))


def after(gate_trial: Trial) -> tuple[str, float, list[str]]:
    assert isinstance(gate_trial.after, Ending)
    ending = gate_trial.after
    return ending.action.value, ending.after.total_seconds(), sorted(ending.arrived)


def test_a_longer_deadline_takes_in_who_came_late() -> None:
    """A feed that came 20 s after the deadline is in with 30 s more, and that is not in time."""
    told = late_by_20()

    assert ("proceed_to_data_merge", 80.0, ["a", "b", "c", "d"]) == after(told)
    assert ("conditional_proceed", 60.0) == (told.before.action, told.before.after.total_seconds())
    assert isinstance(told.after, Ending)
    assert (True, False) == (told.in_time(told.before), told.in_time(told.after))
    assert (30, 40) == (told.rows(told.before), told.rows(told.after))


def test_a_smaller_grace_period_opens_earlier() -> None:
    """With 10 s of grace the gate opens 10 s after three of four were there."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, THREE, at=60.7)

    assert ("conditional_proceed", 30.0, ["a", "b", "c"]) == after(
        trial(gate, Terms(grace_period=seconds(10)))
    )
    assert ("conditional_proceed", 20.0, ["a", "b", "c"]) == after(
        trial(gate, Terms(grace_period=seconds(0)))
    )


def test_without_a_grace_period_the_gate_holds_to_its_deadline() -> None:
    """Taking the grace period away takes in who came between it and the deadline."""
    came = {**THREE, "d": ("success", 40.0)}
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, came, at=30.5, since=10.5, grace=10)

    assert ("proceed_to_data_merge", 40.0, ["a", "b", "c", "d"]) == after(
        trial(gate, Terms(grace_period=UNTIL_DEADLINE))
    )


def test_a_higher_floor_gives_up() -> None:
    """Three of four are not enough for a floor of 80 %, but only the deadline ends the waiting."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, THREE, at=60.7)

    assert ("timeout_recovery", 60.0, ["a", "b", "c"]) == after(trial(gate, Terms(floor=0.8)))


def test_an_early_failure_ends_the_waiting() -> None:
    """With a higher floor the gate gives up when the failure comes, not at the deadline."""
    came = {**THREE, "d": ("failed", 12.0)}
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "f"}, came, at=20.3)

    assert ("timeout_recovery", 12.0, ["a", "b"]) == after(trial(gate, Terms(floor=0.8)))


def test_who_was_never_seen_is_not_guessed() -> None:
    """With more time the answer hangs on a feed that nobody looked for any more; it is named, in no figure."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, THREE, at=60.7)
    told = trial(gate, Terms(deadline=seconds(90)))

    assert Unknown(members=("d",)) == told.after
    assert (False, True) == (told.changed, told.differs)
    assert ["d"] == trial_as_json(told)["unknown"]
    assert (1, 0, {}) == tuple(summary([told])[name] for name in ("unknown", "changed", "after"))


def test_a_deadline_within_what_was_seen_is_known() -> None:
    """A feed that never came was missing at every earlier moment too."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, THREE, at=60.7)

    assert ("conditional_proceed", 59.0, ["a", "b", "c"]) == after(trial(gate, Terms(deadline=seconds(59))))


def test_a_task_that_died_is_known_by_the_time_of_the_decision() -> None:
    """Its moment matters to a floor that it makes unreachable, and not to one that is reached at the deadline."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "f", "e": "p"}, THREE, at=60.7, floor=0.6)

    assert Unknown(members=("d",)) == trial(gate, Terms(floor=0.9)).after
    assert ("conditional_proceed", 60.0, ["a", "b", "c"]) == after(trial(gate, Terms(floor=0.5)))


def test_a_feed_is_given_up_at_its_own_deadline() -> None:
    """Its own deadline is known to the second, so that the answer is known."""
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "f"}, THREE, own={"d": 8.0}, at=20.2)

    assert ("timeout_recovery", 8.0, ["a"]) == after(trial(gate, Terms(floor=0.8)))


def test_a_stand_alone_decision_is_known_where_times_play_no_part() -> None:
    """Of a gate without arrival times, a lower floor at the deadline is known, and a shorter deadline is not."""
    gate = recorded({"a": "a", "b": "a", "c": "p", "d": "p"}, at=60.2)

    assert ("conditional_proceed", 60.0, ["a", "b"]) == after(trial(gate, Terms(floor=0.5)))
    assert Unknown(members=("a", "b")) == trial(gate, Terms(deadline=seconds(30), floor=0.5)).after


def test_the_same_policy_changes_nothing() -> None:
    """Terms that a gate has already leave it as it was, whatever is known of it."""
    gate = recorded({"a": "a", "b": "a"}, at=5, floor=0.5)
    told = trial(gate, Terms(floor=0.5, deadline=seconds(60)))

    assert told.recorded == told.before == told.after
    assert not told.differs


def test_who_was_registered_while_the_gate_looked_came_too_late_for_it() -> None:
    """A gate that did not see a feed decided without it, whatever the times say."""
    came = {**THREE, "d": ("success", 19.9)}
    gate = recorded({"a": "a", "b": "a", "c": "a", "d": "p"}, came, at=20.1, grace=0)
    told = trial(gate, Terms(grace_period=seconds(1)))

    assert ("conditional_proceed", "conditional_proceed") == (told.recorded.action, told.before.action)
    assert ("proceed_to_data_merge", 20.100001, ["a", "b", "c", "d"]) == after(told)


def test_an_arrival_between_deadline_and_look_is_no_change() -> None:
    """A gate that looked a moment after its deadline took in more; both sides are told without it."""
    gate = recorded({"a": "a", "b": "a"}, {"a": ("success", 1), "b": ("success", 60.3)}, at=60.5, floor=0.5)
    told = trial(gate, Terms(floor=0.4))

    assert ("proceed_to_data_merge", "conditional_proceed") == (told.recorded.action, told.before.action)
    assert told.before == told.after
    assert 1 == summary([told])["looked_late"]


def test_a_sync_point_keeps_its_terms() -> None:
    """Another floor for the gate over all leaves a point as strict as it was, and its deadline follows."""
    core = decided({"c": "a", "d": "p"}, at=60.7, floor=1)
    members = {"a": "a", "b": "a", "c": "a", "d": "p"}
    gate = recorded(members, {**THREE, "d": ("success", 80.0)}, points={"core": core}, at=60.7, floor=0.5)

    assert "core" == gate.decision.evidence["decided_by"]
    assert ("timeout_recovery", 60.0, ["a", "b", "c"]) == after(trial(gate, Terms(floor=0.25)))
    assert ("proceed_to_data_merge", 80.0, ["a", "b", "c", "d"]) == after(
        trial(gate, Terms(deadline=seconds(90)))
    )


def test_a_required_feed_is_waited_for() -> None:
    """The grace period begins when the required feed is there, not with the weight."""
    came = {**THREE, "d": ("success", 50.0)}
    gate = recorded({"a": "a", "b": "a", "c": "a*", "d": "a"}, came, at=50.4, floor=0.5)

    assert ("conditional_proceed", 25.0, ["a", "b", "c"]) == after(
        trial(gate, Terms(grace_period=seconds(5)))
    )


def test_the_summary_counts_what_changed() -> None:
    """Flips, deadlines met, weight and rows stand side by side."""
    told = summary([late_by_20(), late_by_20()])

    assert {"conditional_proceed -> proceed_to_data_merge": 2} == told["flips"]
    assert (2, 2) == (told["gates"], told["changed"])
    assert {
        "opened": 2,
        "in_time": 2,
        "median_seconds": 60.0,
        "mean_weight_share": 0.75,
        "rows_merged": 60,
    } == told["before"]
    assert {
        "opened": 2,
        "in_time": 0,
        "median_seconds": 80.0,
        "mean_weight_share": 1.0,
        "rows_merged": 80,
    } == told["after"]


def test_nonsense_is_refused() -> None:
    """Terms that no gate can have are refused in words."""
    gate = recorded({"a": "a"}, at=5)
    with pytest.raises(ValueError, match="floor 2 is no share"):
        trial(gate, Terms(floor=2))
    with pytest.raises(ValueError, match="negative"):
        trial(gate, Terms(grace_period=timedelta(seconds=-1)))
