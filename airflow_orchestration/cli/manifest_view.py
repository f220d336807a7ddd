"""A completeness manifest as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

COLUMNS = ("feed", "state", "rows in", "published", "superseded", "quarantined", "quality")


def manifest_view(manifest: Mapping[str, Any]) -> Group:
    """Return the verdict, a line per feed, what is missing and why, and what is unusual."""
    told = [Text(line, style="yellow") for line in reasons(manifest)]
    why = [told.pop(0)] if manifest["why"] else []
    return Group(Text(headline(manifest), style="bold"), *why, _feeds(manifest["feeds"]), *told)


def reasons(manifest: Mapping[str, Any]) -> list[str]:
    """Say why the run published nothing, if it did not, why each missing feed is missing, and what is unusual."""
    return [
        *([f"Why: {manifest['why']}"] if manifest["why"] else []),
        *(
            f"{line['feed']} ({line['state'].replace('_', ' ')}): {_reason(line)}"
            for line in manifest["missing"]
        ),
        *(
            f"{line['feed']} is not as usual: {'; '.join(line['unusual'])}"
            for line in manifest["feeds"]
            if line.get("unusual")
        ),
    ]


def headline(manifest: Mapping[str, Any]) -> str:
    """Say in one sentence how the run ended and what share is missing.

    >>> headline({"state": "published", "rows": 3, "feeds_in": 2, "feeds_expected": 2,
    ...           "usual_rows_missing_share": 0.0, "rounds": 1, "weight_share": 1.0})
    'PUBLISHED: 3 rows from 2 of 2 feeds (100.0 % of the weight) after 1 round'
    """
    state = str(manifest["state"]).replace("_", " ").upper()
    if manifest["feeds_expected"] is None:
        return f"{state}: the run was refused before it began"
    rounds = f"{manifest['rounds']} round{'' if manifest['rounds'] == 1 else 's'}"
    sentence = (
        f"{state}: {manifest['rows']} rows from {manifest['feeds_in']} of {manifest['feeds_expected']} feeds "
        f"({manifest['weight_share'] * 100:.1f} % of the weight) after {rounds}"
    )
    share = manifest["usual_rows_missing_share"]
    return f"{sentence}; {share * 100:.1f} % of the usual rows are missing" if share else sentence


def _reason(line: Mapping[str, Any]) -> str:
    return str(line["why"]).removeprefix(f"{line['feed']}: ")


def _feeds(feeds: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in {"feed", "state"} else "right")
    for line in feeds:
        figures = (
            line.get(name)
            for name in ("rows_in", "rows_published", "rows_superseded", "rows_quarantined", "quality_score")
        )
        style = None if line["state"] == "in" else "yellow"
        table.add_row(line["feed"], line["state"], *map(_figure, figures), style=style)
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
