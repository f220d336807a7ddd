"""The promises of a store, kept by both."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_orchestration.exceptions import FencedError, LedgerMismatchError
from airflow_orchestration.storage.store import GateTerms, RunKey, RunState, Store
from tests.storage.builders import (
    RUN,
    TERMS,
    Action,
    attempt,
    claimed,
    decision,
    delivered,
    failed,
    merge_record,
    outcome,
    plan,
    unit,
)
from tests.storage.conftest import StoreUnderTest

EARLIER, LATER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def ended_run(store: Store, number: int, *feeds: tuple[str, int, float]) -> None:
    run = RunKey(dag_id=RUN.dag_id, run_id=f"run_{number:02}")
    fence = claimed(store, "branch:beta:b1", 1, run=run)
    for feed_id, rows, seconds in feeds:
        store.register(fence, delivered(feed_id, rows, seconds))
    store.save_run(fence, {}, decision())
    store.finish(fence, RunState.PUBLISHED, {})


def test_a_newer_try_takes_over(store: Store) -> None:
    """A newer try number claims with a higher epoch although the lease of the older one runs."""
    first = store.claim(unit(), attempt(1))
    second = store.claim(unit(), attempt(2, "host:2:2"))
    assert first.epoch < second.epoch


def test_a_late_starter_of_an_old_try_is_refused(kept: StoreUnderTest) -> None:
    """Try 1 may not claim after try 2, not even when the lease is over."""
    kept.store.claim(unit(), attempt(2))
    kept.expire_leases()
    with pytest.raises(FencedError, match="try 1 may not begin"):
        kept.store.claim(unit(), attempt(1))


def test_the_same_attempt_elsewhere_waits_out_the_lease(kept: StoreUnderTest) -> None:
    """A second process with the same try number is kept out until the lease is over."""
    kept.store.claim(unit(), attempt(1, "host:1:1"))
    with pytest.raises(FencedError):
        kept.store.claim(unit(), attempt(1, "host:2:2"))
    kept.expire_leases()
    assert kept.store.claim(unit(), attempt(1, "host:2:2")).epoch > 0


def test_the_same_process_may_enter_again(store: Store) -> None:
    """Re-entry of the same process gets a new epoch and fences its earlier self."""
    first = store.claim(unit(), attempt(1))
    again = store.claim(unit(), attempt(1))
    with pytest.raises(FencedError, match=f"epoch {first.epoch} was taken over"):
        store.add_event(first, "late", {})
    store.add_event(again, "on time", {})
    assert ["on time"] == [event.event for event in store.timeline(RUN)]


def test_a_shut_unit_is_refused_to_all_who_have_begun(store: Store) -> None:
    """Neither who has claimed it nor a newer try that was started before writes; who is started later does."""
    working = store.claim(unit("publish"), attempt(1))
    started = replace(attempt(2), began_at=EARLIER)
    shut = store.shut(claimed(store, "close_out"), unit("publish"))
    assert shut.epoch > working.epoch
    with pytest.raises(FencedError, match="taken over"):
        store.add_event(working, "late", {})
    with pytest.raises(FencedError, match="the run has ended since it was started"):
        store.claim(unit("publish"), started)

    assert store.claim(unit("publish"), attempt(2)).epoch > shut.epoch
    with pytest.raises(FencedError, match="the run has ended since it was started"):
        store.claim(unit("publish"), replace(started, try_number=3))


def test_a_unit_that_nobody_has_claimed_can_be_shut(store: Store) -> None:
    """The first execution may be stopped before it claims; only who holds the unit that ends may shut it."""
    ending = claimed(store, "close_out")
    early = replace(attempt(1), began_at=EARLIER)
    store.shut(ending, unit("publish"))
    with pytest.raises(FencedError, match="try 1 may not begin"):
        store.claim(unit("publish"), early)
    claimed(store, "close_out", try_number=2)
    with pytest.raises(FencedError, match="taken over"):
        store.shut(ending, unit("publish"))


def test_waiting_for_feeds_ends_the_lease(store: Store) -> None:
    """An attempt that said what it waits for may be resumed by another process at once."""
    store.set_waiting(store.claim(unit("branch:beta:b1", 1), attempt(1, "host:1:1")), ["a"])
    assert store.claim(unit("branch:beta:b1", 1), attempt(1, "host:2:2")).epoch > 0


def test_a_fenced_execution_writes_nothing(store: Store) -> None:
    """Every fenced write of a superseded execution is refused and changes nothing."""
    zombie = claimed(store, "branch:beta:b1", 1, try_number=1)
    claimed(store, "branch:beta:b1", 1, try_number=2)
    writes = [
        lambda: store.save_run(zombie, {}, decision()),
        lambda: store.open_round(zombie, plan(), TERMS),
        lambda: store.register(zombie, outcome()),
        lambda: store.set_waiting(zombie, ["a"]),
        lambda: store.record_decision(zombie, decision()),
        lambda: store.save_merge(zombie, merge_record()),
        lambda: store.add_event(zombie, "event", {}),
        lambda: store.finish(zombie, RunState.PUBLISHED, {}),
    ]
    for write in writes:
        with pytest.raises(FencedError):
            write()
    assert ([], [], [], [], None) == (
        store.timeline(RUN),
        store.rounds(RUN),
        store.outcomes(RUN),
        store.decisions(RUN),
        store.manifest(RUN),
    )


def test_a_run_is_recorded_once(store: Store) -> None:
    """The first content of a run stays, and its analysis stands in the timeline once."""
    fence = claimed(store)
    store.save_run(fence, {"feeds": ["a"], "share": 0.75}, decision(branches=3))
    store.save_run(fence, {"feeds": []}, decision())
    saved = store.run(RUN)
    assert ({"feeds": ["a"], "share": 0.75}, decision(branches=3).as_json()) == (saved.spec, saved.mode)
    assert [("data_batch_analysis_completed", {"branches": 3, "mode": "proceed", "reason": "complete"})] == [
        (event.event, event.detail) for event in store.timeline(RUN)
    ]


def test_what_was_not_recorded_is_a_key_error(store: Store) -> None:
    """Runs and rounds that nobody recorded raise `KeyError`."""
    for read in (
        lambda: store.run(RUN),
        lambda: store.gate_snapshot(RUN, 1),
        lambda: store.mark_floor_reached(RUN, 1),
        lambda: store.record_verdict(RUN, 1, decision()),
    ):
        with pytest.raises(KeyError):
            read()
    assert (None, [], {}) == (store.manifest(RUN), store.rounds(RUN), store.merges(RUN, 1))


def test_a_round_opens_once(store: Store) -> None:
    """A round keeps the plan and the deadline with which it was first opened."""
    fence = claimed(store, "plan", 1)
    first = store.open_round(fence, plan(feeds=("a", "b")), TERMS)
    again = store.open_round(fence, plan(feeds=("c",)), GateTerms(deadline=timedelta(hours=9)))
    assert first == again
    assert (plan(feeds=("a", "b")), TERMS.deadline) == (again.plan, again.deadline_at - again.opened_at)
    assert ["round_opened"] == [event.event for event in store.timeline(RUN)]


def test_rounds_come_in_order(store: Store) -> None:
    """Rounds are read in the order of their numbers."""
    for number in (2, 1):
        store.open_round(claimed(store, "plan", number), plan(number), TERMS)
    assert [1, 2] == [stored.round for stored in store.rounds(RUN)]


@pytest.mark.parametrize(
    "registered", [outcome(), failed("a"), outcome(rejects=None, measures=None, rules=None)]
)
def test_an_outcome_comes_back_as_it_was(store: Store, registered: object) -> None:
    """What was registered is read back equal."""
    store.register(claimed(store, "branch:beta:b1", 1), registered)  # type: ignore[arg-type]
    assert [registered] == store.outcomes(RUN)


def test_an_outcome_counts_once_per_epoch(store: Store) -> None:
    """The same execution can't register a feed twice; a newer one replaces it."""
    fence = claimed(store, "branch:beta:b1", 1)
    store.register(fence, failed("a"))
    store.register(fence, outcome())
    assert [failed("a")] == store.outcomes(RUN)
    store.register(claimed(store, "branch:beta:b1", 1, try_number=2), outcome())
    assert [outcome()] == store.outcomes(RUN)
    assert [("failed", 0), ("success", 8)] == [
        (event.detail["status"], event.detail["rows_staged"]) for event in store.timeline(RUN)
    ]


