"""What was done to a run that has settled, and all that there is of it: read by SQL of its own, judged elsewhere."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from tests.torture.world import Extra, Shape, Table, World

SETTLING_SECONDS = 10.0
"""How long the server may take to notice that a client is gone."""
LATE = (Shape.LATE, Shape.REPAIRED)

Rows = list[dict[str, Any]]


@dataclass
class Story:
    """What was done to a run, as far as the truth depends on it."""

    left_out: set[str] = field(default_factory=set)
    """Tables to which the run has brought nothing."""
    redelivered: set[str] = field(default_factory=set)
    """Feeds whose file was exchanged for another version while their task was tried again."""
    opened: dict[int, datetime] = field(default_factory=dict)
    """When each round was first seen open: nothing may move that."""
    shortened: set[int] = field(default_factory=set)
    """Rounds whose deadline the harness has let come."""
    altered: set[str] = field(default_factory=set)
    """Staged files that the harness has spoiled."""

    @property
    def is_published(self) -> bool:
        """Whether the run has brought rows to all its tables."""
        return not self.left_out


@dataclass
class Found:
    """All that there is to judge, read in one go."""

    tables: dict[str, list[tuple[Any, ...]]]
    quarantined: Rows
    ledger: Rows
    ledger_feeds: Rows
    outcomes: Rows
    merges: Rows
    rounds: Rows
    points: Rows
    decisions: Rows
    timeline: Rows
    runs: Rows
    claims: Rows
    ranges: Rows
    records: Rows
    left: list[str]


IN_TARGET: Mapping[str, LiteralString] = {
    "quarantined": "SELECT * FROM orchestration.quarantined_row",
    "ledger": "SELECT * FROM orchestration.publish_ledger ORDER BY version",
    "ledger_feeds": "SELECT * FROM orchestration.publish_ledger_feed",
}
IN_STORE: Mapping[str, LiteralString] = {
    "outcomes": "SELECT * FROM orchestration.feed_outcome ORDER BY round",
    "merges": "SELECT * FROM orchestration.merge ORDER BY round",
    "rounds": "SELECT * FROM orchestration.round ORDER BY round",
    "points": "SELECT * FROM orchestration.sync_point ORDER BY round",
    "decisions": "SELECT * FROM orchestration.decision ORDER BY id",
    "timeline": "SELECT * FROM orchestration.timeline ORDER BY id",
    "runs": "SELECT * FROM orchestration.run",
    "claims": """
        SELECT dag_id, run_id, round, unit, epoch, try_number, ti_id, process, lease_until::text,
               lease_until - claimed_at > interval '61 seconds' AS is_too_long
        FROM orchestration.claim""",
    "ranges": "SELECT * FROM orchestration.stream_range",
}
RECORDS: LiteralString = (
    "SELECT payload ->> 'row_id' AS row_id, transaction::text::bigint AS transaction, id FROM public.outbox"
)
ROWS: Mapping[str, LiteralString] = {
    name: f"SELECT code, day, size, name, row_id, _primary_source, _sources, _run_id FROM {name} ORDER BY code, day, row_id"
    for name in ("public.things", "public.items")
}
EVERY_TABLE: LiteralString = """
    SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class
    WHERE relkind IN ('r', 'p') AND NOT relispartition
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)"""
LEFT: LiteralString = r"""
    SELECT format('table %s.%s', relnamespace::regnamespace, relname) FROM pg_class
    WHERE relkind IN ('r', 'p') AND (relnamespace = 'orchestration_scratch'::regnamespace OR relname ~ '^[opqt]_[0-9]+_')
    UNION ALL
    SELECT format('lease of %s', holder) FROM orchestration.lease"""
SESSIONS: LiteralString = """
    SELECT format('session %s, %s', application_name, state) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


def read(store: psycopg.Connection[Any], target: psycopg.Connection[Any], world: World) -> Found:
    """Read everything, once the sessions of the dead are gone."""
    left = [*_left(store), *(() if store.info.dbname == target.info.dbname else _left(target))]
    with store.cursor(row_factory=dict_row) as cursor:
        found = {name: cursor.execute(query).fetchall() for name, query in IN_STORE.items()}
        records = cursor.execute(RECORDS).fetchall() if world.extra is Extra.STREAM else []
    with target.cursor(row_factory=dict_row) as cursor:
        found |= {name: cursor.execute(query).fetchall() for name, query in IN_TARGET.items()}
    tables = {table.name: rows_of(target, table) for table in world.tables}
    return Found(tables=tables, left=left, records=records, **found)


def rows_of(connection: psycopg.Connection[Any], table: Table) -> list[tuple[Any, ...]]:
    """What a target table holds; nothing where there is none."""
    try:
        return connection.execute(ROWS[table.name]).fetchall()
    except psycopg.errors.UndefinedTable:
        return []


IN_HAND = "in hand"
"""What is told of a private table that who was stopped has locked: it is nobody else's."""


def digest(*databases: str) -> dict[str, str]:
    """What each table of these databases holds, in short: to see whether somebody changes anything."""
    return {
        f"{number}.{name}": told
        for number, dsn in enumerate(dict.fromkeys(databases))
        for name, told in _digest(dsn).items()
    }


def _digest(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '3s'")
        names = sorted(row[0] for row in connection.execute(EVERY_TABLE))
        return {name: _content(connection, name) for name in names}


def _content(connection: psycopg.Connection[Any], name: str) -> str:
    try:
        lines = sorted(
            row[0] for row in connection.execute(f"SELECT rows::text FROM {name} AS rows".encode())
        )
    except psycopg.errors.LockNotAvailable:
        if not name.startswith("orchestration_scratch."):
            raise
        return IN_HAND
    return hashlib.sha256(repr(lines).encode()).hexdigest()


def _left(connection: psycopg.Connection[Any]) -> list[str]:
    patience = time.monotonic() + SETTLING_SECONDS
    while True:
        sessions = [f"left behind: {row[0]}" for row in connection.execute(SESSIONS)]
        if not sessions or time.monotonic() > patience:
            return [*sessions, *(f"left behind: {row[0]}" for row in connection.execute(LEFT))]
        time.sleep(0.05)


def differ(what: str, expected: object, found: object) -> Iterator[str]:
    if expected != found:
        yield f"{what}: expected {_short(expected)}, found {_short(found)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"


def orphans(dsn: str, world: World) -> list[Path]:
    """The staged files that nothing has registered: left by executions that died or were overtaken."""
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        rows = [row for name in ("outcomes", "merges") for row in cursor.execute(IN_STORE[name]).fetchall()]
    known = {row.get(f"{kind}_uri") for row in rows for kind in ("staged", "quarantine")}
    return [path for path in sorted(world.staging.rglob("*")) if path.is_file() and str(path) not in known]
