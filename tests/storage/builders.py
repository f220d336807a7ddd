"""Small objects that the storage tests are made of."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, QualityMeasures, StagedFile
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.storage.store import (
    Attempt,
    Fence,
    GateTerms,
    MergeRecord,
    RunKey,
    Store,
    WorkUnit,
)

RUN = RunKey(dag_id="airports", run_id="manual__1")
TERMS = GateTerms(deadline=timedelta(seconds=90))


class Action(StrEnum):
    PROCEED = "proceed"
    WAIT = "wait"


class Reason(StrEnum):
    COMPLETE = "complete"
    LATE = "late"


def unit(name: str = "plan", round_number: int = 0, run: RunKey = RUN) -> WorkUnit:
    return WorkUnit(run=run, round=round_number, unit=name)


def attempt(try_number: int = 1, process: str = "host:1:1") -> Attempt:
    return Attempt(try_number=try_number, ti_id=f"ti-{try_number}", process=process)


def claimed(
    store: Store, name: str = "plan", round_number: int = 0, try_number: int = 1, run: RunKey = RUN
) -> Fence:
    return store.claim(unit(name, round_number, run), attempt(try_number))


def decision(action: Action = Action.PROCEED, **evidence: Any) -> Decision:
    return Decision(policy="quorum_gate", action=action, reason=Reason.COMPLETE, evidence=evidence)


def plan(round_number: int = 1, feeds: tuple[str, ...] = ("a", "b")) -> Plan:
    batches = tuple(PlannedBatch(feed_id=feed, lane=Lane.BETA, cost=1.5) for feed in feeds)
    return Plan(round=round_number, branches=(Branch(branch_id="b1", batches=batches),))


def outcome(feed_id: str = "a", round_number: int = 1, **changes: Any) -> FeedOutcome:
    known: dict[str, Any] = {
        "feed_id": feed_id,
        "round": round_number,
        "branch_id": "b1",
        "status": OutcomeStatus.SUCCESS,
        "elapsed": timedelta(seconds=2, microseconds=250),
        "cluster_utilization": 0.25,
        "rows_in": 10,
        "rows_staged": 8,
        "rows_quarantined": 2,
        "rows_out_of_scope": 1,
        "staged": StagedFile(uri=f"staging/{feed_id}", sha256="ab", bytes=100, rows=8),
        "quarantine": StagedFile(uri=f"staging/{feed_id}.bad", sha256="cd", bytes=10, rows=2),
        "measures": QualityMeasures(completeness=1.0, validity=0.9, uniqueness=0.8),
        "quality_score": 0.91,
        "rejects": {"required": 2},
        "rules": ({"name": "few gaps", "severity": "warning", "value": 1.5, "passed": False},),
    }
    return FeedOutcome(**known | changes)


def delivered(feed_id: str, rows: int, seconds: float = 1.0, round_number: int = 1) -> FeedOutcome:
    return outcome(
        feed_id,
        round_number,
        elapsed=timedelta(seconds=seconds),
        rows_in=rows,
        rows_staged=rows,
        rows_quarantined=0,
        rows_out_of_scope=0,
    )


def failed(feed_id: str, round_number: int = 1, error: str = "unreadable") -> FeedOutcome:
    return FeedOutcome(
        feed_id=feed_id,
        round=round_number,
        branch_id="b1",
        status=OutcomeStatus.FAILED,
        elapsed=timedelta(seconds=1),
        error=error,
    )


def merge_record(round_number: int = 1, content_sha256: str = "one") -> MergeRecord:
    return MergeRecord(
        round=round_number,
        dataset="airport",
        staged=StagedFile(uri="staging/merged", sha256="ef", bytes=200, rows=12),
        content_sha256=content_sha256,
        decision={"action": "merged", "evidence": {"feeds": ["a", "b"]}},
        published={"a": 8, "b": 4},
        superseded={"a": 0, "b": 4},
        disagreements={"name": 1},
        compared={"name": 4},
        completeness=0.75,
        examples={
            "name": [{"key": {"iata": "FRA"}, "values": {"a": "x", "b": "y"}, "chosen": "a", "value": "x"}]
        },
    )
