"""Would the present code decide as the gate did then?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_orchestration.insights.recorded_gate import LONGEST, RecordedDecision, RecordedGate
from airflow_orchestration.policies.quorum_gate import GateDecision, GateFacts, QuorumGate, together

DURATIONS = ("elapsed_seconds", "deadline_seconds", "since_floor_seconds", "grace_period_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A gate whose decision does not come out as it was recorded, and where it differs."""

    gate: RecordedGate
    what: tuple[str, ...]


def differences(gates: Iterable[RecordedGate]) -> Iterator[Difference]:
    """Decide every gate again on its recorded facts, and return those that differ in anything."""
    for gate in gates:
        what = tuple(_differences_of(gate.decision))
        if what:
            yield Difference(gate=gate, what=what)


def decided_again(decision: RecordedDecision) -> GateDecision:
    """Decide with the recorded facts and policies, of every sync point.

    Raises `KeyError` for evidence that lacks something, `ValueError` for terms that no gate can have; what
    is no evidence at all raises what Python raises.
    """
    evidence = decision.evidence
    points: Mapping[str, Any] = evidence.get("sync_points", {})
    return together(
        _decided_on(evidence), {name: _decided_on(points[name]["evidence"]) for name in sorted(points)}
    )


def _decided_on(evidence: Mapping[str, Any]) -> GateDecision:
    for name in DURATIONS:
        if (evidence[name] or 0) > LONGEST:
            raise ValueError(f"{name} {evidence[name]:g} is more than {LONGEST:g}, and no duration")
    return QuorumGate.recorded(evidence).evaluate(GateFacts.recorded(evidence))


def _differences_of(decision: RecordedDecision) -> Iterator[str]:
    try:
        again = decided_again(decision).as_json()
    except KeyError as error:
        yield f"evidence: has no {error}; it was recorded by another version"
        return
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        yield f"evidence: can't be read: {error}"
        return
    recorded = decision.as_json()
    for name in ("action", "reason"):
        if recorded[name] != again[name]:
            yield f"{name}: recorded {recorded[name]}, now {again[name]}"
    yield from _evidence_differences(recorded["evidence"], dict(again["evidence"]))  # type: ignore[arg-type]


def _evidence_differences(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*recorded, *again}):
        then, now = recorded.get(name), again.get(name)
        if name not in recorded or name not in again or then != now:
            yield f"evidence.{name}: recorded {then}, now {now}"
