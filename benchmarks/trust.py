"""Does trust beat the vote? On the airport lists, and on drawn sets whose sources copy, guess or know little.

`python -m benchmarks trust` shows all. On a set of your own: `airflow orchestration try-trust --claims F --labels F`,
which is the same code, or `python -m benchmarks.trust --claims F --labels F`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from airflow_orchestration.insights.trust_trial import Cell, Claim, read_claims, read_labels, try_trust
from benchmarks.trust_airports import airports
from benchmarks.trust_sets import SETS, drawn

SHARES = (0.0, 0.01, 0.1)
HEADINGS = (
    "set",
    "claims",
    "labels",
    "vote",
    "trust",
    "points",
    "best possible",
    "calibration error",
    "way",
    "s",
)


def main() -> None:
    """Judge vote and trust on every set, with labels for none, one and ten of a hundred keys."""
    table = _table()
    claims, labels = airports()
    for attribute in (None, "timezone", "latitude", "longitude", "elevation", "icao"):
        chosen = [one for one in claims if attribute in {None, one.cell[1]}]
        _add(table, f"airports, {attribute or 'all'}", chosen, labels)
    for name, made in SETS.items():
        _add(table, name, *drawn(made))
    Console(width=140).print(table)


def _table() -> Table:
    table = Table(title="Exact accuracy on cells whose label was not learned from", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in {"set", "way"} else "right")
    return table


def _add(table: Table, name: str, claims: Sequence[Claim], labels: dict[Cell, str]) -> None:
    for share in SHARES:
        started = time.perf_counter()
        found = try_trust(claims, labels, tolerance={}, probes=share, seed=1)
        table.add_row(
            name,
            f"{len(claims):,}",
            f"{share:.0%}",
            f"{found.vote_accuracy:.3f}",
            f"{found.trust_accuracy:.3f}",
            f"{100 * (found.trust_accuracy - found.vote_accuracy):+.1f}",
            f"{found.best_possible:.3f}",
            f"{found.calibration_error:.3f}",
            found.model.method,
            f"{time.perf_counter() - started:.1f}",
        )


def own() -> None:
    """Judge vote and trust on claims of the caller's own."""
    parser = argparse.ArgumentParser(description=own.__doc__)
    parser.add_argument("--claims", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    given = parser.parse_args()
    table = _table()
    _add(table, given.claims.name, read_claims(given.claims), read_labels(given.labels))
    Console(width=140).print(table)


if __name__ == "__main__":
    own()
