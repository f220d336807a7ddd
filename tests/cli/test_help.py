"""Every command says what it does, and how it is written."""

from __future__ import annotations

import io
import re
from argparse import ArgumentParser
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from airflow.cli.cli_parser import _add_command

from airflow_orchestration.cli.commands import get_cli_commands
from tests.cli.commands import all_commands

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = sorted(all_commands())


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    """Airflow's own parser of our group."""
    made = ArgumentParser(prog="airflow")
    commands = made.add_subparsers()
    _add_command(commands, get_cli_commands()[0])
    return made


def helped(parser: ArgumentParser, *words: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        parser.parse_args(["orchestration", *words, "--help"])
    assert 0 == ended.value.code
    return " ".join(printed.getvalue().split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example_that_works(parser: ArgumentParser, name: str) -> None:
    """What it does, an example that its own parser takes, and a word about every argument."""
    command = all_commands()[name]
    printed = helped(parser, *name.split())
    assert command.help
    assert " ".join(command.help.split()) in printed
    assert all(argument.kwargs.get("help") for argument in command.args)
    words = re.fullmatch(r"Example: airflow orchestration (.*)", command.epilog or "")
    assert words
    assert words[1].startswith(name)
    assert hasattr(parser.parse_args(["orchestration", *_split(words[1])]), "func")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_program_can_read_what_a_command_prints(name: str) -> None:
    """`--output json`; `try` writes its manifest into a folder instead."""
    outputs = [one for one in all_commands()[name].args if "--output" in one.flags]
    assert [("table", "json")] == [one.kwargs.get("choices") for one in outputs] or name == "try"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_docs(name: str) -> None:
    """With its words, somewhere a person would look."""
    pages = [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]
    assert any(f"orchestration {name}" in page.read_text() for page in pages)


def test_the_group_has_help(parser: ArgumentParser) -> None:
    """It names its commands."""
    printed = helped(parser)
    assert all(name.split()[0] in printed for name in COMMANDS)


def _split(text: str) -> list[str]:
    return re.sub(r"'([^']*)'", lambda quoted: quoted[1].replace(" ", ""), text).split()
