"""`explain` tells why a run went as it did, by its recorded decisions; `manifest` shows what it brought."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.text import Text

from airflow_orchestration.cli.manifest_view import headline, manifest_view, reasons
from airflow_orchestration.cli.runs import known_run
from airflow_orchestration.cli.terminal import NO, looking, print_json, tell, terminal
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.run_facts import decision_shown
from airflow_orchestration.insights.run_view import view_of
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.readings import MOST_BESIDES, MOST_DECISIONS
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.publish import sentence_of

MATTERS: Mapping[str, Sequence[str]] = {
    "workflow_mode": (
        "complexity_score", "data_dependency_score", "cpu_available", "workers", "max_branches",
    ),
    "allocation": ("batches", "allocated_branches", "total_cost", "estimated_makespan"),
    "rebalancing": ("failed", "missing", "below_standard", "made_anew", "time_is_over", "max_rounds"),
    "quorum_gate": (
        "progress", "floor", "elapsed_seconds", "deadline_seconds", "grace_period_seconds",
        "missing_ids", "failed_ids", "required_missing_ids",
    ),
    "admission": ("poor", "rest_share", "floor", "left_out"),
    "merging": ("dataset", "source_attribution", "overall_quality"),
    "reconciling": ("dataset", "source_attribution", "overall_quality"),
    "quality_gate": ("overall", "approve_at", "fail_below", "below_standard", "rows", "round", "max_rounds"),
    "person": ("question", "by", "offered", "otherwise"),
    "asking": ("question", "offered", "otherwise"),
}  # fmt: skip
"""Ours: of the recorded evidence what a policy weighed against what; of other policies all figures are told."""
MOST_NAMES = 8
"""Ours: names and shares of a list that a person is shown; JSON has them all."""

OLDER = (
    f"There may be older decisions than these: the newest {MOST_DECISIONS:,} about rounds and {MOST_BESIDES} about "
    "single feeds are told; all of them stand in the table orchestration.decision."
)


@looking
def explain(args: Namespace) -> None:
    """Tell the decisions of a run in order, and why it ended as it did."""
    with OrchestrationHook(args.conn_id).store() as store:
        told = explanation(store, known_run(store, args.run))
    if args.output == "json":
        print_json(told)
    else:
        tell(explanation_view(told))


@looking
def manifest(args: Namespace) -> None:
    """Show a run's completeness manifest; a run that has not ended has none yet."""
    with OrchestrationHook(args.conn_id).store() as store:
        found = store.manifest(known_run(store, args.run))
    if found is None:
        terminal(stderr=True).print(f"{args.run} has not ended; it has no manifest yet.", soft_wrap=True)
        raise SystemExit(NO)
    if args.output == "json":
        print_json(found)
    else:
        tell(manifest_view(found))


def explanation(store: PostgresStore, key: RunKey) -> dict[str, Any]:
    """Return the newest decisions, each as a sentence with what mattered, and the end, as plain data.

    Decisions about agents are not among them: `agents work` tells these. `older` says that there are older ones
    than are told.
    """
    read = store.readings.run(key)
    view = view_of(store, read)
    recorded = [
        decision_shown(row) for row in sorted((*read.decisions, *read.besides), key=lambda row: row["id"])
    ]
    decisions = [*([view["mode"]] if view["mode"] else []), *recorded]
    return {
        "dag_id": key.dag_id,
        "run_id": key.run_id,
        "state": view["state"],
        "decisions": [
            {**decision, "sentence": sentence_of(decision), "mattered": mattered(decision)}
            for decision in decisions
        ],
        "older": len(read.decisions) == MOST_DECISIONS or len(read.besides) == MOST_BESIDES,
        "end": list(_end(view)),
        "agents": view["agents"],
    }


def mattered(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a decision's evidence that it was weighed by; what is empty did not matter."""
    evidence = decision["evidence"]
    named = MATTERS.get(decision["policy"]) or [
        name for name, value in evidence.items() if not isinstance(value, dict | list)
    ]
    found = {name: evidence.get(name) for name in named}
    return {name: value for name, value in found.items() if value is not None and value not in ([], {})}


def explanation_view(told: Mapping[str, Any]) -> Group:
    """Return the story as a person reads it in a terminal."""
    lines = [
        Text(f"{told['dag_id']}/{told['run_id']}: {told['state'].replace('_', ' ')}", style="bold"),
    ]
    if told["older"]:
        lines.append(Text(OLDER, style="yellow"))
    for decision in told["decisions"]:
        at = datetime.fromisoformat(decision["at"])
        place = f"round {decision['round']}" if decision["round"] else ""
        lines.append(Text(f"{at:%H:%M:%S}  {place:8}  {decision['sentence']}"))
        shown = ", ".join(
            f"{name.replace('_', ' ')} {_shown(it)}" for name, it in decision["mattered"].items()
        )
        lines.append(Text(f"{'':20}{shown}", style="dim"))
    if told["agents"]:
        lines.append(
            Text(f"Agents worked in it: agents work {told['dag_id']}/{told['run_id']} tells of them.")
        )
    return Group(*lines, *(Text(line, style="bold" if not at else "") for at, line in enumerate(told["end"])))


def _end(view: Mapping[str, Any]) -> Iterator[str]:
    """Why the run ended as it did; of one that goes on, what it waits for."""
    if view["manifest"] is not None:
        yield headline(view["manifest"])
        yield from reasons(view["manifest"])
        return
    yield "It has not ended."
    gate = view["rounds"][-1]["gate"] if view["rounds"] else None
    if gate is not None and gate["verdict"] is None:
        pending = [
            f"{feed['feed']} ({feed['state']})"
            for branch in view["rounds"][-1]["branches"]
            for feed in branch["feeds"]
            if feed["state"] in {"pending", "waiting"}
        ]
        yield (
            f"The gate of round {view['rounds'][-1]['round']} decides by {gate['deadline_at']}: "
            f"{gate['progress']:.0%} of the weight is in, the floor is {gate['floor']:.0%}; "
            f"still to come: {_shown(pending) or 'nothing'}"
        )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004  # no exponents
    if isinstance(value, dict):
        value = [f"{name} {_shown(one)}" for name, one in value.items()]
    if isinstance(value, list):
        more = f" and {len(value) - MOST_NAMES} more" if len(value) > MOST_NAMES else ""
        return f"{', '.join(map(str, value[:MOST_NAMES]))}{more}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
