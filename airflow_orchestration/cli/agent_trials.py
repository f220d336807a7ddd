"""Tries how agents are chosen: what learning gains over believing in everybody, on drawn work."""

from __future__ import annotations

import time
from argparse import Namespace
from random import Random  # noqa: TID251  # the dice that the core has not

from rich.console import Group
from rich.text import Text

from airflow_orchestration.cli.terminal import at_work, plain_table, print_json, tell
from airflow_orchestration.insights.agent_simulation import DAYS, LAST_DAYS, Comparison, compare


def simulate(args: Namespace) -> None:
    """Draw templates and work, and print what learned success gains over the constant of the document."""
    started = time.perf_counter()
    dice = Random(args.seed).random  # noqa: S311  # no secret hangs on it
    with at_work(f"Drawing {args.settings} settings"):
        found = compare(dice, args.settings)
    if args.output == "json":
        print_json(found.as_json())
        return
    tell(comparison_view(found, time.perf_counter() - started))


def comparison_view(found: Comparison, seconds: float) -> Group:
    """Return the figures as a person reads them in a terminal."""
    told = found.as_json()
    table = plain_table("success is", " succeeded", " share")
    for label, name in (("always 1.0", "constant"), ("learned", "learned"), ("known", "best")):
        table.add_row(label, f"{told['successes'][name]:,}", f"{told['success_rate'][name]:.1%}")
    gained = told["gained"]
    span = f"{gained['least']:,} to {gained['most']:,}"
    notes = (
        f"gained by learning: {gained['mean']:,.0f} batches in {DAYS} days, from {span}",
        f"lost by learning: in {gained['settings_with_a_loss']} of {found.settings} settings",
        f"a good template that failed all day, hundreds of times, is chosen again {_after(found.one_bad_day)}",
        f"one that nobody knew before such a day is chosen again {_after(found.first_day_bad)}",
        f"one that turned bad for good gets {found.bad_for_good:.1%} of the last {LAST_DAYS} days' batches",
    )
    title = f"{found.batches:,} batches in {found.settings} drawn settings, in {seconds:.1f} s"
    return Group(Text(title, style="bold"), table, *map(Text, notes))


def _after(days: int | None) -> str:
    if days is None:
        return f"never, in {DAYS} days"
    return "the next day" if days == 1 else f"after {days} days"
