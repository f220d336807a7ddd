"""The demo of the airport lists: where they go, and some of the published rows."""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row
from rich.console import Console

from demo.stack import Stack

SHOWN_AIRPORTS = ("FRA", "JFK", "LHR", "NRT", "SYD")
SAMPLE = """
SELECT iata, name, latitude, longitude, _primary_source, _sources, _attribution, _confidence
FROM reference.airport WHERE iata = ANY(%s) ORDER BY iata
"""


def prepare(stack: Stack) -> None:
    """Create the schema of the published table."""
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS reference")


def show(dsn: str, out: Console) -> None:
    """Print some rows with the source of their position, and who else has them."""
    out.print("\n[bold]Some published rows[/]")
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        for row in connection.execute(SAMPLE, [list(SHOWN_AIRPORTS)]):
            out.print(f"{row['iata']}  {row['name']}  {row['latitude']:.4f}, {row['longitude']:.4f}")
            others = ", ".join(source for source in row["_sources"] if source != row["_primary_source"])
            agreement = row["_confidence"]["latitude"] * 100
            out.print(
                f"     position from {row['_attribution']['latitude']}; {agreement:.0f} % agree; also in {others}"
            )
