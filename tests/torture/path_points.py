"""Where a fault can strike a task: before and after every statement and commit, and around every step of staging.

Nothing in the product knows of it. Each statement of the store and of publishing has a name in a .sql file, and the
connections of a tortured process look it up; so a statement that is new is tortured without being listed anywhere.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from psycopg import sql

from airflow_orchestration.engine import staging
from airflow_orchestration.storage.sql_file import FOLDER, statements

Reach = Callable[[str, "psycopg.Connection[Any] | None"], None]
"""Is told of each point that a process comes to."""
COMMIT = b"COMMIT"
_HOLE = re.compile(r"\{[a-z_]+\}")
_reach: list[Reach] = []


def install(reach: Reach) -> None:
    """Tell `reach` of every point of this process, and of the processes that it forks."""
    _reach.append(reach)
    _watch_staging()


def connect(conninfo: str) -> psycopg.Connection[Any]:
    """Open a connection whose statements are points."""
    return WatchedConnection.connect(conninfo, cursor_factory=WatchedCursor)


def at(point: str, connection: psycopg.Connection[Any] | None = None) -> None:
    """Be at a point."""
    for reach in _reach:
        reach(point, connection)


@cache
def names() -> Mapping[str, str]:
    """Every statement of the .sql files: its name and its text."""
    return {
        f"{file.name.removesuffix('.sql')}.{name}": text
        for file in sorted(FOLDER.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sql") and file.name != "schema.sql"
        for name, text in statements(file.name).items()
    }


@cache
def _known() -> tuple[Mapping[str, str], Sequence[tuple[str, str, re.Pattern[str]]]]:
    """The statements by their text; and the templates, longest first: how they begin, and what they look like filled in."""
    by_text = {text: name for name, text in reversed(names().items())}
    templates = [(name, text) for name, text in names().items() if _HOLE.search(text)]
    templates.sort(key=lambda named: -len(named[1]))
    return by_text, [(name, _HOLE.split(text)[0], _pattern(text)) for name, text in templates]


def warm_up() -> None:
    """Read the names once, for all processes that are forked later."""
    _known()


def _pattern(text: str) -> re.Pattern[str]:
    """A template's parts may be anything."""
    return re.compile(".*?".join(map(re.escape, _HOLE.split(text))), re.DOTALL)


@cache
def named(text: str) -> str:
    """The name of a statement; one that the catalog wrote is called by its first words."""
    by_text, templates = _known()
    if text in by_text:
        return by_text[text]
    for name, beginning, pattern in templates:
        if beginning and text.startswith(beginning) and pattern.match(text):
            return name
    return f"written.{'_'.join(re.findall('[A-Z]+', text)[:2]).lower()}"


def _text(query: Any, context: Any) -> str:
    if isinstance(query, sql.Composable):
        return query.as_string(context)
    return query.decode() if isinstance(query, bytes) else str(query)


class WatchedCursor(psycopg.Cursor[Any]):
    """Its statements are points."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        """Execute between two points."""
        name = named(_text(query, self))
        if name == "written.":  # the empty statement that asks whether the server is there
            return super().execute(query, params, **options)
        at(f"before {name}", self.connection)
        done = super().execute(query, params, **options)
        self.connection.last = name
        at(f"after {name}", self.connection)
        return done

    @contextmanager
    def copy(self, statement: Any, params: Any = None, **options: Any) -> Iterator[Any]:
        """Copy between two points, with one amid the rows."""
        name = named(_text(statement, self))
        at(f"before {name}", self.connection)
        with super().copy(statement, params, **options) as copy:
            write, rows = copy.write, 0

            def watched(data: Any) -> None:
                nonlocal rows
                write(data)
                rows += 1
                if rows == 1:
                    at(f"amid {name}", self.connection)

            copy.write = watched  # type: ignore[method-assign]  # one more point
            yield copy
        self.connection.last = name
        at(f"after {name}", self.connection)


class WatchedConnection(psycopg.Connection[Any]):
    """Its commits are points, named after the statement before."""

    last = "nothing"

    def _exec_command(self, command: Any, *arguments: Any, **options: Any) -> Any:
        if command != COMMIT:
            return (yield from super()._exec_command(command, *arguments, **options))
        at(f"before commit of {self.last}", self)
        done = yield from super()._exec_command(command, *arguments, **options)
        at(f"after commit of {self.last}", self)
        return done


class _Sink:
    """A file whose pieces are points."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        written = self._file.write(data[:half])
        self._file.flush()
        at("amid staging.write")
        return written + self._file.write(data[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Os:
    """The module `os` as staging sees it."""

    def fsync(self, descriptor: int) -> None:
        at("before staging.fsync")
        os.fsync(descriptor)
        at("after staging.fsync")

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _watch_staging() -> None:
    copy, replace = staging._copy, pathlib.Path.replace

    def watched_copy(source: Any, sink: Any) -> tuple[int, str]:
        at("before staging.write")
        done = copy(source, _Sink(sink))
        at("after staging.write")
        return done

    def watched_replace(self: pathlib.Path, target: Any) -> pathlib.Path:
        if self.suffix != ".partial":
            return replace(self, target)
        at("before staging.rename")
        done = replace(self, target)
        at("after staging.rename")
        return done

    staging._copy = watched_copy
    staging.os = _Os()  # type: ignore[assignment]  # what it uses of os is there
    pathlib.Path.replace = watched_replace  # type: ignore[method-assign,assignment]
