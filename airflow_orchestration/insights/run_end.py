"""Why did a run end degraded? The one decision that left something out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_orchestration.insights.reasons import CONF, LEFT_OUT_BY_CONF
from airflow_orchestration.insights.run_facts import RoundFacts, iso, with_meaning
from airflow_orchestration.policies.admission import AdmissionAction
from airflow_orchestration.storage.store import RunState

NOT_IN = ("missing_ids", "failed_ids")
"""Of a gate's evidence: whom it did without."""


def because(rounds: Sequence[RoundFacts]) -> dict[str, Any] | None:
    """Return the decision by which a run was published degraded, as it is shown.

    That is the admission of the last round that left poor feeds out; else its gate, if it did without some; else
    what whoever triggered the run left out, which has no number. None for a run that ended otherwise, and for one
    that was short of rows only.
    """
    if not rounds or rounds[-1].read.run["state"] != RunState.PUBLISHED_DEGRADED:
        return None
    last = rounds[-1]
    admission = last.last_decision("admission")
    if admission and admission["action"] == AdmissionAction.LEAVE_OUT_POOR:
        return admission
    gate = last.last_decision("quorum_gate")
    if gate and any(gate["evidence"].get(name) for name in NOT_IN):
        return gate
    return _by_conf(last)


def _by_conf(last: RoundFacts) -> dict[str, Any] | None:
    feeds = [feed.id for feed in last.spec.left_out]
    if not feeds:
        return None
    said = {"policy": CONF, "action": "leave_out", "reason": LEFT_OUT_BY_CONF, "evidence": {"feeds": feeds}}
    return {"id": None, "round": 0, "at": iso(last.read.run["started_at"]), **with_meaning(said)}
