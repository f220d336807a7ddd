"""What is kept of agents, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import psycopg

from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance, WorkDay
from airflow_orchestration.storage import rows
from airflow_orchestration.storage.agent_records import AssignedAgent, agent_as_json, agent_of, in_order
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import Event, Fence, RunKey

_SQL = statements("agents.sql")

Cursor = psycopg.Cursor[dict[str, Any]]


class PostgresAgentRecords:
    """Keeps agents and outcomes. `fenced` opens a transaction that holds a claim."""

    def __init__(
        self,
        fenced: Callable[[Fence], AbstractContextManager[Cursor]],
        transaction: Callable[[], AbstractContextManager[Cursor]],
    ) -> None:
        self._fenced = fenced
        self._transaction = transaction

    def assign(self, fence: Fence, agents: Sequence[AssignedAgent]) -> Sequence[AssignedAgent]:
        """Keep the agents that the fence's work unit has made, once."""
        at = rows.of_unit(fence.unit)
        with self._fenced(fence) as cursor:
            kept = rows.as_json([agent_as_json(agent) for agent in agents])
            cursor.execute(_SQL["assign_agents"], {**at, "agents": kept})
            return _agents(cursor, at)

    def assigned(self, key: RunKey, round_number: int, unit: str | None = None) -> Sequence[AssignedAgent]:
        """The agents of a round by position, or those of one work unit."""
        with self._transaction() as cursor:
            return _agents(cursor, {**rows.of_round(key, round_number), "unit": unit})

    def one(self, key: RunKey, round_number: int, agent_id: str) -> AssignedAgent | None:
        """One agent of a round."""
        asked = {**rows.of_round(key, round_number), "agent_id": agent_id}
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["agent_of_round"], asked).fetchone()
        return None if row is None else agent_of(rows.json_text(row["agent"]))

    def choice(self, key: RunKey, agent_id: str) -> Mapping[str, Any] | None:
        """The decision that led to an agent of a run."""
        with self._transaction() as cursor:
            row = cursor.execute(
                _SQL["choice_of_agent"], {**rows.of_run(key), "agent_id": agent_id}
            ).fetchone()
        return None if row is None else row["decision"]

    def record(self, fence: Fence, tenant: str, outcome: AgentOutcome) -> None:
        """Keep how an agent's work on a batch ended; the newest epoch of the work unit wins."""
        told = {
            **rows.of_unit(fence.unit),
            **_of_outcome(outcome),
            **_of_performance(outcome.performance),
            "epoch": fence.epoch,
            "tenant": tenant,
        }
        with self._fenced(fence) as cursor:
            cursor.execute(_SQL["record_outcome"], told)

    def outcomes(self, key: RunKey) -> Sequence[tuple[int, AgentOutcome]]:
        """Every outcome of a run with its round, as recorded."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["agent_outcomes"], rows.of_run(key)).fetchall()
        return [(row["round"], _outcome(row)) for row in found]

    def decided(self, key: RunKey) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The decisions about agents of a run, each with its round."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["decided_about_agents"], rows.of_run(key)).fetchall()
        return [(row["round"], row["decision"]) for row in found]

    def told(self, key: RunKey) -> Sequence[Event]:
        """What each agent told last of each kind, and what was told when they were made."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["told_by_agents"], rows.of_run(key)).fetchall()
        return [Event(**row) for row in found]

    def history(self, tenant: str, *, days: int, dag_ids: Collection[str] | None = None) -> Sequence[WorkDay]:
        """What the work of the last days teaches, by type, kind and day."""
        asked = {"tenant": tenant, "days": days, "dag_ids": None if dag_ids is None else list(dag_ids)}
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["agent_history"], asked).fetchall()
        return [WorkDay(**row) for row in found]


def _agents(cursor: Cursor, at: dict[str, Any]) -> Sequence[AssignedAgent]:
    found = cursor.execute(_SQL["agents_of_round"], at).fetchall()
    return in_order(agent_of(rows.json_text(agent)) for row in found for agent in row["agents"])


def _of_outcome(outcome: AgentOutcome) -> dict[str, Any]:
    return {
        "agent_id": outcome.agent_id,
        "agent_type": outcome.agent_type,
        "kind": outcome.kind,
        "batch": outcome.batch,
        "succeeded": outcome.succeeded,
    }


def _of_performance(performance: AgentPerformance | None) -> dict[str, Any]:
    return {
        "execution_seconds": performance and performance.execution_time.total_seconds(),
        "data_quality_score": performance and performance.data_quality_score,
        "records": performance and performance.records,
        "peak_memory_mb": performance and performance.peak_memory_mb,
    }


def _outcome(row: dict[str, Any]) -> AgentOutcome:
    measured = row["execution_seconds"] is not None
    return AgentOutcome(
        agent_id=row["agent_id"],
        agent_type=row["agent_type"],
        kind=row["kind"],
        batch=row["batch"],
        succeeded=row["succeeded"],
        performance=_performance(row) if measured else None,
    )


def _performance(row: dict[str, Any]) -> AgentPerformance:
    return AgentPerformance(
        execution_time=timedelta(seconds=row["execution_seconds"]),
        data_quality_score=row["data_quality_score"],
        records=row["records"],
        peak_memory_mb=row["peak_memory_mb"],
    )
