"""How does a row become one of our objects, and an object the parameters of a statement?"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, QualityMeasures, StagedFile
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.stream import StreamRange
from airflow_orchestration.exceptions import LedgerMismatchError
from airflow_orchestration.storage.store import (
    DecidedGate,
    GateSnapshot,
    MergeRecord,
    Registration,
    RunKey,
    StoredPoint,
    StoredRound,
    WorkUnit,
)

Row = Mapping[str, Any]


def json_text(value: object) -> str:
    """Plain data as JSON; infinities and NaN are refused."""
    return json.dumps(value, default=dict, allow_nan=False)


def as_json(value: object) -> Jsonb:
    """A parameter for a jsonb column."""
    return Jsonb(value, dumps=json_text)


def of_run(key: RunKey) -> dict[str, Any]:
    """The parameters that name a run."""
    return {"dag_id": key.dag_id, "run_id": key.run_id}


def of_round(key: RunKey, round_number: int) -> dict[str, Any]:
    """The parameters that name a round."""
    return {**of_run(key), "round": round_number}


def of_unit(unit: WorkUnit) -> dict[str, Any]:
    """The parameters that name a work unit."""
    return {**of_round(unit.run, unit.round), "unit": unit.unit}


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """A plan as plain data."""
    branches = [
        {
            "branch_id": branch.branch_id,
            "batches": [
                {"feed_id": batch.feed_id, "lane": batch.lane.value, "cost": batch.cost}
                for batch in branch.batches
            ],
        }
        for branch in plan.branches
    ]
    return {"round": plan.round, "branches": branches}


def plan_of(document: Row) -> Plan:
    """The plan that `plan_as_json` wrote down."""
    branches = (
        Branch(
            branch_id=branch["branch_id"],
            batches=tuple(
                PlannedBatch(feed_id=batch["feed_id"], lane=Lane(batch["lane"]), cost=float(batch["cost"]))
                for batch in branch["batches"]
            ),
        )
        for branch in document["branches"]
    )
    return Plan(round=document["round"], branches=tuple(branches))


def round_of(row: Row) -> StoredRound:
    """A round as its row has it."""
    return StoredRound(
        round=row["round"],
        plan=plan_of(row["plan"]),
        opened_at=row["opened_at"],
        points={name: _point_of(point) for name, point in sorted(row["points"].items())},
        verdict=row["verdict"],
        decided_at=row["decided_at"],
    )


def of_rounds(rounds: Collection[tuple[RunKey, int]]) -> dict[str, Any]:
    """The parameters that name many rounds."""
    return {
        "dag_ids": [key.dag_id for key, _ in rounds],
        "run_ids": [key.run_id for key, _ in rounds],
        "rounds": [number for _, number in rounds],
    }


def snapshot_of(row: Row) -> GateSnapshot:
    """The facts of a gate as their row has them."""
    return GateSnapshot(
        now=row["now"],
        run_started_at=row["run_started_at"],
        round=round_of(row),
        outcomes={known["feed_id"]: outcome_of(known) for known in row["outcomes"]},
        waiting=frozenset(row["waiting"]),
    )


def branch_snapshot_of(row: Row, known: StoredRound) -> GateSnapshot:
    """What some feeds of a round need to know, as their row has it."""
    return GateSnapshot(
        now=row["now"],
        run_started_at=row["run_started_at"],
        round=replace(known, verdict=row["verdict"], decided_at=row["decided_at"]),
        outcomes={one["feed_id"]: outcome_of(one) for one in row["outcomes"]},
        waiting=frozenset(row["waiting"]),
    )


def decided_gate_of(row: Row) -> DecidedGate:
    """A decided gate as its row has it."""
    return DecidedGate(
        run=RunKey(dag_id=row["dag_id"], run_id=row["run_id"]),
        round=row["round"],
        run_started_at=row["run_started_at"],
        opened_at=row["opened_at"],
        verdict=row["verdict"],
        registered={
            feed_id: Registration(
                status=OutcomeStatus(status), at=datetime.fromisoformat(registered_at), rows=count
            )
            for feed_id, (status, registered_at, count) in row["registered"].items()
        },
        feed_deadlines=row["feed_deadlines"],
    )


def _point_of(point: Row) -> StoredPoint:
    reached = point["floor_reached_at"]
    return StoredPoint(
        deadline_at=datetime.fromisoformat(point["deadline_at"]),
        floor_reached_at=None if reached is None else datetime.fromisoformat(reached),
    )


def of_points(points: Mapping[str, StoredPoint]) -> dict[str, Any]:
    """The parameters that `add_sync_points` takes."""
    return {"names": list(points), "deadlines": [point.deadline_at for point in points.values()]}


def storable(outcome: FeedOutcome) -> FeedOutcome:
    """Check that an outcome adds up, and free its error of what PostgreSQL can't keep in a text."""
    if outcome.rows_in != outcome.rows_staged + outcome.rows_quarantined:
        raise LedgerMismatchError(
            f"feed {outcome.feed_id!r}, round {outcome.round}: {outcome.rows_in} rows in are not "
            f"{outcome.rows_staged} staged + {outcome.rows_quarantined} quarantined; nothing was registered"
        )
    if not 0 <= outcome.rows_out_of_scope <= outcome.rows_quarantined:
        raise LedgerMismatchError(
            f"feed {outcome.feed_id!r}, round {outcome.round}: {outcome.rows_out_of_scope} rows out of scope are "
            f"no part of {outcome.rows_quarantined} quarantined; nothing was registered"
        )
    if outcome.error is None:
        return outcome
    error = outcome.error.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return replace(outcome, error=error)


