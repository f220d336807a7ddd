"""The gates that `gates-thousand` lets wait in a triggerer, and how it lets arrive what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from benchmarks.gates_dags.many_gates import FIRST_DEADLINE, GATES, LAST_DEADLINE
from benchmarks.gates_stack import metadata
from demo.stack import Stack


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


class TaskGates:
    """Stand-alone gates; the benchmark itself writes into Airflow's database that a task has succeeded."""

    dag_id = "many_gates"

    def __init__(self, stack: Stack, run_ids: Sequence[str]) -> None:
        self.stack = stack
        self.run_ids = run_ids
        self.gates = [Gate(run_id=run_id, number=number) for number in range(GATES) for run_id in run_ids]

    def start(self) -> None:
        """Start the runs."""
        for run_id in self.run_ids:
            self.stack.api.post(
                f"/api/v2/dags/{self.dag_id}/dagRuns",
                {"logical_date": None, "conf": {}, "dag_run_id": run_id},
            )

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
        """When each gate decided, by its own evidence."""
        with metadata(self.stack) as airflow:
            found = airflow.execute(
                """SELECT run_id, task_id, start_date + make_interval(
                    secs => (value #>> '{evidence,elapsed_seconds}')::float)
                FROM xcom JOIN dag_run USING (dag_id, run_id)
                WHERE dag_id = %s AND key = 'return_value' AND task_id LIKE 'gate%%'""",
                [self.dag_id],
            ).fetchall()
        return {Gate.of(run_id, task_id): moment for run_id, task_id, moment in found}


def deadline(number: int) -> int:
    """Seconds after which a gate that is left to its deadline decides."""
    return FIRST_DEADLINE + number * (LAST_DEADLINE - FIRST_DEADLINE) // GATES
