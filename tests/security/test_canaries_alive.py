"""Canaries are alive: each leaves its trace where one makes the mistake that it stands for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import psycopg
import pytest
from airflow.sdk.definitions._internal.templater import NativeEnvironment, SandboxedEnvironment
from jinja2.sandbox import SecurityError

from tests.security.canaries import (
    ENVIRONMENT,
    EXECUTED,
    FILE_NAME,
    FORMAT,
    INCLUDE,
    JINJA,
    JINJA_SECRET,
    MARKER,
    NAME,
    NATIVE,
    PADDED,
    PASSWORDS,
    PATH,
    PAYLOADS,
    PERCENT,
    PLANTED,
    PWNED,
    SHELL,
    SQL,
    SQL_NAME,
    SQL_VALUE,
    TEXT,
    VARIABLE,
    VARIABLES,
)

OF_A_TASK = {
    "conn": SimpleNamespace(warehouse=SimpleNamespace(password=PASSWORDS["warehouse"])),
    "var": SimpleNamespace(value=SimpleNamespace(api_key=VARIABLE)),
}
"""What Airflow lets a template of a task see."""


@pytest.fixture
def database(migrated: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with the schema in which a statement makes its table."""
    with psycopg.connect(migrated, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA canary")
        yield connection


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[type[jinja2.Environment]], jinja2.Environment]:
    """Makes an environment as Airflow makes it for a Dag, whose folder has the planted file."""
    (tmp_path / PLANTED).write_text(MARKER)
    return lambda kind: kind(loader=jinja2.FileSystemLoader(tmp_path), undefined=jinja2.StrictUndefined)


Environment = Callable[[type[jinja2.Environment]], jinja2.Environment]
KINDS = [SandboxedEnvironment, NativeEnvironment]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [JINJA, NAME, TEXT])
def test_a_template_is_computed(environment: Environment, kind: type[jinja2.Environment], text: str) -> None:
    """Alone, in a name, and in the midst of all the others: whatever a template may see."""
    for seen in ({}, OF_A_TASK):
        assert EXECUTED in str(environment(kind).from_string(text).render(seen))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [JINJA_SECRET, TEXT])
def test_a_template_tells_secrets(
    environment: Environment, kind: type[jinja2.Environment], text: str
) -> None:
    """Of a connection and a variable, where Airflow's context is there."""
    rendered = str(environment(kind).from_string(text).render(OF_A_TASK))
    assert [] == [secret for secret in (PASSWORDS["warehouse"], VARIABLE) if secret not in rendered]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [INCLUDE, TEXT])
def test_a_template_includes_a_file(
    environment: Environment, kind: type[jinja2.Environment], text: str
) -> None:
    """Any file of the Dag's folder."""
    assert MARKER in str(environment(kind).from_string(text).render())


def test_a_native_template_runs_a_command(environment: Environment) -> None:
    """What is rendered natively has no sandbox around it; what is in one is quiet, and doesn't hide the others."""
    assert EXECUTED in str(environment(NativeEnvironment).from_string(NATIVE).render())
    assert not environment(SandboxedEnvironment).from_string(NATIVE).render()
    bare = NATIVE[NATIVE.index("{{") : NATIVE.index("}}") + 2]
    with pytest.raises(SecurityError):
        environment(SandboxedEnvironment).from_string(bare).render()


@pytest.mark.parametrize(
    "command",
    [f"echo {SHELL}", f'echo "{SHELL}"', f'cat "landing/{FILE_NAME}"', f"echo {TEXT}", f'echo "{TEXT}"'],
)
def test_a_command_makes_a_file(tmp_path: Path, command: str) -> None:
    """Where a shell gets the text as a part of what it does, quoted or not."""
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, check=False, capture_output=True)
    assert (tmp_path / PWNED).exists()


@pytest.mark.parametrize("text", [SQL, NAME, FILE_NAME, TEXT])
def test_a_statement_makes_a_table(database: psycopg.Connection[Any], text: str) -> None:
    """Where a text stands between quotes that somebody else wrote."""
    database.execute(f"SELECT '{text}'".encode())
    assert (int(EXECUTED),) == database.execute(f"SELECT trace FROM canary.{PWNED}").fetchone()


def test_a_name_makes_a_table(database: psycopg.Connection[Any]) -> None:
    """Where it stands between double quotes."""
    database.execute(f'SELECT 1 AS "a{SQL_NAME}'.encode())
    assert (int(EXECUTED),) == database.execute(f"SELECT trace FROM canary.{PWNED}").fetchone()


def test_a_value_is_computed(database: psycopg.Connection[Any]) -> None:
    """By PostgreSQL, and by the engine."""
    statement = f"SELECT '{SQL_VALUE}'"
    assert (EXECUTED,) == database.execute(statement.encode()).fetchone()
    assert (EXECUTED,) == duckdb.connect().execute(statement).fetchone()


def test_a_path_leads_to_a_file(tmp_path: Path) -> None:
    """Out of any folder beside it."""
    (tmp_path / PLANTED).write_text(MARKER)
    (tmp_path / "landing").mkdir()
    assert MARKER == (tmp_path / "landing" / PATH).read_text()


@pytest.mark.parametrize("text", [VARIABLES, TEXT])
def test_a_variable_is_looked_up(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """In the environment of the process."""
    monkeypatch.setenv("CANARY_ENVIRONMENT", ENVIRONMENT)
    assert ENVIRONMENT in os.path.expandvars(text)


def test_a_format_is_filled_in() -> None:
    """By either way of formatting."""
    assert PADDED in FORMAT.format("anything")
    assert PASSWORDS["warehouse"] in PERCENT % {"password": PASSWORDS["warehouse"]}


def test_no_canary_sings_by_itself() -> None:
    """No trace stands in a payload: what is told as it was written is no finding."""
    assert [] == [
        (payload, trace)
        for payload in (*PAYLOADS, TEXT)
        for trace in (EXECUTED, MARKER, PADDED, ENVIRONMENT, VARIABLE, *PASSWORDS.values())
        if trace in payload
    ]
