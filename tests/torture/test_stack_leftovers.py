"""What is left behind is found, and what the clean-up takes away is not held against anybody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg

from tests.torture.stack_leftovers import look_for_leftovers

LEASE = """
INSERT INTO orchestration.lease (holder, tenant, cpu_millicores, memory_mb, connections, epoch, asked_at, unserved_since, expires_at)
VALUES (%s, 'north', 1, 1, 0, 1, clock_timestamp(), clock_timestamp(), clock_timestamp() + %s)"""
OUTCOME = """
INSERT INTO orchestration.feed_outcome (
    dag_id, run_id, round, feed_id, epoch, branch_id, status, elapsed_seconds, cluster_utilization, rows_in, rows_staged,
    rows_quarantined, rows_out_of_scope, quality_score, staged_uri, staged_sha256, staged_bytes, staged_rows)
VALUES ('north', 'run', 1, 'main', 1, 'b1', 'success', 1, 0, 0, 0, 0, 0, 1, %s, '', 0, 0)"""


def do(dsn: str, query: str, *values: object) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(query, values)


def test_nothing_is_found_where_nothing_is(migrated: str, tmp_path: Path) -> None:
    """A new store and no file are in order."""
    found = look_for_leftovers(migrated, tmp_path)

    assert ((), 0, 0, 0) == (found.problems, found.tables, found.leases, found.files)


def test_what_lives_on_is_a_violation_and_what_has_expired_is_cleaned_up(
    migrated: str, tmp_path: Path
) -> None:
    """A lease that has run out is nobody's; one that has not is somebody's who should have ended."""
    do(migrated, LEASE, "agent-1", timedelta(hours=1))
    do(migrated, LEASE, "agent-2", timedelta(seconds=-1))
    found = look_for_leftovers(migrated, tmp_path)

    assert 2 == found.leases
    assert (
        "left behind: a live lease of agent-1",
        "left behind: a lease of agent-1",
    ) == found.problems


def test_a_private_table_that_stays_is_a_violation(migrated: str, tmp_path: Path) -> None:
    """Nobody knows whose it is, so the clean-up leaves it."""
    do(migrated, "CREATE TABLE orchestration_scratch.p_7_0123456789abcdef (code text)")
    found = look_for_leftovers(migrated, tmp_path)

    assert ("left behind: the private table p_7_0123456789abcdef",) == found.problems
    assert 1 == found.tables


def test_a_file_that_nobody_registered_is_a_violation(migrated: str, tmp_path: Path) -> None:
    """Neither may a registered one be gone."""
    folder = tmp_path / "north" / "run" / "r1" / "main"
    folder.mkdir(parents=True)
    (folder / "e2-rows.parquet").touch()
    do(migrated, OUTCOME, str(folder / "e1-rows.parquet"))
    found = look_for_leftovers(migrated, tmp_path)

    assert (
        "left behind: the staged file north/run/r1/main/e2-rows.parquet",
        f"{folder / 'e1-rows.parquet'} is registered, and is not there",
    ) == found.problems
    assert 1 == found.files
