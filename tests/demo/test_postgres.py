"""The embedded PostgreSQL starts, stops, and touches nothing that is not its own."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from demo.errors import StackError
from demo.postgres import EmbeddedPostgres


def test_database_is_fresh_and_empty(database: str) -> None:
    """A test gets a database without any table."""
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert (0,) == tables


def test_data_survives_a_stop(tmp_path: Path) -> None:
    """What was written before a stop is there after the next start."""
    server = EmbeddedPostgres(tmp_path / "data")
    try:
        server.start()
        server.create_database("kept")
        server.stop()
        assert not server.is_running()
        server.start()
        psycopg.connect(server.dsn("kept")).close()
    finally:
        server.stop()


def test_start_replaces_a_half_made_data_folder_and_a_stale_pidfile(tmp_path: Path) -> None:
    """Leftovers of a start that was cut off do not stand in the way of the next."""
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(tmp_path / "data")
    try:
        server.start()
        server.stop()
        (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
        server.start()
        assert server.is_running()
    finally:
        server.stop()


def test_stop_leaves_a_foreign_process_alone(tmp_path: Path) -> None:
    """A pidfile with the pid of another program is not an order to end that program."""
    server = EmbeddedPostgres(tmp_path)
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert not server.is_running()
    server.stop()


def test_dsn_of_a_stopped_server_says_what_to_do(tmp_path: Path) -> None:
    """Without a server there is no address, but a hint."""
    with pytest.raises(StackError, match="make up"):
        EmbeddedPostgres(tmp_path).dsn()
