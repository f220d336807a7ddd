"""What a store tells of gates that have decided."""

from __future__ import annotations

from datetime import timedelta

from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.insights.recorded_gate import gates_in, line_of, recorded_gate
from airflow_orchestration.insights.replay import differences
from airflow_orchestration.storage.store import RunKey, Store
from tests.corpus.rounds import ROWS, play_round, spec_of

RUN = RunKey(dag_id="night", run_id="1")
FEEDS = {"a": {}, "b": {"deadline": 90}, "c": {"deadline": "06:00 Europe/Berlin"}}


def test_a_gate_is_told_with_arrivals_before_and_after_its_verdict(store: Store) -> None:
    """What came late is there too, with its time, and so are failures and the feeds' own deadlines."""
    spec = spec_of(FEEDS, floor=0.3, grace_period=0)
    play_round(store, RUN, spec, ended={"a": "success"}, late={"b": "success", "c": "failed"})
    (gate,) = store.decided_gates()

    assert ({"a": ROWS, "b": ROWS, "c": 0}, OutcomeStatus.FAILED) == (
        {name: known.rows for name, known in gate.registered.items()},
        gate.registered["c"].status,
    )
    assert gate.opened_at <= gate.registered["a"].at < gate.registered["b"].at < gate.registered["c"].at
    assert {"b": 90, "c": "06:00 Europe/Berlin"} == gate.feed_deadlines
    assert (["a"], ["b", "c"]) == tuple(
        gate.verdict["evidence"][ids] for ids in ("arrived_ids", "missing_ids")
    )


def test_a_second_round_counts_what_it_did_not_run_again(store: Store) -> None:
    """Of an earlier round only the feeds count that were left as they were."""
    spec = spec_of(FEEDS, floor=1)
    play_round(store, RUN, spec, ended={"a": "success", "b": "failed", "c": "failed"})
    play_round(store, RUN, spec, 2, feeds=["b", "c"], ended={"b": "failed"})
    first, second = store.decided_gates()

    assert (1, 2) == (first.round, second.round)
    assert ({"a", "b", "c"}, {"a", "b"}) == ({*first.registered}, {*second.registered})
    assert first.registered["a"] == second.registered["a"]
    assert first.registered["b"].at < second.registered["b"].at


def test_gates_are_chosen_by_dag_and_time(store: Store) -> None:
    """Open gates are left out; the others come oldest first, of one Dag or since a moment."""
    spec = spec_of(FEEDS, floor=0.3, grace_period=0)
    runs = [RunKey(dag_id=dag_id, run_id=run_id) for dag_id, run_id in (("x", "2"), ("y", "1"), ("x", "1"))]
    for run in runs:
        play_round(store, run, spec, ended={"a": "success"})
    play_round(store, RUN, spec, ended={})
    last = store.rounds(runs[-1])[0].decided_at
    assert last is not None

    assert runs == [gate.run for gate in store.decided_gates()]
    assert [runs[0], runs[2]] == [gate.run for gate in store.decided_gates(dag_id="x")]
    assert [runs[2]] == [gate.run for gate in store.decided_gates(since=last)]
    assert [] == store.decided_gates(since=last + timedelta(seconds=1))


def test_what_a_store_kept_decides_the_same_again(store: Store) -> None:
    """Also where two sync points are equally strict, and after a way through a file."""
    points = {
        name: {"feeds": ["b", "c"], "floor": floor} for name, floor in (("zz", 0.9), ("b", 1), ("aaa", 0.8))
    }
    spec = spec_of({**FEEDS, "d": {"weight": 0.1}}, floor=0.3, grace_period=0, points=points)
    play_round(store, RUN, spec, ended={"a": "success", "b": "failed", "d": "success"})
    gates = [recorded_gate(gate) for gate in store.decided_gates()]

    assert ["aaa"] == [gate.decision.evidence["decided_by"] for gate in gates]
    assert gates == gates_in(map(line_of, gates), subject="what was written")
    assert [] == list(differences(gates))