def test_an_older_epoch_of_another_unit_loses(store: Store) -> None:
    """The newest epoch wins although the older execution registers last and is not fenced."""
    older = claimed(store, "branch:beta:b1", 1)
    newer = claimed(store, "branch:gamma:b2", 1)
    store.register(newer, outcome())
    store.register(older, failed("a"))
    assert [outcome()] == store.outcomes(RUN)


def test_an_outcome_that_does_not_add_up_is_refused(store: Store) -> None:
    """Rows in must be staged + quarantined, and what is out of scope a part of the quarantine."""
    fence = claimed(store, "branch:beta:b1", 1)
    for wrong in (outcome(rows_in=11), outcome(rows_out_of_scope=3)):
        with pytest.raises(LedgerMismatchError, match="nothing was registered"):
            store.register(fence, wrong)
    assert [] == store.outcomes(RUN)


def test_an_error_text_may_hold_anything(store: Store) -> None:
    """NUL and lone surrogates in an error are replaced, not refused."""
    store.register(claimed(store, "branch:beta:b1", 1), failed("a", error="bad \0 and \ud800"))
    assert "bad \N{REPLACEMENT CHARACTER} and ?" == store.outcomes(RUN)[0].error


def test_outcomes_come_by_round_and_feed(store: Store) -> None:
    """Outcomes are read by round, then by feed."""
    for number, feed_id in ((2, "a"), (1, "b"), (1, "B"), (1, "a")):
        store.register(claimed(store, f"branch:beta:{feed_id}", number), outcome(feed_id, number))
    assert [(1, "B"), (1, "a"), (1, "b"), (2, "a")] == [(o.round, o.feed_id) for o in store.outcomes(RUN)]


