"""What is missing, in one line for a person and as plain data for the Dags that come after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_orchestration.domain.decision import Json
from airflow_orchestration.policies.quorum_gate import OPEN
from airflow_orchestration.storage.store import RunState

DAG_RUN_NOTE = "dag_run_note"
"""The XCom key of a line that this package's plugin puts into the note of the Dag run when the run ends."""
NAMES_IN_A_LINE = 12
WHY_FAILED = "its task ended without a result: see the task's log"
WHY_LATE = "its task had not ended when the gate decided"


def completeness(decision: Mapping[str, Any]) -> dict[str, Json]:
    """Return a gate's decision in the shape of the completeness manifest, for the `extra` of an asset event.

    :param decision: what the gate returned; `feeds` then are the members that it watched.
    """
    evidence = decision["evidence"]
    missing: list[Json] = [
        {"feed": member, "state": state, "why": why}
        for ids, state, why in (("failed_ids", "failed", WHY_FAILED), ("missing_ids", "late", WHY_LATE))
        for member in evidence[ids]
    ]
    arrived: list[Json] = [{"feed": member, "state": "in", "why": None} for member in evidence["arrived_ids"]]
    published = RunState.PUBLISHED_DEGRADED if missing else RunState.PUBLISHED
    return {
        "state": (published if decision["action"] in OPEN else RunState.NOT_PUBLISHED).value,
        "weight_share": evidence["progress"],
        "feeds_expected": evidence["expected"],
        "feeds_in": evidence["arrived"],
        "missing": missing,
        "feeds": [*arrived, *missing],
    }


def gate_note(task_id: str, decision: Mapping[str, Any]) -> str | None:
    """Say in one line what a gate decided without; None when nothing is missing."""
    found: Mapping[str, Any] = completeness(decision)
    if not found["missing"]:
        return None
    verb = "opened" if decision["action"] in OPEN else f"stayed shut ({decision['reason']})"
    return f"{task_id} {verb} with {_counted(found, 'members')}. {_missing(found['missing'])}"


def manifest_note(manifest: Mapping[str, Any]) -> str | None:
    """Say in one line what a run published without; None when it published everything."""
    missing = _missing(manifest["missing"])
    match manifest["state"]:
        case RunState.PUBLISHED:
            return None
        case RunState.PUBLISHED_DEGRADED:
            return f"Published degraded: {_counted(manifest, 'feeds')}. {missing}"
        case _:
            began = manifest.get("feeds_expected", 1) is not None
            return f"Nothing was published: {manifest['why']}. {missing if began else ''}".strip()


def percent(share: float) -> str:
    """Write a share so that only a whole one reads 100 %.

    >>> percent(0.75), percent(0.99999), percent(1.0)
    ('75 %', '99.9 %', '100 %')
    """
    return f"{int(share * 1000 + 1e-6) / 10:g} %"


def _counted(found: Mapping[str, Any], noun: str) -> str:
    share = percent(found["weight_share"])
    return f"{found['feeds_in']} of {found['feeds_expected']} {noun} ({share} of the weight)"


def _missing(lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return "Missing: nothing."
    named = [f"{line['feed']} ({line['state']})" for line in lines[:NAMES_IN_A_LINE]]
    more = len(lines) - len(named)
    return f"Missing: {', '.join(named)}{f' and {more} more' if more else ''}."
