"""`agents work` shows the agents of a run and why they were chosen; `agents leaderboard` who is good at what."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from airflow_orchestration.cli.policy_trials import refusing
from airflow_orchestration.domain.agent import NO_TENANT
from airflow_orchestration.exceptions import InputRefusedError, Problem
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.agents import (
    AgentSeen,
    AgentState,
    RoundAgents,
    Standing,
    leaderboard,
    run_agents,
)
from airflow_orchestration.storage.store import RunKey

MOST_CANDIDATES = 5
"""Ours: candidates for each agent that a person is shown; JSON has them all."""
MARKS: Mapping[bool | None, str] = {True: "met", False: "missed", None: "not measured"}
_STYLES: Mapping[AgentState, str] = {AgentState.FAILED: "red", AgentState.WAITING: "yellow"}


@refusing
def work(args: Namespace) -> None:
    """Show a run's agents by round: what each was made for, the candidates, what came of it."""
    key = _run_key(args.run)
    with OrchestrationHook(args.conn_id).store() as store:
        rounds = run_agents(store, key)
    if args.output == "json":
        print(json.dumps([one.as_json() for one in rounds], indent=2))  # noqa: T201  # for other programs
        return
    console = Console()
    if not rounds:
        console.print(f"{args.run} has no agents.", markup=False, soft_wrap=True)
    for one in rounds:
        console.print(round_view(one), soft_wrap=True)


@refusing
def board(args: Namespace) -> None:
    """Show what the agents of a tenant have shown, the most reliable type of each kind of work first."""
    tenant = args.tenant or NO_TENANT
    with OrchestrationHook(args.conn_id).store() as store:
        standings = leaderboard(store, tenant)
    if args.output == "json":
        print(json.dumps([one.as_json() for one in standings], indent=2))  # noqa: T201  # for other programs
        return
    whose = f"of tenant {tenant}" if tenant else "of no tenant"
    console = Console()
    if not standings:
        console.print(f"No agents {whose} have worked yet.", markup=False)
        return
    console.print(_board_table(standings))


def round_view(found: RoundAgents) -> Group:
    """Return a round's agents, the candidates for each, the order's reason, and what could not be had."""
    title = f"Round {found.round}" if found.round else "Agents of the queue"
    return Group(
        _agents_table(title, found.agents),
        *([] if found.order is None else [Text(_order(found.order))]),
        _candidates_table(found.agents),
        *(Text(f"Not created: {failure}", style="red") for failure in found.failures),
    )


def _run_key(text: str) -> RunKey:
    dag_id, _, run_id = text.partition("/")
    if not dag_id or not run_id:
        problem = Problem(path="", message=f"{text!r} names no run; write it as dag_id/run_id")
        raise InputRefusedError("RUN", [problem])
    return RunKey(dag_id=dag_id, run_id=run_id)


def _table(title: str, *headings: str) -> Table:
    """A table in which a heading that begins with a blank is that of figures."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading.strip(), justify="right" if heading.startswith(" ") else "left")
    return table


def _agents_table(title: str, agents: Sequence[AgentSeen]) -> Table:
    columns = ("agent", "branch", "lane", "batches", "state", " records", " seconds", " quality", "targets")
    table = _table(title, *columns)
    for agent in agents:
        done = agent.work
        table.add_row(
            agent.agent_id,
            agent.branch_id or "",
            agent.lane or "",
            _batches(agent),
            agent.state.value,
            *(
                ("", "", "")
                if done is None
                else (
                    f"{done.records:,}",
                    f"{done.elapsed.total_seconds():.1f}",
                    f"{done.quality_score:.3f}",
                )
            ),
            ", ".join(f"{name} {MARKS[met]}" for name, met in sorted(agent.targets.items())),
            style=_STYLES.get(agent.state),
        )
    return table


def _batches(agent: AgentSeen) -> str:
    return ", ".join(
        f"{batch} (failed)" if batch in agent.failed else batch
        for batch in (*agent.batches, *(it for it in agent.failed if it not in agent.batches))
    )


def _candidates_table(agents: Sequence[AgentSeen]) -> Table:
    columns = ("for", "candidate", " score", " match", " success", " outcomes", " efficiency", "")
    table = _table("Who was compared", *columns)
    for agent in agents:
        for candidate in agent.choice.candidates[:MOST_CANDIDATES] if agent.choice else ():
            chosen = candidate.agent_type == agent.agent_type
            lacks = f"lacks {', '.join(candidate.missing)}" if candidate.missing else ""
            told = f"chosen: {agent.choice.reason}" if chosen and agent.choice else lacks
            table.add_row(
                agent.agent_id,
                candidate.agent_type,
                _share(candidate.score),
                _share(candidate.capability_match),
                _share(candidate.success_rate),
                f"{candidate.outcomes:,}",
                _share(candidate.resource_efficiency),
                told,
                style="bold" if chosen else None,
            )
    return table


def _board_table(standings: Sequence[Standing]) -> Table:
    columns = (
        "kind of work",
        "agent type",
        " success",
        " outcomes",
        " days",
        " seconds",
        " records/s",
        " quality",
    )
    table = _table("Believed of each type of agent; success 1.000 is where a new one begins", *columns)
    for one in standings:
        known = one.experience
        seconds = None if known.execution_time is None else known.execution_time.total_seconds()
        table.add_row(
            one.kind,
            one.agent_type,
            _share(known.success_rate),
            f"{known.outcomes:,}",
            f"{one.days}",
            "" if seconds is None else f"{seconds:.1f}",
            "" if known.throughput is None else f"{known.throughput:,.0f}",
            _share(known.data_quality_score),
        )
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _order(decision: Mapping[str, object]) -> str:
    return f"Order: {decision['action']} because {decision['reason']}"