def test_the_snapshot_has_each_feeds_newest_outcome(store: Store) -> None:
    """A gate sees the newest outcome of each feed, of whatever round, and who is waited for in its own."""
    for number in (1, 2):
        store.open_round(claimed(store, "plan", number), plan(number), TERMS)
    for made in (failed("a", 1), outcome("b", 1), outcome("a", 2)):
        store.register(claimed(store, f"branch:beta:{made.feed_id}", made.round), made)
    store.set_waiting(claimed(store, "branch:beta:b1", 1), ["z"])
    store.set_waiting(claimed(store, "branch:beta:b1", 2), ["c", "d", "c"])
    store.set_waiting(claimed(store, "branch:gamma:b2", 2), ["d", "e"])
    snapshot = store.gate_snapshot(RUN, 2)
    assert {"a": outcome("a", 2), "b": outcome("b", 1)} == snapshot.outcomes
    assert {"c", "d", "e"} == snapshot.waiting
    assert store.rounds(RUN)[1] == snapshot.round
    assert snapshot.round.opened_at <= snapshot.now < snapshot.round.deadline_at


def test_a_branch_sees_of_the_round_what_concerns_it(store: Store) -> None:
    """Of some feeds what the gate sees of all, by a plan that is known; a round that is not open is refused."""
    for number in (1, 2):
        store.open_round(claimed(store, "plan", number), plan(number), TERMS)
    for made in (failed("a", 1), outcome("b", 1), outcome("a", 2), outcome("c", 2)):
        store.register(claimed(store, f"branch:beta:{made.feed_id}", made.round), made)
    store.set_waiting(claimed(store, "branch:beta:b1", 2), ["a", "e"])
    known = store.rounds(RUN)[1]
    store.record_verdict(RUN, 2, decision())
    whole, seen = store.gate_snapshot(RUN, 2), store.branch_snapshot(RUN, known, ["a", "b", "d"])
    assert {"a": outcome("a", 2), "b": outcome("b", 1)} == seen.outcomes
    assert {"a"} == seen.waiting
    assert (whole.round, whole.run_started_at) == (seen.round, seen.run_started_at)
    with pytest.raises(KeyError):
        store.branch_snapshot(RUN, replace(known, round=3), ["a"])


