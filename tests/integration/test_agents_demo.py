"""The demo of the agents on a real scheduler: what was chosen and why, what came of it, and what was learned."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from rich.console import Console

from airflow_orchestration.insights.agents import AgentSeen, Candidate, leaderboard, run_agents
from airflow_orchestration.storage.leases import EVERYBODY
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from demo.agents import JOBS, NEWCOMER, NEWCOMERS_JOB, play
from demo.scenarios import SHIPPED
from demo.stack import Stack

pytestmark = pytest.mark.integration

VALIDATION = "data_validation"
PLAYED = {tenant: JOBS[tenant] for tenant in ("south", "blue", "silver")}
DAGS = {tenant: f"{tenant}__{job}" for tenant, job in {**PLAYED, NEWCOMER: NEWCOMERS_JOB}.items()}
BATCHES = {
    "south": ["ourairports"],
    "blue": ["aircodes"],
    "silver": ["planes", "weather"],
    NEWCOMER: ["vega"],
}


@dataclass(frozen=True, kw_only=True)
class TenantsPlayed:
    """Two runs of each of the jobs, and what they left behind."""

    stack: Stack
    store: PostgresStore
    runs: Mapping[str, list[RunKey]]
    code: int
    screen: str

    def agent(self, tenant: str, run: int) -> AgentSeen:
        """The one agent of a run."""
        [found] = [agent for one in run_agents(self.store, self.runs[tenant][run]) for agent in one.agents]
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.warehouse_dsn) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def played(stack: Stack) -> Iterator[TenantsPlayed]:
    """The demo with four of its tenants, played once; afterwards agents may use what they may by default."""
    screen = io.StringIO()
    code = play(stack, "tenants", Console(file=screen, width=200), PLAYED)
    runs = {tenant: newest_runs(stack, dag_id) for tenant, dag_id in DAGS.items()}
    with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
        yield TenantsPlayed(stack=stack, store=store, runs=runs, code=code, screen=screen.getvalue())
        for tenant in (EVERYBODY, "gold"):
            store.leases.set_capacity(tenant, None)


def newest_runs(stack: Stack, dag_id: str) -> list[RunKey]:
    """The first and the second run."""
    found = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns?order_by=-run_after&limit=2")["dag_runs"]
    return [RunKey(dag_id=dag_id, run_id=run["dag_run_id"]) for run in reversed(found)]


def candidate(agent: AgentSeen, agent_type: str) -> Candidate:
    assert agent.choice is not None
    return next(one for one in agent.choice.candidates if one.agent_type == agent_type)


def test_every_job_is_published_in_the_end(played: TenantsPlayed) -> None:
    """All jobs publish in their second run, that of the registry too; one had nothing to publish in the first."""
    states = {
        tenant: [(played.store.manifest(key) or {})["state"] for key in keys]
        for tenant, keys in played.runs.items()
    }

    assert 0 == played.code
    assert {
        "south": ["published", "published"],
        "blue": ["not_published", "published"],
        "silver": ["published", "published"],
        NEWCOMER: ["published", "published"],
    } == states


def test_types_are_chosen_for_what_their_batches_need(played: TenantsPlayed) -> None:
    """A specialist for one capability, and the template of the Dag file for the two that only it has alone."""
    chosen = {tenant: played.agent(tenant, 0) for tenant in DAGS}

    assert {
        "south": ("data_validation_specialist", "highest_score"),
        "blue": ("data_validation_specialist", "highest_score"),
        "silver": ("strict_refiner", "highest_score"),
        NEWCOMER: ("data_validation_specialist", "highest_score"),
    } == {
        tenant: (agent.agent_type, agent.choice.reason if agent.choice else "")
        for tenant, agent in chosen.items()
    }
    silver = chosen["silver"]
    assert (1.0, 0.4) == tuple(
        candidate(silver, name).capability_match for name in ("strict_refiner", "data_generalist")
    )
    assert ("data_ingestion",) == candidate(silver, "data_transformation_specialist").missing


def test_each_batch_has_one_outcome(played: TenantsPlayed) -> None:
    """Each batch of each run is recorded once, and each tenant has learned from its own two runs."""
    for tenant, keys in played.runs.items():
        for key in keys:
            recorded = [outcome.batch for _, outcome in played.store.agents.outcomes(key)]
            assert BATCHES[tenant] == sorted(recorded), key
        days = played.store.agents.history(tenant, days=2)
        assert 2 * len(BATCHES[tenant]) == sum(day.successes + day.failures for day in days), tenant


def test_a_broken_file_is_a_failure_of_its_type_for_its_tenant_alone(played: TenantsPlayed) -> None:
    """The truncated list fails with the reason; nobody else believes less of the same type of agent."""
    [(_, outcome)] = played.store.agents.outcomes(played.runs["blue"][0])
    manifest = played.store.manifest(played.runs["blue"][0]) or {}
    rates = {
        tenant: [
            one.experience.success_rate for one in leaderboard(played.store, tenant) if one.kind == VALIDATION
        ]
        for tenant in ("blue", "south", NEWCOMER)
    }

    assert not outcome.succeeded
    assert "the file is no complete JSON" in json.dumps(manifest)
    assert {"blue": [pytest.approx(5 / 6)], "south": [1.0], NEWCOMER: [1.0]} == rates


def test_the_second_choice_knows_what_the_first_run_taught(played: TenantsPlayed) -> None:
    """The table of candidates has the first run's failure in it, and the successes of the others."""
    known = {
        tenant: candidate(played.agent(tenant, 1), "data_validation_specialist")
        for tenant in ("blue", "south")
    }

    assert (0.8, 1) == (known["blue"].success_rate, known["blue"].outcomes)
    assert (1.0, 1) == (known["south"].success_rate, known["south"].outcomes)
    assert "1.00 -> 0.83" in played.screen


def test_the_tables_are_those_of_plain_python(played: TenantsPlayed) -> None:
    """What agents publish is what Python reads in the same files."""
    airports = json.loads(gzip.decompress((SHIPPED / "ourairports.json.gz").read_bytes()))
    codes = json.loads(gzip.decompress((SHIPPED / "aircodes.json.gz").read_bytes()))
    planes = csv.DictReader(io.StringIO(gzip.decompress((SHIPPED / "planes.csv.gz").read_bytes()).decode()))

    assert {
        row["iata_code"]: (row["name"], float(row["latitude_deg"]), float(row["longitude_deg"]))
        for row in airports
        if re.fullmatch("[A-Z]{3}", row["iata_code"])
    } == {row[0]: row[1:] for row in played.rows("SELECT iata, name, latitude, longitude FROM south.airport")}
    assert {row["iata"]: row["name"] for row in codes} == dict(
        played.rows("SELECT iata, name FROM blue.code")
    )
    assert {row["tailnum"]: f"{row['manufacturer']} {row['model']}" for row in planes} == dict(
        played.rows("SELECT tailnum, kind FROM silver.plane")
    )
