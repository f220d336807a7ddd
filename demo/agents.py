"""The demo of the agents: ten tenants, a job each, two runs of each, and what was chosen and learned."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from airflow_orchestration.domain.tenancy import SEPARATOR
from airflow_orchestration.insights.agents import AgentSeen, Standing, leaderboard, run_agents
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.policies.agent_success import PRIOR_SUCCESS_RATE
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Event, RunKey, RunState
from demo.errors import StackError
from demo.scenarios import PIPELINES, TENANT_FILES, Landing
from demo.settings import TENANTS_FOLDER
from demo.stack import Stack

JOBS: Mapping[str, str] = {
    "north": "airports",
    "south": "airports",
    "east": "weather",
    "west": "fleet",
    "red": "list_quality",
    "green": "codes",
    "blue": "codes",
    "gold": "flights",
    "silver": "flights",
}
"""Tenant -> job, in the folder `dags/tenants`."""
NEWCOMER, NEWCOMERS_JOB = "violet", "airports"
"""The tenant that comes while the others are at work."""
NEWCOMERS_FILE = Path(__file__).parent / "jobs" / NEWCOMER / f"{NEWCOMERS_JOB}.yaml"
COMMANDS: Sequence[Sequence[str]] = (
    ("orchestration", "agents", "capacity", "--cpu", "3", "--memory-mb", "4096", "--connections", "10"),
    (
        "orchestration",
        "agents",
        "capacity",
        "gold",
        "--cpu",
        "0.5",
        "--memory-mb",
        "1024",
        "--connections",
        "5",
    ),
    ("pools", "set", NEWCOMER, "2", "agents of violet"),
)
REGISTER = ("orchestration", "agents", "put", NEWCOMER, NEWCOMERS_JOB, str(NEWCOMERS_FILE))
TOLD = frozenset({"agent_waiting", "agent_finished", "published", "run_finished"})
"""Events that are shown; of ten runs at a time, all would be too many."""
UNIQUE_PART = re.compile("_[0-9a-f]{32}")
"""Of an agent's id; what comes before it is its type."""
POLL_SECONDS = 0.5
RUN_SECONDS = 300.0
EXIT_NOT_PUBLISHED = 1

Runs = Mapping[str, RunKey]
"""By tenant."""
Standings = Mapping[tuple[str, str, str], Standing]
"""By tenant, kind of work and type of agent."""


def play(stack: Stack, scenario_name: str, out: Console, jobs: Mapping[str, str] = JOBS) -> int:
    """Run the job of each tenant twice; return the exit code.

    :param jobs: tenant -> job; the newcomer is there in any case.
    """
    scenario = PIPELINES["agents"][scenario_name](Landing(stack.home / TENANTS_FOLDER, TENANT_FILES))
    out.print(f"\n[bold]Scenario {scenario_name}[/]: {scenario.about}")
    scenario.before()
    prepare(stack, [*jobs, NEWCOMER], out)
    with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
        tenants = [*jobs, NEWCOMER]
        before = _standings(store, tenants)
        first = trigger(stack, jobs)
        first |= register_newcomer(stack, out)
        watch(stack, store, first, out)
        out.print(f"\n[bold]{scenario.afterwards()}[/]")
        second = trigger(stack, {**jobs, NEWCOMER: NEWCOMERS_JOB})
        watch(stack, store, second, out)
        out.print()
        out.print(_chosen(store, [first, second]))
        out.print()
        out.print(_learned(before, _standings(store, tenants)))
        published = [_is_published(store, key) for key in second.values()]
    show_places(stack, second, out)
    return 0 if all(published) else EXIT_NOT_PUBLISHED


def prepare(stack: Stack, tenants: Iterable[str], out: Console) -> None:
    """Create each tenant's schema, and say how much agents may use."""
    with psycopg.connect(stack.warehouse_dsn) as connection:
        for tenant in tenants:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(tenant)))
    for command in COMMANDS:
        _airflow(stack, command, out)


def trigger(stack: Stack, jobs: Mapping[str, str]) -> dict[str, RunKey]:
    """Start a run of each job."""
    runs = {}
    for tenant, job in jobs.items():
        dag_id = f"{tenant}{SEPARATOR}{job}"
        stack.api.wait_for_dag(dag_id)
        runs[tenant] = RunKey(dag_id=dag_id, run_id=stack.api.trigger(dag_id))
    return runs


def register_newcomer(stack: Stack, out: Console) -> dict[str, RunKey]:
    """Bring a new tenant: a row in the registry, of which the bundle makes a Dag."""
    begun = time.monotonic()
    _airflow(stack, REGISTER, out)
    runs = trigger(stack, {NEWCOMER: NEWCOMERS_JOB})
    out.print(f"Its Dag runs {time.monotonic() - begun:.0f} s after the command was given.")
    return runs


def watch(stack: Stack, store: PostgresStore, runs: Runs, out: Console) -> None:
    """Print what happens, until every run has ended; raise `StackError` when that takes too long."""
    begun = time.monotonic()
    shown = dict.fromkeys(runs, 0)
    while True:
        working = _working(stack, runs)
        for tenant, event in _new_events(store, runs, shown):
            if told := _told(event):
                out.print(
                    f"{time.monotonic() - begun:5.1f} s  {tenant:7} {told}", soft_wrap=True, markup=False
                )
        if not working:
            return
        if time.monotonic() - begun > RUN_SECONDS:
            raise StackError(f"Runs have not ended within {RUN_SECONDS:g} s: see {stack.url}")
        time.sleep(POLL_SECONDS)