def of_outcome(outcome: FeedOutcome) -> dict[str, Any]:
    """The parameters that `register` takes from an outcome."""
    measures = outcome.measures
    return {
        "round": outcome.round,
        "feed_id": outcome.feed_id,
        "branch_id": outcome.branch_id,
        "status": outcome.status.value,
        "elapsed_seconds": outcome.elapsed.total_seconds(),
        "cluster_utilization": outcome.cluster_utilization,
        "rows_in": outcome.rows_in,
        "rows_staged": outcome.rows_staged,
        "rows_quarantined": outcome.rows_quarantined,
        "rows_out_of_scope": outcome.rows_out_of_scope,
        **of_file("staged", outcome.staged),
        **of_file("quarantine", outcome.quarantine),
        "completeness": measures.completeness if measures else None,
        "validity": measures.validity if measures else None,
        "uniqueness": measures.uniqueness if measures else None,
        "quality_score": outcome.quality_score,
        "rejects": None if outcome.rejects is None else as_json(outcome.rejects),
        "error": outcome.error,
        "drift": None if outcome.drift is None else as_json(outcome.drift),
        "rules": None if outcome.rules is None else as_json([*outcome.rules]),
        "ranges": None if outcome.ranges is None else as_json(ranges_as_json(outcome.ranges)),
    }


def outcome_of(row: Row) -> FeedOutcome:
    """An outcome as its row has it, read as a row or as JSON."""
    return FeedOutcome(
        feed_id=row["feed_id"],
        round=row["round"],
        branch_id=row["branch_id"],
        status=OutcomeStatus(row["status"]),
        elapsed=timedelta(seconds=row["elapsed_seconds"]),
        cluster_utilization=float(row["cluster_utilization"]),
        rows_in=row["rows_in"],
        rows_staged=row["rows_staged"],
        rows_quarantined=row["rows_quarantined"],
        rows_out_of_scope=row["rows_out_of_scope"],
        staged=file_of("staged", row),
        quarantine=file_of("quarantine", row),
        measures=_measures_of(row),
        quality_score=float(row["quality_score"]),
        rejects=row["rejects"],
        error=row["error"],
        drift=row["drift"],
        rules=None if row["rules"] is None else tuple(row["rules"]),
        ranges=None if row["ranges"] is None else tuple(map(range_of, row["ranges"])),
    )


def ranges_as_json(ranges: Iterable[StreamRange]) -> list[dict[str, Any]]:
    """Ranges of a stream as plain data."""
    return [{"partition": one.partition, "start": [*one.start], "stop": [*one.stop]} for one in ranges]


def range_of(row: Row) -> StreamRange:
    """A range of a stream, as a row or as plain data."""
    return StreamRange(partition=row["partition"], start=tuple(row["start"]), stop=tuple(row["stop"]))


def _measures_of(row: Row) -> QualityMeasures | None:
    if row["completeness"] is None:
        return None
    return QualityMeasures(
        completeness=float(row["completeness"]),
        validity=float(row["validity"]),
        uniqueness=float(row["uniqueness"]),
    )


def of_file(prefix: str, file: StagedFile | None) -> dict[str, Any]:
    """The four columns of a staged file."""
    return {
        f"{prefix}_uri": file.uri if file else None,
        f"{prefix}_sha256": file.sha256 if file else None,
        f"{prefix}_bytes": file.bytes if file else None,
        f"{prefix}_rows": file.rows if file else None,
    }


def file_of(prefix: str, row: Row) -> StagedFile | None:
    """The staged file in four columns, if there is one."""
    if row[f"{prefix}_uri"] is None:
        return None
    return StagedFile(
        uri=row[f"{prefix}_uri"],
        sha256=row[f"{prefix}_sha256"],
        bytes=row[f"{prefix}_bytes"],
        rows=row[f"{prefix}_rows"],
    )


def of_merge(record: MergeRecord) -> dict[str, Any]:
    """The parameters that `save_merge` takes from a merge."""
    return {
        "round": record.round,
        "dataset": record.dataset,
        **of_file("staged", record.staged),
        "content_sha256": record.content_sha256,
        "decision": as_json(record.decision),
        "published": as_json(record.published),
        "superseded": as_json(record.superseded),
        "disagreements": as_json(record.disagreements),
        "compared": as_json(record.compared),
        "completeness": record.completeness,
        "examples": as_json(record.examples),
    }


def merge_of(row: Row) -> MergeRecord:
    """A merge as its row has it."""
    return MergeRecord(
        round=row["round"],
        dataset=row["dataset"],
        staged=StagedFile(
            uri=row["staged_uri"],
            sha256=row["staged_sha256"],
            bytes=row["staged_bytes"],
            rows=row["staged_rows"],
        ),
        content_sha256=row["content_sha256"],
        decision=row["decision"],
        published=row["published"],
        superseded=row["superseded"],
        disagreements=row["disagreements"],
        compared=row["compared"],
        completeness=row["completeness"],
        examples=row["examples"],
    )
