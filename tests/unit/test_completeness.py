from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.insights.completeness import completeness, gate_note, manifest_note
from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate


def decided(states: str, *, seconds: float = 60) -> dict[str, Any]:
    """A decision over members that arrived (a), failed (f) or are pending (p), at the deadline."""
    known = {state.value[0]: state for state in MemberState}
    members = tuple(Member(id=f"m{index}", state=known[letter]) for index, letter in enumerate(states))
    gate = QuorumGate(deadline=timedelta(seconds=60), floor=0.5)
    return gate.evaluate(GateFacts(members=members, elapsed=timedelta(seconds=seconds))).as_json()


def test_decision_becomes_a_manifest() -> None:
    """Whoever comes after finds the share, each member with its state, and why one is missing."""
    manifest = completeness(decided("afap"))

    assert ("published_degraded", 0.5, 4, 2) == (
        manifest["state"],
        manifest["weight_share"],
        manifest["feeds_expected"],
        manifest["feeds_in"],
    )
    lines: Any = manifest["missing"]
    assert [("m1", "failed"), ("m3", "late")] == [(line["feed"], line["state"]) for line in lines]
    assert all(line["why"] for line in lines)


@pytest.mark.parametrize(
    ("states", "state"),
    [("aa", "published"), ("af", "published_degraded"), ("ff", "not_published"), ("", "published")],
)
def test_state_follows_the_gate(states: str, state: str) -> None:
    """A gate that stayed shut published nothing; one that missed nobody published everything."""
    assert state == completeness(decided(states))["state"]


@pytest.mark.parametrize(
    ("states", "note"),
    [
        ("aa", None),
        ("", None),
        ("aaf", "gate opened with 2 of 3 members (66.6 % of the weight). Missing: m2 (failed)."),
        ("ap", "gate opened with 1 of 2 members (50 % of the weight). Missing: m1 (late)."),
        (
            "fap",
            (
                "gate stayed shut (deadline_below_floor) with 1 of 3 members (33.3 % of the weight). "
                "Missing: m0 (failed), m2 (late)."
            ),
        ),
    ],
)
def test_note_of_a_gate(states: str, note: str | None) -> None:
    """A gate says in one line what it decided without, and nothing when nobody is missing."""
    assert note == gate_note("gate", decided(states))


def test_long_lists_are_cut() -> None:
    """A line names a dozen and counts the rest."""
    note = gate_note("gate", decided("a" * 20 + "f" * 20))

    assert note is not None
    assert note.endswith("m31 (failed) and 8 more.")


def test_note_of_a_manifest() -> None:
    """A run says what it published without, or why it published nothing."""
    found = {"weight_share": 0.8, "feeds_in": 4, "feeds_expected": 6}
    missing = [{"feed": "planes", "state": "late"}]

    almost = manifest_note(
        {**found, "weight_share": 0.99999, "state": "published_degraded", "missing": missing}
    )

    assert None is manifest_note({**found, "state": "published", "missing": []})
    assert almost is not None
    assert "(99.9 % of the weight)" in almost
    assert "Published degraded: 4 of 6 feeds (80 % of the weight). Missing: planes (late)." == manifest_note(
        {**found, "state": "published_degraded", "missing": missing}
    )
    assert "Nothing was published: quality_gate: critical_failure. Missing: nothing." == manifest_note(
        {**found, "state": "not_published", "missing": [], "why": "quality_gate: critical_failure"}
    )
