"""The demo of the flights: an application writes departures to its outbox, and what became of them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping

import psycopg
from rich.console import Console
from rich.table import Table

from demo.scenarios import SHIPPED
from demo.stack import Stack

DEPARTURES = "departures.csv.gz"
OUTBOX = """
CREATE TABLE IF NOT EXISTS public.departure_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    payload jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS departure_event_in_order ON public.departure_event (transaction, id);
TRUNCATE public.departure_event
"""
WORST_DAYS = """
SELECT carrier, to_char(day, 'FMDD Mon'), flights, cancelled, mean_delay, median_delay, worst_delay, aircraft, wind, sight
FROM flights.delay, LATERAL (
    SELECT max(wind_kmh) AS wind, min(visibility_km) AS sight
    FROM flights.weather WHERE (hour - interval '5 hours')::date = day) AS weather
WHERE flights >= 20 ORDER BY mean_delay DESC NULLS LAST, carrier, day LIMIT 6
"""
CARRIERS = """
SELECT carrier, days, flights, cancelled, usual_delay, worst_day, spread
FROM flights.delay_quality WHERE flights >= 500 ORDER BY usual_delay DESC
"""
PUT_ASIDE = """
SELECT feed_id, column_name, rule, reason, raw FROM orchestration.quarantined_row
WHERE publication_key = (SELECT publication_key FROM orchestration.publish_ledger WHERE dag_id = 'flights'
                         ORDER BY published_at DESC LIMIT 1)
ORDER BY feed_id, position LIMIT 3
"""


def prepare(stack: Stack) -> None:
    """Create the schema of the published tables, and let the application write a month of departures."""
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS flights")
    with psycopg.connect(stack.operations_dsn) as connection:
        connection.execute(OUTBOX)
        with connection.cursor().copy("COPY public.departure_event (payload) FROM STDIN") as copy:
            for event in departures():
                copy.write_row([json.dumps(event)])


def departures() -> Iterator[Mapping[str, str | int | None]]:
    """The events as an application writes them: numbers are numbers, and what is not known is null."""
    with gzip.open(SHIPPED / DEPARTURES, "rt") as file:
        for row in csv.DictReader(file):
            yield {name: _value(text) for name, text in row.items()}


def _value(text: str) -> str | int | None:
    if text == "NA":
        return None
    return int(text) if text.lstrip("-").isdigit() else text


def show(dsn: str, out: Console) -> None:
    """Print the worst days, the carriers, and what was put aside."""
    with psycopg.connect(dsn) as connection:
        _print(
            out,
            "The worst days of a carrier: delays in minutes, and the weather in km/h and km",
            (
                "carrier",
                "day",
                "flights",
                "cancelled",
                "mean",
                "median",
                "worst",
                "planes",
                "wind",
                "sight",
            ),
            connection.execute(WORST_DAYS).fetchall(),
        )
        _print(
            out,
            "The carriers: the usual day, the worst day, and how far the days differ",
            ("carrier", "days", "flights", "cancelled", "usual", "worst", "spread"),
            connection.execute(CARRIERS).fetchall(),
        )
        for feed, column, rule, reason, raw in connection.execute(PUT_ASIDE):
            out.print(f"\n[bold]Put aside[/] from {feed}: {column} breaks {rule}. {reason}", soft_wrap=True)
            out.print(f"  {raw}", markup=False, soft_wrap=True)


def _print(out: Console, title: str, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    out.print(f"\n[bold]{title}[/]")
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(f"{value:,.1f}" if isinstance(value, float) else str(value) for value in row))
    out.print(table)
