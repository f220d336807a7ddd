"""How a command of ours is made."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable

from airflow.cli.cli_config import ActionCommand, Arg, lazy_load_command

A_RUN = "airport_reference/manual__2026-11-23"
"""Stands in examples."""


def action(name: str, text: str, func: str, *args: Arg, example: str, more: str = "") -> ActionCommand:
    """Return a command that finds connections, with an example in its help.

    :param example: what follows `airflow orchestration` on the command line.
    :param more: sentences for the command's own help: what it prints as JSON, its exit codes.
    """
    return ActionCommand(
        name=name,
        help=text,
        description=f"{text}. {more}".strip(),
        epilog=f"Example: airflow orchestration {example}",
        func=as_server(func),
        args=args,
    )


def as_server(path: str) -> Callable[[Namespace], None]:
    """Load a command when it is called, and let it find the connections that Airflow's database keeps.

    Airflow tells only its servers, and its own commands about connections, to look there.
    """
    command = lazy_load_command(path)

    def run(args: Namespace) -> None:
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
        command(args)

    return run
