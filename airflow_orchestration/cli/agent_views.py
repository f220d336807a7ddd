"""`agents work` shows the agents of a run and why they were chosen; `agents leaderboard` who is good at what."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_orchestration.cli.runs import known_run, named_run
from airflow_orchestration.cli.terminal import looking, plain_table, print_json, tell
from airflow_orchestration.domain.agent import NO_TENANT
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.agent_targets import MARKS
from airflow_orchestration.insights.agents import (
    AgentSeen,
    AgentState,
    RoundAgents,
    Standing,
    leaderboard,
    run_agents,
)

MOST_CANDIDATES = 5
"""Ours: candidates for each agent that a person is shown; JSON has them all."""
_STYLES: Mapping[AgentState, str] = {AgentState.FAILED: "red", AgentState.WAITING: "yellow"}


@looking
def work(args: Namespace) -> None:
    """Show a run's agents by round: what each was made for, the candidates, what came of it."""
    with OrchestrationHook(args.conn_id).store() as store:
        # A Dag of one's own may have agents without a pipeline's run.
        rounds = run_agents(store, named_run(args.run))
        if not rounds:
            known_run(store, args.run)
    if args.output == "json":
        print_json([one.as_json() for one in rounds])
        return
    if not rounds:
        tell(f"{args.run} has no agents.")
    tell(*map(round_view, rounds))


@looking
def board(args: Namespace) -> None:
    """Show what the agents of a tenant have shown, the most reliable type of each kind of work first."""
    tenant = args.tenant or NO_TENANT
    with OrchestrationHook(args.conn_id).store() as store:
        standings = leaderboard(store, tenant)
    if args.output == "json":
        print_json([one.as_json() for one in standings])
        return
    whose = f"of tenant {tenant}" if tenant else "of no tenant"
    tell(_board_table(standings) if standings else f"No agents {whose} have worked yet.")


def round_view(found: RoundAgents) -> Group:
    """Return a round's agents, the candidates for each, the order's reason, and what could not be had."""
    title = f"Round {found.round}" if found.round else "Agents of the queue"
    return Group(
        _agents_table(title, found.agents),
        *([] if found.order is None else [Text(_order(found.order))]),
        _candidates_table(found.agents),
        *(Text(f"Not created: {failure}", style="red") for failure in found.failures),
    )


def _agents_table(title: str, agents: Sequence[AgentSeen]) -> Table:
    columns = ("agent", "branch", "lane", "batches", "state", " records", " seconds", " quality", "targets")
    table = plain_table(*columns, title=title)
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
    table = plain_table(*columns, title="Who was compared")
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
    table = plain_table(
        *columns, title="Believed of each type of agent; success 1.000 is where a new one begins"
    )
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
