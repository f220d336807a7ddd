from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.insights.recorded_gate import gates_in, line_of, recorded_gate
from airflow_orchestration.insights.replay import differences
from airflow_orchestration.storage.store import DecidedGate, Registration, RunKey
from tests.unit.insights.builders import decided, recorded

OPENED = datetime(2026, 11, 22, 22, tzinfo=UTC)


def test_a_line_is_read_as_it_was_written() -> None:
    """Nothing of a gate is lost on the way to a file and back."""
    gate = recorded({"a": "a", "b": "p"}, {"a": ("success", 1.25)}, at=60, floor=0.5)

    assert [gate] == gates_in([line_of(gate), "\n"], subject="a file")


def test_a_decision_alone_is_a_gate() -> None:
    """What a stand-alone gate returns is read as a line, and decides the same again."""
    decision = decided({"a": "a", "b": "f"}, at=5, floor=0.5)
    (gate,) = gates_in([json.dumps(decision.as_json())], subject="a file")

    assert ("line 1", {}) == (gate.name, gate.feeds)
    assert [] == list(differences([gate]))


def test_every_bad_line_is_named() -> None:
    """A file is refused with the lines that are no gates, and what is wrong with each."""
    lines = ["{", "[1]", '{"run_id": "1"}', '{"run_id": 1, "round": "2", "decision": {}, "extra": 0}']
    with pytest.raises(InputRefusedError) as refused:
        gates_in(lines, subject="file gates.jsonl")
    told = str(refused.value)

    assert "line 1: is no JSON object" in told
    assert "line 2: is no JSON object: it is a list" in told
    assert "line 3.decision: is required" in told
    assert "line 4.extra: is not a known field" in told
    assert "line 4.decision.evidence: is required" in told


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_a_line_that_is_nested_without_end_is_named(line: str) -> None:
    """Nesting that no reader can follow is a problem of its line, as any other."""
    with pytest.raises(InputRefusedError, match="line 2: is no JSON object"):
        gates_in(["", line], subject="file gates.jsonl")


@pytest.mark.parametrize("field", ["seconds", "deadline_seconds"])
@pytest.mark.parametrize("value", ["1e300", "1.1e9", "Infinity", "NaN", "-1"])
def test_a_feed_that_came_at_no_time_is_named(field: str, value: str) -> None:
    """A time that can't be reckoned with is refused with its line and place."""
    line = line_of(recorded({"a": "a"}, at=5)).replace(
        '"decision"', f'"feeds":{{"a":{{"{field}":{value}}}}},"decision"'
    )
    with pytest.raises(InputRefusedError, match=rf"line 1\.feeds\.a\.{field}: must be"):
        gates_in([line], subject="file gates.jsonl")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"elapsed_seconds": 1e300}, "elapsed_seconds 1e+300 is more than 1e+09"),
        ({"elapsed_seconds": 86399999999999.0}, "elapsed_seconds 8.64e+13 is more than"),
        ({"deadline_seconds": float("inf")}, "deadline_seconds inf is more than"),
        ({"grace_period_seconds": 1e12}, "grace_period_seconds 1e+12 is more than"),
        ({"elapsed_seconds": float("nan")}, "NaN"),
        ({"weights": [1e308, 1e308]}, "overflow"),
        ({"weights": [10**400, 1]}, "too large"),
        ({"sync_points": [1]}, "index out of range"),
        ({"sync_points": {"x": []}}, "list indices"),
        ({"sync_points": 7}, "not iterable"),
    ],
)
def test_evidence_that_nothing_can_be_made_of_is_a_difference(change: dict[str, Any], told: str) -> None:
    """Whatever a file holds, its gates are told as different, and the others are replayed."""
    gate = recorded({"a": "a", "b": "a"}, at=5)
    evidence = {**gate.decision.evidence, **change}
    bad = gate.model_copy(update={"decision": gate.decision.model_copy(update={"evidence": evidence})})
    (found,) = differences([bad, gate])

    assert bad is found.gate
    assert "evidence: can't be read" in found.what[0]
    assert told in found.what[0]


def test_a_record_of_another_version_is_named() -> None:
    """A decision whose evidence lacks something is different, and says what it lacks."""
    gate = recorded({"a": "a"}, at=5)
    evidence = {name: value for name, value in gate.decision.evidence.items() if name != "weights"}
    old = gate.model_copy(update={"decision": gate.decision.model_copy(update={"evidence": evidence})})

    assert [("evidence: has no 'weights'; it was recorded by another version",)] == [
        one.what for one in differences([old])
    ]


def test_times_count_from_the_opening() -> None:
    """What was there before the round counts as 0, and a time of day follows the start of the run."""
    gate = DecidedGate(
        run=RunKey(dag_id="night", run_id="1"),
        round=2,
        run_started_at=OPENED - timedelta(hours=1),
        opened_at=OPENED,
        verdict=decided({"a": "a", "b": "a", "c": "f"}, at=9, floor=0.5).as_json(),
        registered={
            "a": Registration(status=OutcomeStatus.SUCCESS, at=OPENED - timedelta(seconds=9), rows=3),
            "b": Registration(status=OutcomeStatus.SUCCESS, at=OPENED + timedelta(seconds=9), rows=4),
        },
        feed_deadlines={"a": "22:05 UTC", "b": 90.0, "c": "21:30 UTC"},
    )
    feeds = recorded_gate(gate).feeds

    assert (0.0, 9.0, None) == tuple(feeds[name].seconds for name in "abc")
    assert (300.0, 90.0, 0.0) == tuple(feeds[name].deadline_seconds for name in "abc")
    assert (3, 4, None) == tuple(feeds[name].rows for name in "abc")
