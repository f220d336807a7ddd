"""What a stranger's text may do to a terminal: nothing; and what becomes of errors and progress."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from airflow_orchestration.cli.terminal import (
    REFUSED,
    at_work,
    plain_table,
    refusing,
    tell,
    tracked,
    writing,
)
from airflow_orchestration.exceptions import FencedError, InputRefusedError, OrchestrationError

EVIL = "\x1b[2J\x1b]0;x\x07[bold red]:smile:\u202e\x9b31m"


@pytest.mark.parametrize("on_terminal", [False, True])
def test_no_text_controls_the_terminal(
    *, on_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In lines, cells, headings and titles: escapes are written out, and markup is text."""
    if on_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    table = plain_table("name", EVIL, title=EVIL)
    table.add_row(EVIL, "x", style="red")
    tell(EVIL, table)
    printed = capsys.readouterr().out
    assert 4 == printed.count(r"\x1b[2J\x1b]0;x")
    assert 4 == printed.count(r"[bold red]:smile:\u202e\x9b31m")
    assert on_terminal is ("\x1b[31m" in printed)
    assert not any(evil in printed for evil in ("\x1b[2J", "\x1b]", "\x9b", "\u202e", "\x07"))


def test_a_pipe_gets_lines_as_long_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is folded or cut where nobody looks."""
    monkeypatch.delenv("COLUMNS", raising=False)
    table = plain_table("name")
    table.add_row("x y " * 60)
    tell(table)
    assert 2 == len(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    "error",
    [
        OrchestrationError("bad \x1b[2J[red]"),
        FencedError("bad \x1b[2J[red]"),
        psycopg.OperationalError("bad \x1b[2J[red]"),
        errors.InsufficientPrivilege("bad \x1b[2J[red]"),
    ],
)
def test_what_a_person_can_mend_is_told_on_standard_error(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a traceback, with an exit code of its own, and beside what other programs read."""

    def command(_: Namespace) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        refusing(command)(Namespace())
    assert REFUSED == ended.value.code
    assert ("", "bad \\x1b[2J[red]\n") == capsys.readouterr()


def test_a_mistake_of_ours_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """It has an exit code of its own, which no command uses for a "no", and a traceback that controls nothing."""

    def command(_: Namespace) -> None:
        raise errors.UndefinedTable("gone \x1b[2J[red]")

    with pytest.raises(SystemExit) as ended:
        refusing(command)(Namespace())
    printed = capsys.readouterr().err
    assert (3, True) == (ended.value.code, "Traceback" in printed)
    assert r"gone \x1b[2J[red]" in printed


def test_progress_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Where standard error is no terminal nothing is shown, and everything is done."""
    with at_work("Working"):
        assert [0, 1, 2] == list(tracked(range(3), "Counting", 3))
    assert ("", "") == capsys.readouterr()


def test_progress_never_goes_into_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal it is shown on standard error; what is printed meanwhile stays on standard output."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with at_work("Working", total=2) as advance:
        advance(1)
        tell("a result")
    printed = capsys.readouterr()
    assert "a result\n" == printed.out
    assert "Working" in printed.err


def test_a_path_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    """With the option and the path."""
    with (
        pytest.raises(InputRefusedError, match=r"--csv: 1 problem.*\n.*can't be written"),
        writing("--csv", tmp_path),
    ):
        tmp_path.write_text("x")
