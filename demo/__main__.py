"""The local stack from the command line: `python -m demo run | up | down | status | airflow`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.markup import escape

from demo.errors import StackError
from demo.scenarios import PIPELINES, USUAL_SCENARIO
from demo.stack import DAEMONS, Stack

REPOSITORY = Path(__file__).resolve().parent.parent
INTERRUPTED = 128 + signal.SIGINT
PARTLY_UP, DOWN = 1, 3

PIPE_WIDTH = 1_000
"""Ours: columns where nobody looks, for a table loses what does not fit."""


def console(*, stderr: bool = False) -> Console:
    """Return a console that is as wide as its terminal, or as a table may be where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, stderr=stderr, width=width)


out = console()
err = console(stderr=True)


def up(stack: Stack, _: argparse.Namespace) -> int:
    """Start PostgreSQL and Airflow, and leave them running."""
    begun = time.monotonic()
    stack.up(lambda text: out.print(f"[dim]{time.monotonic() - begun:4.0f} s[/]  {text}"))
    show_access(stack)
    return 0


def run(stack: Stack, arguments: argparse.Namespace) -> int:
    """Start the stack if need be, and play a scenario; the stack stays up."""
    from demo.run import play  # noqa: PLC0415  # the other commands work without the package's own imports

    was_up = stack.is_up()
    begun = time.monotonic()
    try:
        stack.up(lambda text: out.print(f"[dim]{time.monotonic() - begun:4.0f} s[/]  {text}"))
        code = play(stack, arguments.scenario, out, arguments.pipeline)
    except KeyboardInterrupt:
        if was_up:
            raise StackError(f"Interrupted; the stack was up before and stays up: {stack.url}") from None
        stack.down()
        raise
    show_access(stack)
    return code


def down(stack: Stack, _: argparse.Namespace) -> int:
    """Stop all that `up` has started; the data stays."""
    stack.down()
    out.print("The stack is down.")
    return 0


def status(stack: Stack, _: argparse.Namespace) -> int:
    """Show which parts run: exit code 0 when all do, 1 when some do, 3 when none does."""
    running = stack.running()
    if not running:
        out.print("The stack is down. Start it with [bold]make up[/].")
        return DOWN
    for name in (*DAEMONS, "postgres"):
        out.print(f"{name:15}{'[green]runs[/]' if name in running else '[red]does not run[/]'}")
    if not stack.is_up():
        out.print("\nThe stack is not healthy; the logs are in", str(stack.home / "logs"))
        return PARTLY_UP
    show_access(stack)
    return 0


def airflow(stack: Stack, arguments: argparse.Namespace) -> int:
    """Run an `airflow` command against the stack, for example: airflow orchestration replay."""
    if "postgres" not in stack.running():
        raise StackError("The stack is down. Start it with: make up")
    command = [sys.executable, "-m", "airflow", *arguments.words]
    return subprocess.run(command, env=stack.environment(), check=False).returncode


def show_access(stack: Stack) -> None:
    """Tell a person how to get in, and how to stop it."""
    out.print(f"\n[bold green]Airflow is up[/] at [bold]{stack.url}[/]")
    out.print(f"User [bold]{stack.user}[/], password [bold]{stack.password}[/]")
    out.print(f"PostgreSQL: psql '{stack.warehouse_dsn}'", markup=False)
    out.print('Command line: make airflow ARGS="orchestration replay"', markup=False)
    out.print("Stop it with [bold]make down[/].")


Command = Callable[[Stack, argparse.Namespace], int]
COMMANDS: Mapping[str, Command] = MappingProxyType(
    {"run": run, "up": up, "down": down, "status": status, "airflow": airflow}
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home", type=Path, default=REPOSITORY / ".orchestration", help="folder of the stack"
    )
    common.add_argument(
        "--port",
        type=int,
        choices=range(1, 65536),
        metavar="PORT",
        default=8080,
        help="port of the Airflow UI (default: 8080)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        parser_of = commands.add_parser(name, help=command.__doc__, parents=[common])
        if name == "run":
            parser_of.add_argument("--pipeline", choices=PIPELINES, default="airports")
            parser_of.add_argument("--scenario", help="left out, the demo's usual one")
        if name == "airflow":
            parser_of.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    parsed = parser.parse_args(arguments)
    if parsed.command == "run":
        parsed.scenario = parsed.scenario or USUAL_SCENARIO[parsed.pipeline]
        if parsed.scenario not in PIPELINES[parsed.pipeline]:
            known = ", ".join(PIPELINES[parsed.pipeline])
            parser.error(f"{parsed.pipeline} has no scenario {parsed.scenario!r}; it has: {known}")
    return parsed


def main() -> int:
    """Run one command; errors become one clear message."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: nothing is left behind
    arguments = parse()
    stack = Stack(arguments.home, port=arguments.port, dags_folders=[REPOSITORY / "dags"])
    try:
        return COMMANDS[arguments.command](stack, arguments)
    except KeyboardInterrupt:
        err.print("\nInterrupted; what this command had started is stopped again.")
        return INTERRUPTED
    except StackError as error:
        err.print("[bold red]Error[/]", escape(str(error)))
        return 1


if __name__ == "__main__":
    sys.exit(main())
