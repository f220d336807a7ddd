"""What gates decided once, they decide again on the present code."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_orchestration.insights.courses import Ending, play
from airflow_orchestration.insights.recorded_gate import RecordedGate, gates_in
from airflow_orchestration.insights.replay import decided_again, differences
from airflow_orchestration.insights.what_if import courses_of, recorded_ending, rules_of
from airflow_orchestration.policies.quorum_gate import GateReason
from tests.corpus.record import CORPUS, recorded_lines

WAITING = {reason.value for reason in GateReason if reason.value.startswith("waiting")}
IMPOSSIBLE = {"nothing_expected"}
"""A pipeline has feeds, and a watch list tasks."""


@pytest.fixture(scope="module")
def corpus() -> list[RecordedGate]:
    return gates_in(CORPUS.read_text().splitlines(), subject="the corpus")


def words(gate: RecordedGate) -> Iterator[str]:
    """What tells one kind of gate from another."""
    evidence = gate.decision.evidence
    yield gate.decision.reason
    yield "sync points" if evidence.get("sync_points") else "one gate"
    yield "a point decided" if evidence.get("decided_by") else "the gate over all decided"
    yield "weights" if evidence["weights"] else "heads"
    yield "required" if evidence["required_ids"] else "nobody required"
    yield "grace period" if evidence["grace_period_seconds"] is not None else "holds to the deadline"
    yield "second round" if gate.round == 2 else "first round"
    yield "late arrivals" if {*evidence["missing_ids"]} & {*gate.feeds} else "nobody late"
    yield "own deadlines" if any(feed.deadline_seconds for feed in gate.feeds.values()) else "no own deadline"
    yield "in a round" if gate.dag_id else "stand-alone"


def test_every_recorded_gate_decides_the_same_again(corpus: list[RecordedGate]) -> None:
    """Action, reason, status and evidence of each come out as they were recorded."""
    assert [] == [(one.gate.name, one.what) for one in differences(corpus)]
    assert [gate.decision.as_json() for gate in corpus] == [
        decided_again(gate.decision).as_json() for gate in corpus
    ]


def test_the_corpus_is_large_and_small_enough() -> None:
    """It holds at least 200 gates in less than a megabyte."""
    assert 200 <= len(CORPUS.read_text().splitlines())
    assert 1_000_000 > CORPUS.stat().st_size


def test_the_corpus_holds_every_kind_of_gate(corpus: list[RecordedGate]) -> None:
    """Every reason that ends the waiting, and every kind of round, stands in it several times."""
    kinds = [word for gate in corpus for word in words(gate)]
    reasons = {reason.value for reason in GateReason} - WAITING - IMPOSSIBLE
    wanted = {"sync points", "a point decided", "weights", "heads", "required", "second round"}
    wanted |= {"late arrivals", "own deadlines", "stand-alone", "in a round", "grace period"}

    assert {} == {kind: kinds.count(kind) for kind in reasons | wanted if kinds.count(kind) < 5}


def test_a_changed_decision_is_found(corpus: list[RecordedGate]) -> None:
    """A gate whose record says something else is named, with what differs."""
    gate = next(one for one in corpus if one.decision.reason == "all_arrived")
    document = json.loads(gate.model_dump_json())
    document["decision"]["reason"] = "grace_period_over"
    document["decision"]["evidence"]["progress"] = 0.5
    found = list(differences(gates_in([json.dumps(document)], subject="one line")))

    assert [
        ("evidence.progress: recorded 0.5, now 1.0", "reason: recorded grace_period_over, now all_arrived")
    ] == [tuple(sorted(one.what)) for one in found]


def test_the_recorder_makes_the_same_gates_again() -> None:
    """A seed stands for one corpus, and what it records decides the same again."""
    lines = recorded_lines(7, runs=6, alone=3)

    assert lines == recorded_lines(7, runs=6, alone=3) != recorded_lines(8, runs=6, alone=3)
    assert [] == list(differences(gates_in(lines, subject="the recorder's")))


def test_gates_go_as_they_were_recorded_when_told_by_arrival_times(corpus: list[RecordedGate]) -> None:
    """They decide alike, or, looking a moment late, have taken in only who came in that moment."""
    known = 0
    for gate in corpus:
        told, recorded = play(rules_of(gate), courses_of(gate)), recorded_ending(gate)
        if isinstance(told, Ending):
            known += 1
            came_in_between = recorded.arrived - told.arrived
            assert told.arrived <= recorded.arrived, gate.name
            assert told.after <= recorded.after, gate.name
            assert all(
                (gate.feeds[name].seconds or 0) > told.after.total_seconds() for name in came_in_between
            )
            assert came_in_between or told.action == recorded.action, gate.name

    assert 300 < known
