"""The two kinds of gates that `gates-thousand` lets wait, and how it lets arrive what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision, GateFacts, QuorumGate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, Fence, GateTerms, RunKey, WorkUnit
from benchmarks.gates_dags.many_gates import FIRST_DEADLINE, GATES, LAST_DEADLINE
from benchmarks.gates_stack import metadata
from demo.stack import Stack

FEEDS = ("a", "b", "c", "d")
NEVER = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate of one run; every other one is left to its deadline."""

    run_id: str
    number: int

    @classmethod
    def of(cls, run_id: str, task_id: str) -> Gate:
        """The gate that a task is."""
        return cls(run_id=run_id, number=int(task_id.removeprefix("gate_")))

    @property
    def by_deadline(self) -> bool:
        """Whether it decides at its deadline."""
        return self.number % 2 == 1


class Waiting:
    """Gates that wait in a stack."""

    dag_id: str
    numbers: range

    def __init__(self, stack: Stack, run_ids: Sequence[str]) -> None:
        self.stack = stack
        self.run_ids = run_ids
        self.gates = [Gate(run_id=run_id, number=number) for number in self.numbers for run_id in run_ids]

    def start(self) -> None:
        """Start the runs."""
        for run_id in self.run_ids:
            self.stack.api.post(
                f"/api/v2/dags/{self.dag_id}/dagRuns",
                {"logical_date": None, "conf": {}, "dag_run_id": run_id},
            )


class TaskGates(Waiting):
    """Stand-alone gates; the benchmark itself writes into Airflow's database that a task has succeeded."""

    dag_id = "many_gates"
    title = "over tasks of a Dag"
    numbers = range(GATES)

    def arrive(self, gate: Gate) -> None:
        """Let the last needed task end."""
        with metadata(self.stack) as airflow:
            airflow.execute(
                """UPDATE task_instance SET state = 'success', end_date = clock_timestamp()
                WHERE dag_id = %s AND run_id = %s AND task_id = %s""",
                [self.dag_id, gate.run_id, f"held_{gate.number}"],
            )

    def due(self) -> Mapping[Gate, datetime]:
        """When each gate should have decided."""
        with metadata(self.stack) as airflow:
            ends = airflow.execute(
                """SELECT run_id, task_id, end_date FROM task_instance
                WHERE dag_id = %s AND task_id LIKE 'held%%' AND end_date IS NOT NULL""",
                [self.dag_id],
            ).fetchall()
            starts = dict(
                airflow.execute("SELECT run_id, start_date FROM dag_run WHERE dag_id = %s", [self.dag_id])
            )
        held = {Gate.of(run_id, task_id.replace("held", "gate")): moment for run_id, task_id, moment in ends}
        return held | {
            gate: starts[gate.run_id] + timedelta(seconds=deadline(gate.number))
            for gate in self.gates
            if gate.by_deadline
        }

    def decided(self) -> Mapping[Gate, datetime]:
        """When each gate has told its decision."""
        with metadata(self.stack) as airflow:
            found = airflow.execute(
                "SELECT run_id, task_id, timestamp FROM xcom WHERE dag_id = %s AND key = 'return_value'",
                [self.dag_id],
            ).fetchall()
        return {
            Gate.of(run_id, task_id): moment
            for run_id, task_id, moment in found
            if task_id.startswith("gate")
        }