def show_places(stack: Stack, runs: Runs, out: Console) -> None:
    """Say where a person finds all this, and more."""
    key = runs.get("gold") or next(iter(runs.values()))
    run = f"{key.dag_id}/{key.run_id}"
    out.print(f"\nThe ten Dags in Airflow: {stack.url}/dags?tags=agents", soft_wrap=True)
    out.print(
        f"Four agents and their coordinator: {stack.url}/dags/{key.dag_id}/runs/{key.run_id}", soft_wrap=True
    )
    for command in (f"work {run}", "leaderboard blue", "capacity", "list"):
        out.print(f'make airflow ARGS="orchestration agents {command}"', soft_wrap=True, markup=False)


def _airflow(stack: Stack, words: Sequence[str], out: Console) -> None:
    """Run an `airflow` command, and show it with what it says."""
    out.print(f"[bold]$[/] airflow {' '.join(words)}", soft_wrap=True)
    ended = subprocess.run(
        [sys.executable, "-m", "airflow", *words],
        env=stack.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise StackError(f"airflow {' '.join(words)} has failed:\n{ended.stdout}{ended.stderr}")
    out.print(ended.stdout.rstrip(), markup=False, style="dim", soft_wrap=True)


def _working(stack: Stack, runs: Runs) -> bool:
    """Whether Airflow is still at work on any of the runs."""
    asked = {"dag_ids": [key.dag_id for key in runs.values()], "states": ["queued", "running"]}
    return bool(stack.api.post("/api/v2/dags/~/dagRuns/list", asked)["total_entries"])


def _new_events(store: PostgresStore, runs: Runs, shown: dict[str, int]) -> list[tuple[str, Event]]:
    """What was added to the timelines since the last look, oldest first, with its tenant."""
    found: list[tuple[str, Event]] = []
    for tenant, key in runs.items():
        timeline = store.timeline(key)
        found += [(tenant, event) for event in timeline[shown[tenant] :]]
        shown[tenant] = len(timeline)
    return sorted(found, key=lambda pair: pair[1].at)


def _told(event: Event) -> str | None:
    """The line about an event that is worth one."""
    if event.event not in TOLD and not event.detail.get("error"):
        return None
    word, story = sentence(event)
    return f"{word:10} {UNIQUE_PART.sub('', story)}"


def _is_published(store: PostgresStore, key: RunKey) -> bool:
    return (store.manifest(key) or {}).get("state") in {RunState.PUBLISHED, RunState.PUBLISHED_DEGRADED}


def _standings(store: PostgresStore, tenants: Collection[str]) -> dict[tuple[str, str, str], Standing]:
    return {
        (tenant, one.kind, one.agent_type): one for tenant in tenants for one in leaderboard(store, tenant)
    }


def _chosen(store: PostgresStore, runs: Sequence[Runs]) -> Table:
    """Who was chosen for what in each of the runs, and how the work ended."""
    table = _table(
        "What was chosen, first run -> second run",
        ("tenant", "for", "agent", "score", "reason", "work", "targets"),
    )
    for tenant in runs[0]:
        for seen in zip(*(_agents(store, of_all[tenant]) for of_all in runs), strict=False):
            last = seen[-1]
            table.add_row(
                tenant,
                ", ".join(last.batches) or "order of the others",
                last.agent_type,
                _course(f"{one.choice.score:.2f}" for one in seen if one.choice and one.choice.score),
                last.choice.reason if last.choice else "",
                _course(one.state.value for one in seen),
                _targets(last),
            )
    return table


def _agents(store: PostgresStore, key: RunKey) -> list[AgentSeen]:
    """The agents of a run, in an order that does not change from run to run."""
    found = [agent for one in run_agents(store, key) for agent in one.agents]
    return sorted(found, key=lambda agent: (not agent.batches, agent.batches))


def _course(values: Iterable[str]) -> str:
    """What something was in each of the runs; once, when it stayed the same."""
    return " -> ".join(dict.fromkeys(values))


def _targets(agent: AgentSeen) -> str:
    missed = [name for name, met in sorted(agent.targets.items()) if met is False]
    measured = [met for met in agent.targets.values() if met is not None]
    return f"missed {', '.join(missed)}" if missed else f"{len(measured)} met" if measured else ""


def _learned(before: Standings, after: Standings) -> Table:
    """What is believed of each type of agent before and after both runs."""
    names = ("tenant", "kind of work", "agent", " success", " outcomes", " seconds", " records/s", " quality")
    table = _table("What each tenant has learned; a new type begins with 1.00", names)
    for place, one in after.items():
        tenant, kind, agent_type = place
        known = one.experience
        earlier = before[place].experience.success_rate if place in before else PRIOR_SUCCESS_RATE
        table.add_row(
            tenant,
            kind,
            agent_type,
            _course(f"{rate:.2f}" for rate in (earlier, known.success_rate)),
            str(known.outcomes),
            "" if known.execution_time is None else f"{known.execution_time.total_seconds():.2f}",
            "" if known.throughput is None else f"{known.throughput:,.0f}",
            "" if known.data_quality_score is None else f"{known.data_quality_score:.3f}",
        )
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    """A table in which a heading that begins with a blank is that of figures."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading.strip(), justify="right" if heading.startswith(" ") else "left", no_wrap=True
        )
    return table
