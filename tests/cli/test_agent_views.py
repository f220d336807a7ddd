"""What `airflow orchestration agents work` and `agents leaderboard` show."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli.agent_views import MOST_CANDIDATES
from airflow_orchestration.cli.commands import get_cli_commands
from airflow_orchestration.domain.agent import Capability, ResourceRequirements
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionFacts,
)
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from tests.unit.insights.agent_builders import RUN, VALIDATOR, assigned, fence, outcome

NAME = f"{RUN.dag_id}/{RUN.run_id}"


def command(name: str, *options: str) -> None:
    """Run a command of the group as Airflow's command line does."""
    known = {one.name: one for one in get_cli_commands()[0].subcommands}
    found = next(one for one in known["agents"].subcommands if one.name == name)
    parser = ArgumentParser()
    for argument in found.args:
        argument.add_to_parser(parser)
    found.func(parser.parse_args(options))


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is folded that a test looks for."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture(scope="module")
def connection(create_migrated: Callable[[str], str]) -> str:
    """The Airflow connection, as JSON, of a store in which an agent of tenant `north` has done its work."""
    dsn = create_migrated("agent_views")
    with PostgresStore(lambda: psycopg.connect(dsn)) as store:
        staff = fence(store, "staff", 0)
        agent = assigned(work={"batch": {"id": "planes"}})
        store.record_decision(staff, choice().leading_to(agent.agent_id, {}))
        store.agents.assign(staff, [agent])
        monitor = AgentMonitor(store=store, fence=fence(store, round_number=0), agent=agent)
        monitor.started(timedelta(0))
        store.agents.record(monitor.fence, "north", outcome(seconds=2, records=1000, quality=0.5))
        monitor.finished(succeeded=True)
    parts = conninfo_to_dict(dsn)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts["host"],
            "login": parts["user"],
            "schema": parts["dbname"],
        }
    )


@pytest.fixture
def conn_id(connection: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of that connection."""
    monkeypatch.setenv("AIRFLOW_CONN_AGENT_VIEWS", connection)
    return "agent_views"


def choice() -> Any:
    """The real decision for a validation, among more types than are shown."""
    needed = ResourceRequirements(cpu_millicores=500, memory_mb=256)

    def candidate(name: str, *capabilities: Capability) -> AgentCandidate:
        return AgentCandidate(
            name=name,
            capabilities=frozenset(capabilities),
            success_rate=1.0,
            outcomes=0,
            footprint=needed,
        )

    wide = [candidate(f"generalist_{number}", *Capability) for number in range(MOST_CANDIDATES)]
    required = frozenset({Capability.DATA_VALIDATION})
    facts = AgentSelectionFacts(
        required=required, needed=needed, candidates=(candidate(VALIDATOR, *required), *wide)
    )
    return AgentSelection().evaluate(facts)


def lines(capsys: pytest.CaptureFixture[str]) -> Sequence[str]:
    return capsys.readouterr().out.splitlines()


def test_work_shows_the_agents_and_who_was_compared(conn_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the agent did, which targets it met, and the best of the other types."""
    command("work", NAME, "--conn-id", conn_id)
    printed = [" ".join(line.split()) for line in lines(capsys)]
    end = "quality missed, response_time met, throughput met"
    assert f"{VALIDATOR}_1 planes succeeded 1,000 2.0 0.500 {end}" in printed
    assert f"{VALIDATOR}_1 {VALIDATOR} 1.000 1.000 1.000 0 1.000 chosen: highest_score" in printed
    assert MOST_CANDIDATES == sum(line.startswith(f"{VALIDATOR}_1 ") for line in printed) - 1


def test_work_as_json_has_every_candidate(conn_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs nothing is left out."""
    command("work", NAME, "--conn-id", conn_id, "--output", "json")
    [found] = json.loads(capsys.readouterr().out)
    assert MOST_CANDIDATES + 1 == len(found["agents"][0]["choice"]["candidates"])


def test_a_run_that_is_not_there_is_no_run_without_agents(
    conn_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused, and what the store knows is told."""
    with pytest.raises(SystemExit) as ended:
        command("work", "other/run", "--conn-id", conn_id)
    assert 2 == ended.value.code
    assert "the store knows no run 'run' of other; it knows none of this Dag" in capsys.readouterr().err


def test_a_name_that_is_none_is_refused(conn_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says how a run is written, and the exit code is that of a bad input."""
    with pytest.raises(SystemExit) as ended:
        command("work", "monday", "--conn-id", conn_id)
    assert 2 == ended.value.code
    assert "'monday' names no run; write it as dag_id/run_id" in capsys.readouterr().err


def test_the_leaderboard_is_a_tenants_own(conn_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Who has no history is told so; the other's figures are not shown."""
    command("leaderboard", "north", "--conn-id", conn_id)
    command("leaderboard", "south", "--conn-id", conn_id)
    printed = [" ".join(line.split()) for line in lines(capsys)]
    assert f"data_validation {VALIDATOR} 1.000 1 1 2.0 500 0.500" in printed
    assert "No agents of tenant south have worked yet." == printed[-1]


def test_the_leaderboard_as_json(conn_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs; without a tenant it is of work that has none."""
    command("leaderboard", "north", "--conn-id", conn_id, "--output", "json")
    [found] = json.loads(capsys.readouterr().out)
    assert (VALIDATOR, 1, 500.0) == (found["agent_type"], found["outcomes"], found["throughput"])
    command("leaderboard", "--conn-id", conn_id, "--output", "json")
    assert [] == json.loads(capsys.readouterr().out)
