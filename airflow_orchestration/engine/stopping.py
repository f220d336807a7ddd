"""Ends work on a feed before it is done, from another thread, and never in the middle of a file's name.

A thread can't be interrupted from outside without risk for whatever it is just doing. So the loops of the
engine look now and then whether they should stop, and DuckDB, which looks by itself, is told.
What is to be stopped stands in a context variable: loops and statements lie many calls deep, and none of the
calls between has a use for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event, Lock

import duckdb

from airflow_orchestration.exceptions import OrchestrationError


class StoppedError(OrchestrationError):
    """The work was stopped before it was done; nothing of it is kept."""


class Stop:
    """A request to stop, from any thread, for the work in a `stoppable` block."""

    def __init__(self) -> None:
        self._requested = Event()
        self._lock = Lock()
        self._connections: set[duckdb.DuckDBPyConnection] = set()

    @property
    def requested(self) -> bool:
        """Whether the work should stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask the work to stop. Ask again until it has: DuckDB forgets what it was told between statements."""
        self._requested.set()
        with self._lock:
            for connection in self._connections:
                connection.interrupt()

    @contextmanager
    def interrupting(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Let a request end the statements of an open connection; it must be closed after the block."""
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


_current: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Let this thread's work in the block be stopped; raises `StoppedError` when a request ended it.

    Whatever error ends the block after a request counts as stopped. A block that reaches its end is done,
    even when the request came meanwhile.
    """
    token = _current.set(stop)
    try:
        yield
    except Exception as error:
        if stop.requested:
            raise StoppedError from error
        raise
    finally:
        _current.reset(token)


def check_stop() -> None:
    """Raise `StoppedError` when the work around this call should stop."""
    stop = _current.get()
    if stop is not None and stop.requested:
        raise StoppedError


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let the statements of an open connection be ended with the work around this block."""
    stop = _current.get()
    if stop is None:
        yield
        return
    check_stop()
    with stop.interrupting(connection):
        yield
