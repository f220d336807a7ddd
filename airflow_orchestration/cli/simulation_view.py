"""Simulated gates as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_orchestration.insights.simulation import QUANTILES, UNKNOWN, Simulated, Source
from airflow_orchestration.policies.quorum_gate import GateAction

HEADINGS = (
    "floor", "deadline", "grace", "all arrived", "conditional", "given up", "unknown",
    "waits p50", "p90", "p99", "weight missing", "least there",
)  # fmt: skip
ACTIONS = (
    GateAction.PROCEED_TO_DATA_MERGE.value,
    GateAction.CONDITIONAL_PROCEED.value,
    GateAction.TIMEOUT_RECOVERY.value,
    UNKNOWN,
)
MOST_NAMES = 8
FEW = 20


def simulation_view(results: Sequence[Simulated], source: Source, seconds: float) -> Group:
    """Return a line per policy, and what must be known to read it."""
    runs = results[0].actions.total()
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(*_cells(result))
    notes = [
        "waits: seconds until the gate decides; weight missing: expected share, of the runs in which it opens.",
        "Each feed is drawn by itself: nights on which several are late together are rarer here than in life.",
        *_missed(results),
        *_few(source),
    ]
    if any(result.actions[UNKNOWN] for result in results):
        notes.append("unknown: the answer hangs on arrivals after the recorded gates stopped looking.")
    title = Text(f"{runs:,} runs of {len(source.draws)} feeds, in {seconds:.1f} s", style="bold")
    return Group(title, table, *map(Text, notes))


def _cells(result: Simulated) -> list[str]:
    figures = result.as_json()
    grace = figures["grace_period_seconds"]
    return [
        f"{figures['floor']:g}",
        f"{figures['deadline_seconds']:g} s",
        "none" if grace is None else f"{grace:g} s",
        *(f"{figures['actions'].get(action, 0):.1%}" for action in ACTIONS),
        *([f"{value:,.1f}" for value in figures["seconds"].values()] or [""] * len(QUANTILES)),
        _share(figures["mean_weight_missing"]),
        _share(figures["least_weight_share"]),
    ]


def _missed(results: Sequence[Simulated]) -> list[str]:
    """Say for a single policy whom it opens without."""
    if len(results) > 1 or not results[0].missed:
        return []
    named = [f"{name} {share:.1%}" for name, share in results[0].as_json()["missed"].items()]
    return [f"opened without: {', '.join(named[:MOST_NAMES])}{' ...' if len(named) > MOST_NAMES else ''}"]


def _few(source: Source) -> list[str]:
    least = min(source.observations.values(), default=FEW)
    return [f"Some feeds are drawn from only {least} recorded arrivals."] if least < FEW else []


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
