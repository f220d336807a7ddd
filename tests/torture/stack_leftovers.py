"""Is anything left behind when everybody has settled, and the clean-up that the product promises has been done?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from airflow_orchestration.hooks.outside import staging_area
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.target_pruning import TargetPruning
from airflow_orchestration.workflow.pruning import LEAST_AGE, Terms, prune

AT_ONCE = timedelta(0)
"""Everybody has ended: what is left now is left for good."""
PLACE = 5
"""A staged file is named by so many parts of its address, however its root is written."""
LIVE_LEASES = "SELECT 'a live lease of ' || holder AS what FROM orchestration.lease WHERE expires_at > clock_timestamp()"
SESSIONS = """
SELECT format('a session, %s, %s', application_name, state) AS what FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^orchestration publish ' AND pid <> pg_backend_pid()"""
SCRATCH = """
SELECT 'the private table ' || relname AS what FROM pg_class
WHERE relkind IN ('r', 'p') AND (relnamespace = 'orchestration_scratch'::regnamespace OR relname ~ '^[opqt]_[0-9]+_')"""
LEASES = "SELECT 'a lease of ' || holder AS what FROM orchestration.lease"
REGISTERED = """
SELECT unnest(ARRAY[staged_uri, quarantine_uri]) AS uri FROM orchestration.feed_outcome
UNION SELECT staged_uri FROM orchestration.merge"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What stayed although nothing may, and how much there was to clean up."""

    problems: tuple[str, ...]
    tables: int
    leases: int
    files: int


def look_for_leftovers(dsn: str, staging: Path) -> Leftovers:
    """Look what lives on, clean up as `airflow orchestration prune` does, and look what is there still."""

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(dsn)

    with closing(psycopg.connect(dsn, autocommit=True, row_factory=dict_row)) as connection:
        alive = _told(connection, (LIVE_LEASES, SESSIONS))
        tables, leases = (len(list(connection.execute(query))) for query in (SCRATCH, LEASES))
        files = sum(1 for _ in _unregistered(connection, staging))
        with PostgresStore(connect) as store:
            swept = prune(store, staging_area, Terms(age=LEAST_AGE, quiet=AT_ONCE)).swept
        TargetPruning(connect).drop_scratch(AT_ONCE)
        left = _told(connection, (SCRATCH, LEASES))
        strays = [
            f"the staged file {path.relative_to(staging)}" for path in _unregistered(connection, staging)
        ]
        gone = [f"{path} is registered, and is not there" for path in _missing(connection)]
    refused = [f"{root} could not be swept: {why}" for root, why in swept.refused.items()]
    problems = [f"left behind: {what}" for what in (*alive, *left, *strays)]
    return Leftovers(problems=(*problems, *gone, *refused), tables=tables, leases=leases, files=files)


Connection = psycopg.Connection[dict[str, Any]]


def _told(connection: Connection, queries: Sequence[str]) -> list[str]:
    return [row["what"] for query in queries for row in connection.execute(query).fetchall()]


def _registered(connection: Connection) -> set[str]:
    return {row["uri"] for row in connection.execute(REGISTERED) if row["uri"] is not None}


def _unregistered(connection: Connection, staging: Path) -> Iterator[Path]:
    known = {_place(uri) for uri in _registered(connection)}
    for path in sorted(staging.rglob("*")):
        if path.is_file() and _place(str(path)) not in known:
            yield path


def _place(uri: str) -> tuple[str, ...]:
    return tuple(uri.split("/")[-PLACE:])


def _missing(connection: Connection) -> Iterator[str]:
    yield from sorted(uri for uri in _registered(connection) if not Path(uri).exists())