def test_many_gates_are_read_at_once_as_each_is_alone(store: Store) -> None:
    """The facts of many gates, of several runs, are what each one's are; a round that is not open is left out."""
    other = RunKey(dag_id="railways", run_id=RUN.run_id)
    for run, number, feed_id in ((RUN, 1, "a"), (RUN, 2, "b"), (other, 1, "c")):
        store.open_round(claimed(store, "plan", number, run=run), plan(number), TERMS)
        store.register(claimed(store, "branch:beta:b1", number, run=run), outcome(feed_id, number))
        store.set_waiting(claimed(store, "branch:beta:b2", number, run=run), [f"{feed_id}_{number}"])
    rounds = [(RUN, 1), (RUN, 2), (other, 1)]

    found = store.gate_snapshots([*rounds, (other, 2), (RunKey(dag_id="roads", run_id="x"), 1)])

    moment = found[RUN, 1].now
    alone = {(run, number): store.gate_snapshot(run, number) for run, number in rounds}
    assert {at: replace(facts, now=moment) for at, facts in alone.items()} == {
        at: replace(facts, now=moment) for at, facts in found.items()
    }
    assert {"a", "b"} == found[RUN, 2].outcomes.keys()
    assert {"c"} == found[other, 1].outcomes.keys()
    assert [{"a_1"}, {"b_2"}, {"c_1"}] == [found[at].waiting for at in rounds]


def test_waiting_is_replaced_and_told_when_it_changes(store: Store) -> None:
    """A unit's waiting list replaces its earlier one; the timeline tells each new one that names feeds."""
    store.open_round(claimed(store, "plan", 1), plan(), TERMS)
    fence = claimed(store, "branch:beta:b1", 1)
    for feeds in (["b", "a"], ["a", "b"], ["b"], []):
        store.set_waiting(fence, feeds)
    assert frozenset() == store.gate_snapshot(RUN, 1).waiting
    assert [["a", "b"], ["b"]] == [
        e.detail["feeds"] for e in store.timeline(RUN) if e.event == "branch_waiting"
    ]


def test_the_floor_is_reached_once(store: Store) -> None:
    """The first moment at which the floor was reached stays."""
    store.open_round(claimed(store, "plan", 1), plan(), TERMS)
    first = store.mark_floor_reached(RUN, 1)
    assert first == store.mark_floor_reached(RUN, 1) == store.rounds(RUN)[0].points["feeds"].floor_reached_at


def test_the_first_verdict_stays(store: Store) -> None:
    """A second decider gets the first verdict back, and there is one decision and one checkpoint."""
    store.open_round(claimed(store, "plan", 1), plan(), TERMS)
    verdict = store.record_verdict(RUN, 1, decision(share=0.8))
    assert verdict == store.record_verdict(RUN, 1, decision(Action.WAIT, share=0.1))
    decided = store.rounds(RUN)[0]
    assert decision(share=0.8).as_json() == decided.verdict
    assert decided.decided_at is not None
    assert [(1, verdict)] == store.decisions(RUN)
    checkpoint = store.timeline(RUN)[-1]
    assert ("synchronization_checkpoint", "feeds", 0.8) == (
        checkpoint.event,
        checkpoint.detail["sync_point"],
        checkpoint.detail["share"],
    )


