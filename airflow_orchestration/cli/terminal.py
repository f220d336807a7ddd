"""What all commands share: how they print, refuse, and show that they are still at work.

Exit codes: 0 done, 1 done and the answer is no (not published, nothing to merge, a decision differs), 2 refused,
3 a mistake of ours.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from traceback import format_exc
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.faults import MENDABLE

NO, REFUSED, BROKEN = 1, 2, 3
UNFOLDED = 1_000
"""Ours: columns where nobody looks: a pipe gets lines as long as they are."""

Command = Callable[[Namespace], None]
Item = TypeVar("Item")


def terminal(*, stderr: bool = False) -> Console:
    """Return a console for strangers' data: nothing is markup, and no character of a name controls the terminal."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else UNFOLDED
    console = Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)
    console.push_render_hook(_Plainly())
    return console


def tell(*what: Any) -> None:
    """Print lines, tables and views for a person. A line is never folded."""
    console = terminal()
    for one in what:
        console.print(one, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print for other programs, in ASCII."""
    print(json.dumps(value, indent=2))  # noqa: T201  # for other programs


def plain_table(*headings: str, title: str | None = None) -> Table:
    """Return a table in which a heading that begins with a blank is that of figures."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading.strip(), justify="right" if heading.startswith(" ") else "left")
    return table


def printable(text: str) -> str:
    r"""Write what controls a terminal as an escape; line breaks stay.

    >>> printable("a\x1b[2Jb\u202ec\nd")
    'a\\x1b[2Jb\\u202ec\nd'
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def refusing(command: Command) -> Command:
    """Print what is wrong with an input to standard error, and end with an exit code of its own."""
    return _ending(command, str)


def looking(command: Command) -> Command:
    """Refuse as `refusing` does, for a command that only shows something: nothing is said of changes."""
    return _ending(
        command, lambda error: error.to_who_looks() if isinstance(error, InputRefusedError) else str(error)
    )


def _ending(command: Command, words: Callable[[Exception], str]) -> Command:
    @wraps(command)
    def run(args: Namespace) -> None:
        try:
            command(args)
        except MENDABLE as error:
            terminal(stderr=True).print(words(error), style="red", soft_wrap=True)
            raise SystemExit(REFUSED) from error
        except Exception as error:  # Python would end with 1, which says that the answer is no
            terminal(stderr=True).print(format_exc(), soft_wrap=True)
            raise SystemExit(BROKEN) from error

    return run


def refused(subject: str, message: str, *, code: ProblemCode) -> InputRefusedError:
    """Return the refusal of an input for one reason."""
    return InputRefusedError(subject, [Problem(code=code, path="", message=message)])


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Refuse a file or folder of an option that can't be written."""
    try:
        yield
    except OSError as error:
        raise refused(
            option, f"{path} can't be written: {error.strerror or error}", code=ProblemCode.UNWRITABLE
        ) from None


@contextmanager
def at_work(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show on standard error that something takes its time, if that is a terminal; yield what counts steps done."""
    console = terminal(stderr=True)
    counted: Sequence[Any] = () if total is None else (BarColumn(), MofNCompleteColumn())
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *counted, TimeElapsedColumn())
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # else what goes into a pipe would be shown instead
        redirect_stderr=False,
    )
    with progress:
        task = progress.add_task(what, total=total)
        yield lambda steps: progress.advance(task, steps)


def tracked(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items, and show on standard error how many are done, if that is a terminal."""
    with at_work(what, total) as advance:
        for item in items:
            yield item
            advance(1)


class _Plainly(RenderHook):
    """Makes the text of everything printable, after it was laid out and before it gets its colours."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Plain(one) for one in renderables]


class _Plain:
    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