class Rounds(Waiting):
    """Gates of rounds; the benchmark fills the store as the tasks of a pipeline do."""

    dag_id = "many_rounds"
    title = "over rounds of a pipeline"
    numbers = range(1, GATES + 1)

    def __init__(self, stack: Stack, run_ids: Sequence[str]) -> None:
        super().__init__(stack, run_ids)
        conninfo = make_conninfo(stack.warehouse_dsn, application_name="benchmark")
        self._store = PostgresStore(lambda: psycopg.connect(conninfo))
        self._fences: dict[Gate, Fence] = {}

    def start(self) -> None:
        """Open all rounds, register all feeds but one, and start the runs."""
        spec, mode = run_spec().as_json(), nobody_decides()
        for run_id in self.run_ids:
            self._store.save_run(self._claim(run_id, 0, "plan"), spec, mode)
        for gate in self.gates:
            seconds = timedelta(seconds=deadline(gate.number)) if gate.by_deadline else NEVER
            self._store.open_round(
                self._claim(gate.run_id, gate.number, "plan"),
                round_plan(gate.number),
                GateTerms(deadline=seconds),
            )
            self._fences[gate] = self._claim(gate.run_id, gate.number, "branch:beta:b1")
            for feed_id in FEEDS[1:]:
                self._store.register(self._fences[gate], outcome(gate, feed_id))
        super().start()

    def arrive(self, gate: Gate) -> None:
        """Register the last feed."""
        self._store.register(self._fences[gate], outcome(gate, FEEDS[0]))

    def due(self) -> Mapping[Gate, datetime]:
        """When each gate should have decided."""
        arrived = self._moments(
            "SELECT run_id, round, registered_at FROM orchestration.feed_outcome WHERE feed_id = 'a'"
        )
        return arrived | self._moments(
            "SELECT run_id, round, deadline_at FROM orchestration.sync_point WHERE round % 2 = 1"
        )

    def decided(self) -> Mapping[Gate, datetime]:
        """When each gate has told its decision."""
        return self._moments(
            "SELECT run_id, round, decided_at FROM orchestration.round WHERE decided_at IS NOT NULL"
        )

    def _moments(self, query: str) -> dict[Gate, datetime]:
        with psycopg.connect(self.stack.warehouse_dsn) as connection:
            found: list[tuple[str, int, Any]] = connection.execute(query.encode()).fetchall()
        return {Gate(run_id=run_id, number=number): moment for run_id, number, moment in found}

    def _claim(self, run_id: str, number: int, unit: str) -> Fence:
        key = RunKey(dag_id=self.dag_id, run_id=run_id)
        return self._store.claim(
            WorkUnit(run=key, round=number, unit=unit), Attempt(try_number=1, ti_id="", process="benchmark")
        )


def deadline(number: int) -> int:
    """Seconds after which a gate that is left to its deadline decides."""
    return FIRST_DEADLINE + number * (LAST_DEADLINE - FIRST_DEADLINE) // GATES


def round_plan(number: int) -> Plan:
    """What a round has to do."""
    batches = tuple(PlannedBatch(feed_id=feed_id, lane=Lane.BETA, cost=1.0) for feed_id in FEEDS)
    return Plan(round=number, branches=(Branch(branch_id="b1", batches=batches),))


def outcome(gate: Gate, feed_id: str) -> FeedOutcome:
    """A feed that has arrived."""
    return FeedOutcome(
        feed_id=feed_id,
        round=gate.number,
        branch_id="b1",
        status=OutcomeStatus.SUCCESS,
        elapsed=timedelta(seconds=1),
    )


def nobody_decides() -> GateDecision:
    """A decision that nobody reads, for where the store wants one."""
    return QuorumGate(deadline=NEVER).evaluate(GateFacts(members=(), elapsed=timedelta(0)))


def run_spec() -> RunSpec:
    """A pipeline of four feeds, which are never read."""
    feed: dict[str, Any] = {"format": "csv", "columns": {"code": "code"}}
    pipeline = {
        "id": Rounds.dag_id,
        "roots": {"landing": "/tmp"},
        "staging": "/tmp/staging",
        "contract": "unused",
        "sync": {"deadline": LAST_DEADLINE},
        "publish": {"table": "public.thing"},
        "feeds": [{"id": name, "uri": f"landing/{name}.csv", **feed} for name in FEEDS],
    }
    columns = (Column(name="code", type=ColumnType.STRING),)
    contract = Contract(name="thing", key=("code",), columns=columns)
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contract=contract, run_date=datetime.now(UTC).date()
    )