def test_decisions_come_oldest_first(store: Store) -> None:
    """Decisions are kept with their round, in the order in which they were made."""
    for number in (2, 1):
        store.record_decision(claimed(store, "quality", number), decision(number=number))
    assert [(2, 2), (1, 1)] == [(number, made["evidence"]["number"]) for number, made in store.decisions(RUN)]


def test_each_dataset_of_a_round_has_a_merge(store: Store) -> None:
    """Merges are read by round, each under the name of its dataset."""
    fence = claimed(store, "merge", 1)
    weather = replace(merge_record(), dataset="weather")
    for record in (weather, merge_record(), replace(weather, round=2)):
        store.save_merge(fence, record)
    assert {"airport": merge_record(), "weather": weather} == store.merges(RUN, 1)


def test_the_newest_merge_stays(store: Store) -> None:
    """A newer execution replaces the merge, the same one does not."""
    fence = claimed(store, "merge", 1)
    store.save_merge(fence, merge_record())
    store.save_merge(fence, merge_record(content_sha256="two"))
    assert {"airport": merge_record()} == store.merges(RUN, 1)
    store.save_merge(claimed(store, "merge", 1, try_number=2), merge_record(content_sha256="two"))
    assert {"airport": merge_record(content_sha256="two")} == store.merges(RUN, 1)
    assert ["intelligent_data_merge_completed"] * 2 == [event.event for event in store.timeline(RUN)]


def ends_told(store: Store) -> list[object]:
    return [event.detail["state"] for event in store.timeline(RUN) if event.event == "run_finished"]


@pytest.mark.parametrize("first", RunState)
def test_the_first_end_stays(store: Store, first: RunState) -> None:
    """What was published stays so, and whoever repeats an end changes nothing."""
    fence = claimed(store, "close_out")
    later = [first] if first is RunState.NOT_PUBLISHED else list(RunState)
    store.finish(fence, first, {"missing": ["b"]})
    for state in later:
        store.finish(fence, state, {"missing": []})
    assert {"missing": ["b"]} == store.manifest(RUN)
    assert [first] == ends_told(store)


@pytest.mark.parametrize("second", [RunState.PUBLISHED, RunState.PUBLISHED_DEGRADED])
def test_a_run_can_be_published_after_its_end(store: Store, second: RunState) -> None:
    """A cleared publish task may publish what was not published at the end; that is then the end."""
    store.finish(claimed(store, "close_out"), RunState.NOT_PUBLISHED, {"missing": ["b"]})
    fence = claimed(store, "close_out", try_number=2)
    store.finish(fence, second, {"missing": []})
    store.finish(fence, RunState.NOT_PUBLISHED, {"missing": ["c"]})
    store.finish(fence, RunState.NOT_PUBLISHED, {"missing": ["c"], "version": 9})
    assert {"missing": []} == store.manifest(RUN)
    assert [RunState.NOT_PUBLISHED, second] == ends_told(store)


def test_a_refused_run_has_only_an_end(store: Store) -> None:
    """A run that was never analyzed can end; when it begins after all, it has not ended, and ends as any other."""
    fence = claimed(store, "close_out")
    store.finish(fence, RunState.NOT_PUBLISHED, {"state": "not_published"})
    with pytest.raises(KeyError):
        store.run(RUN)
    store.save_run(fence, {"feeds": []}, decision())
    assert ({"feeds": []}, None) == (store.run(RUN).spec, store.manifest(RUN))
    store.finish(fence, RunState.NOT_PUBLISHED, {"state": "not_published", "rounds": 1})
    assert {"state": "not_published", "rounds": 1} == store.manifest(RUN)


