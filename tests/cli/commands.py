"""Runs commands as Airflow's command line does."""

from __future__ import annotations

import json
from argparse import ArgumentParser

import pytest
from airflow.cli.cli_config import ActionCommand, GroupCommand
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli.commands import get_cli_commands


def all_commands() -> dict[str, ActionCommand]:
    """Every command by its words."""
    found: dict[str, ActionCommand] = {}
    for command in get_cli_commands()[0].subcommands:
        if isinstance(command, GroupCommand):
            found |= {f"{command.name} {one.name}": one for one in command.subcommands}  # type: ignore[misc]
        else:
            found[command.name] = command  # type: ignore[assignment]  # Airflow calls both `CLICommand`
    return found


def command(name: str, *options: str) -> None:
    """Run a command; raises `SystemExit` as it does."""
    found = all_commands()[name]
    parser = ArgumentParser()
    for argument in found.args:
        argument.add_to_parser(parser)
    found.func(parser.parse_args(options))


def exit_code(name: str, *options: str) -> int:
    """Run a command that ends with an exit code, and return that."""
    with pytest.raises(SystemExit) as ended:
        command(name, *options)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def airflow_connection(dsn: str) -> str:
    """The JSON of an Airflow connection to a database."""
    parts = conninfo_to_dict(dsn)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts["host"],
            "login": parts["user"],
            "schema": parts["dbname"],
        }
    )
