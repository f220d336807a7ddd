"""Replayed gates as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_orchestration.insights.courses import Ending, Unknown
from airflow_orchestration.insights.replay import Difference
from airflow_orchestration.insights.what_if import UNTIL_DEADLINE, Terms, Trial, members_in, summary

MOST_LINES = 50
MOST_NAMES = 8


def verification_view(gates: int, found: Sequence[Difference], seconds: float | None) -> Group:
    """Say how many recorded decisions come out the same, and name those that don't."""
    took = "" if seconds is None else f", in {seconds:.1f} s"
    same = gates - len(found)
    lines = [Text(f"{same:,} of {gates:,} recorded decisions come out the same{took}", style="bold")]
    for one in found[:MOST_LINES]:
        lines.append(Text(f"{one.gate.name} differs", style="yellow"))
        lines.extend(Text(f"  {what}") for what in one.what)
    if len(found) > MOST_LINES:
        lines.append(Text(f"and {len(found) - MOST_LINES:,} more; --output json names all"))
    return Group(*lines)


def trials_view(trials: Sequence[Trial], terms: Terms, seconds: float) -> Group:
    """Say what another policy would have changed: the figures side by side, then the gates that change."""
    told = summary(trials)
    changed = [one for one in trials if one.changed]
    unknown = [one for one in trials if isinstance(one.after, Unknown)]
    lines: list[Text | Table] = [
        Text(
            f"With {_terms(terms)}: {told['changed']:,} of {told['gates']:,} gates change, in {seconds:.1f} s",
            style="bold",
        ),
        *(Text(f"{count:,} x {flip.replace('_', ' ')}") for flip, count in told["flips"].items()),
        *([_unknown_line(trials, len(unknown))] if unknown else []),
        *([_late_line(told["looked_late"])] if told["looked_late"] else []),
        *([_figures(told)] if told["after"] else []),
    ]
    if changed:
        lines.append(_changes(changed[:MOST_LINES]))
    if len(changed) > MOST_LINES:
        lines.append(Text(f"and {len(changed) - MOST_LINES:,} more; --output json names all"))
    return Group(*lines)


def _unknown_line(trials: Sequence[Trial], count: int) -> Text:
    names = members_in(trials)
    shown = ", ".join(names[:MOST_NAMES]) + (" and others" if len(names) > MOST_NAMES else "")
    return Text(
        f"{count:,} unknown, and in no figure below: when these came was not recorded: {shown}",
        style="yellow",
    )


def _late_line(count: int) -> Text:
    return Text(
        f"{count:,} decided otherwise than told under `before`: they looked a moment after their deadline, "
        "and somebody had come in between",
        style="yellow",
    )


def _terms(terms: Terms) -> str:
    told: list[str] = []
    if terms.floor is not None:
        told.append(f"floor {terms.floor:g}")
    if terms.deadline is not None:
        told.append(f"deadline {terms.deadline.total_seconds():g} s")
    if terms.grace_period == UNTIL_DEADLINE:
        told.append("no grace period")
    elif terms.grace_period is not None:
        told.append(f"grace period {terms.grace_period.total_seconds():g} s")
    return ", ".join(told)


def _figures(told: dict[str, Any]) -> Table:
    before, after = told["before"], told["after"]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right")
    lines: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("opened", "opened", "{:,}".format),
        ("opened by the recorded deadline", "in_time", "{:,}".format),
        ("decided after, median", "median_seconds", "{:,.1f} s".format),
        ("weight there, mean", "mean_weight_share", "{:.1%}".format),
        ("rows arrived", "rows_merged", "{:,}".format),
    )
    for title, name, shown in lines:
        table.add_row(title, shown(before[name]), shown(after[name]))
    return table


def _changes(changed: Sequence[Trial]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("gate", "action", "reason", "decided after", "weight there", "rows"):
        table.add_column(heading, justify="left" if heading in {"gate", "action", "reason"} else "right")
    for one in changed:
        if isinstance(one.after, Ending):
            before, after = one.before, one.after
            table.add_row(
                Text(one.gate.name),
                _pair(before.action.value, after.action.value),
                _pair(before.reason, after.reason),
                _pair(f"{before.after.total_seconds():,.1f} s", f"{after.after.total_seconds():,.1f} s"),
                _pair(f"{before.weight_share:.1%}", f"{after.weight_share:.1%}"),
                _pair(_rows(one.rows(before)), _rows(one.rows(after))),
            )
    return table


def _pair(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _rows(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