def test_the_timeline_is_in_order(store: Store) -> None:
    """Events are read in the order in which they happened, with times that do not fall."""
    fence = claimed(store, "plan", 1)
    for number in range(5):
        store.add_event(fence, f"event_{number}", {"number": number, "nested": {"list": [1, None]}})
    told = store.timeline(RUN)
    assert [f"event_{number}" for number in range(5)] == [event.event for event in told]
    assert sorted(event.at for event in told) == [event.at for event in told]
    assert {"number": 0, "nested": {"list": [1, None]}} == told[0].detail


def test_usual_rows_are_the_median_of_ended_runs(store: Store) -> None:
    """The median of a feed's last 10 successes, from 3 on, each ended run once."""
    for number, rows in enumerate([1_000_000, *range(10, 20)]):
        ended_run(store, number, ("a", rows, 1.0))
    for number in (50, 51):
        ended_run(store, number, ("rare", 5, 1.0))
    assert {"a": 14} == store.usual_rows(RUN.dag_id, ["a", "rare", "unknown"], LATER)
    assert {} == store.usual_rows("another", ["a"], LATER)


def test_a_run_does_not_judge_itself(store: Store) -> None:
    """A run that has not ended, a failure and an earlier round do not count for usual rows."""
    for number in range(3):
        ended_run(store, number, ("a", 100, 1.0))
    store.register(claimed(store, "branch:beta:b1", 1), delivered("a", 1))
    twice = RunKey(dag_id=RUN.dag_id, run_id="twice")
    for number, rows in ((1, 7), (2, 100)):
        store.register(
            claimed(store, "branch:beta:b1", number, run=twice), delivered("a", rows, round_number=number)
        )
    closing = claimed(store, "close_out", run=twice)
    store.save_run(closing, {}, decision())
    store.finish(closing, RunState.PUBLISHED, {})
    assert {"a": 100} == store.usual_rows(RUN.dag_id, ["a"], LATER)


def test_later_runs_do_not_judge_an_earlier_one(store: Store) -> None:
    """What is usual for a run is what was so when it started, however late it is asked."""
    for number in range(3):
        ended_run(store, number, ("a", 100, 1.0))
    started = store.run(RunKey(dag_id=RUN.dag_id, run_id="run_00")).started_at
    assert {} == store.usual_rows(RUN.dag_id, ["a"], started)


def test_a_success_may_be_kept(store: Store) -> None:
    """Whoever reads a late file does not replace what another execution has registered of it."""
    store.register(claimed(store, "branch:beta:b1", 1), delivered("a", 5))
    late = claimed(store, "reconcile", 1)
    store.register(late, delivered("a", 9), keep_success=True)
    store.register(late, delivered("b", 9), keep_success=True)
    assert {"a": 5, "b": 9} == {one.feed_id: one.rows_staged for one in store.outcomes(RUN)}


def test_observed_seconds_are_the_median_of_successes(store: Store) -> None:
    """The median seconds of a feed's last 10 successes; failures and runs that have not ended do not count."""
    for number, seconds in enumerate([900.0, *[float(n) for n in range(10)]]):
        ended_run(store, number, ("a", 1, seconds))
    open_run = claimed(store, "branch:beta:b1", 1)
    store.register(open_run, delivered("a", 1, 900.0))
    store.register(open_run, failed("b"))
    assert {"a": 4.5} == store.observed_seconds(RUN.dag_id, ["a", "b"])


def test_runs_are_kept_apart(store: Store) -> None:
    """What is written for one run is not seen in another one with the same unit names."""
    other = RunKey(dag_id=RUN.dag_id, run_id="manual__2")
    store.open_round(claimed(store, "plan", 1), plan(), TERMS)
    store.register(claimed(store, "branch:beta:b1", 1), outcome())
    assert ([], [], []) == (store.rounds(other), store.outcomes(other), store.timeline(other))
