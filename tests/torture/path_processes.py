"""Executions of tasks, each a process of its own, and what a fault does to one of them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import signal
import socket
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, Self

import psycopg

from airflow_orchestration.exceptions import OrchestrationError
from tests.torture import path_points
from tests.torture.path_tasks import FINAL, TASKS, Bench, Start

SECOND = " again"
"""Ends the name of a point that is to be met when it is come to for the second time."""

STUCK_SECONDS = 40.0
"""No execution may take so long: it waits at most 10 s for a lock of a stopped process, and works for less than a second."""
SPLIT_SECONDS = 0.3
"""How long an attempt is given to be beside its successor, at most."""


class Kind(StrEnum):
    """What goes wrong."""

    KILL = "kill"
    """SIGKILL of the task, at a point."""
    KILL_WORK = "kill_work"
    """SIGKILL of the process that works on a batch for its task."""
    KILL_SOON = "kill_soon"
    """SIGKILL at a moment that nobody chose."""
    STOP = "stop"
    """SIGSTOP, a successor that finishes, SIGCONT: a zombie."""
    ABANDON = "abandon"
    """SIGSTOP on the last try: the run ends without it, then SIGCONT."""
    OVERLAP = "overlap"
    """Airflow takes the attempt for dead and starts the next one while it goes on: its supervisor alone is gone."""
    DOUBLE = "double"
    """The same attempt is started twice."""
    TERMINATE = "terminate"
    """The server ends the connection."""
    CUT = "cut"
    """The connection is gone before the request is sent."""
    LOSE = "lose"
    """The server does what it was asked, and its answer is lost."""
    RESTART = "restart"
    """PostgreSQL stops as if its machine had, and comes back."""
    FULL = "full"
    """No space is left for what is staged, at a point."""
    LIMIT = "limit"
    """No file of the task can be larger than some kilobytes."""
    FLIP = "flip"
    """A bit of a staged file is another one when it is read."""
    REWRITE = "rewrite"
    """A staged file holds other rows, properly written, when it is read."""
    SWALLOW = "swallow"
    """A trigger of the target table keeps rows out without a word."""


STATEMENT_KINDS = (
    Kind.KILL,
    Kind.STOP,
    Kind.ABANDON,
    Kind.OVERLAP,
    Kind.TERMINATE,
    Kind.CUT,
    Kind.LOSE,
    Kind.RESTART,
)
STAGING_KINDS = (Kind.KILL, Kind.KILL_WORK, Kind.STOP, Kind.OVERLAP, Kind.FULL)
ALTERING = (Kind.FLIP, Kind.REWRITE, Kind.SWALLOW)
"""What no retry can get over: a person has to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of one execution: of the first one of a unit, named `<round>/<unit>`, with `+` when it resumes."""

    unit: str
    kind: Kind
    point: str = ""

    @property
    def place(self) -> str:
        """The point, whichever time it is come to."""
        return self.point.removesuffix(SECOND)

    def __str__(self) -> str:
        return f"{self.unit} {self.kind} {self.point}".rstrip()

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `str` wrote."""
        unit, kind, *point = text.strip().split(maxsplit=2)
        return cls(unit=unit, kind=Kind(kind), point=point[0] if point else "")


class Striker:
    """Is told of each point in the tortured process, and lets the fault strike once."""

    def __init__(self, fault: Fault | None, channel: socket.socket, dsn: str, *, records: bool) -> None:
        self._fault, self._channel, self._dsn, self._records = fault, channel, dsn, records
        self._task = os.getpid()
        self._has_struck = False
        self._met: set[str] = set()
        self._passes_by = fault is not None and fault.point.endswith(SECOND)

    def __call__(self, point: str, connection: psycopg.Connection[Any] | None) -> None:
        """Come to a point."""
        if self._records:
            self.tell("point", point)
        if point.startswith("after ") and point not in self._met:
            self._met.add(point)
            self.tell("met", point.rpartition(" ")[2])
        if self._fault is None or self._has_struck or point != self._fault.place:
            return
        if self._passes_by:
            self._passes_by = False
            return
        self._has_struck = True
        self.tell("struck", point)
        getattr(self, f"_{self._fault.kind}")(connection)

    def tell(self, what: str, told: Any = None) -> None:
        """Say something to who started the task."""
        self._channel.sendall(json.dumps([what, told]).encode() + b"\n")

    def _kill(self, _: object) -> None:
        os.kill(self._task, signal.SIGKILL)
        time.sleep(STUCK_SECONDS)  # a worker of the task dies with it

    def _kill_work(self, _: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _stop(self, _: object) -> None:
        self.tell("stops")
        os.kill(self._task, signal.SIGSTOP)
        if os.getpid() != self._task:
            os.kill(os.getpid(), signal.SIGSTOP)

    _abandon = _stop

    def _overlap(self, _: object) -> None:
        self.tell("overlaps")
        time.sleep(random.Random(str(self._fault)).uniform(0, SPLIT_SECONDS))

    def _terminate(self, connection: psycopg.Connection[Any] | None) -> None:
        if connection is not None:
            with psycopg.connect(self._dsn, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])

    def _cut(self, connection: psycopg.Connection[Any] | None) -> None:
        if connection is not None:
            with contextlib.closing(socket.socket(fileno=os.dup(connection.fileno()))) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _lose(self, connection: psycopg.Connection[Any] | None) -> None:
        if connection is not None:
            self._cut(connection)
            connection.pgconn.exec_(b"")  # now libpq knows
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    def _restart(self, _: object) -> None:
        self.tell("restart")
        self._channel.recv(1)

    def _full(self, _: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Execution:
    """One start of a task. `result` is there when it ended well, `error` when it said why it did not."""

    start: Start
    fault: Fault | None
    pid: int
    channel: socket.socket
    began: float
    points: list[str] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    """The statements that it has executed."""
    struck: list[str] = field(default_factory=list)
    result: list[Any] = field(default_factory=list)
    error: str = ""
    is_final: bool = False
    exit_code: int | None = None
    is_stuck: bool = False
    ended: float = 0.0
    _rest: bytes = b""

    @property
    def is_done(self) -> bool:
        """Whether it ended well."""
        return self.exit_code == 0 and bool(self.result)

    @property
    def was_cut_short(self) -> bool:
        """Whether it was killed before it had said how it ended."""
        return self.exit_code == -signal.SIGKILL and not self.result and not self.error

    def wait(self) -> str:
        """Wait until it ended, or wants something: `ended`, `stops`, `overlaps`, `restart`."""
        for what, told in self._messages():
            if what == "point":
                self.points.append(told)
            elif what == "met":
                self.met.add(told)
            elif what == "struck":
                self.struck.append(told)
            elif what == "result":
                self.result.append(told)
            elif what == "error":
                self.error, self.is_final = told
            elif what == "stops":
                os.waitpid(self.pid, os.WUNTRACED)
                return what
            else:
                return str(what)
        self.channel.close()
        self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.ended = time.monotonic()
        return "ended"

    def _messages(self) -> Iterator[tuple[str, Any]]:
        while True:
            while b"\n" in self._rest:
                line, self._rest = self._rest.split(b"\n", 1)
                what, told = json.loads(line)
                yield what, told
            self.channel.settimeout(max(0.1, self.began + STUCK_SECONDS - time.monotonic()))
            try:
                data = self.channel.recv(65536)
            except TimeoutError:
                self.is_stuck = True
                self.kill()
                return
            except ConnectionError:
                data = b""
            if not data:
                return
            self._rest += data

    def answer(self) -> None:
        """Let it go on that asked for something."""
        with contextlib.suppress(OSError):
            self.channel.sendall(b".")

    def go_on(self) -> None:
        """Let it go on that was stopped, and give it the time that everybody has."""
        self.began = time.monotonic()
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it, whatever it does, if nobody has waited for its end."""
        if self.exit_code is None:
            self.kill()
            self.channel.close()
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def launch(bench: Bench, start: Start, fault: Fault | None = None, *, records: bool = False) -> Execution:
    """Start a task in a process of its own."""
    ours, theirs = socket.socketpair()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_a_task(bench, start, fault, theirs, records=records)
    theirs.close()
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    return Execution(start=start, fault=fault, pid=pid, channel=ours, began=began)


def _be_a_task(
    bench: Bench, start: Start, fault: Fault | None, channel: socket.socket, *, records: bool
) -> NoReturn:
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        striker = Striker(fault, channel, bench.dsn, records=records)
        path_points.install(striker)
        if fault is not None and fault.kind is Kind.LIMIT:
            striker.tell("struck", "")
            _limit_files(random.Random(str(fault)).choice((0, 100, 2000)))
        else:
            _log_to(bench.scratch / "log")
        striker.tell("result", TASKS[start.task](bench, start))
        code = 0
    except BaseException as error:  # noqa: BLE001  # it is told, and must never return into the harness
        traceback.print_exc()
        with contextlib.suppress(OSError):
            told = f"{type(error).__name__}: {error}"[:2000]
            channel.sendall(
                json.dumps(["error", [told, isinstance(error, FINAL.get(start.task, ()))]]).encode() + b"\n"
            )
    finally:
        os._exit(code)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    _log_to(Path(os.devnull))


def _log_to(file: Path) -> None:
    with file.open("ab") as log:
        os.dup2(log.fileno(), 2)


def is_refusal(error: str, kind: type[OrchestrationError]) -> bool:
    """Whether a task ended with this error."""
    return error.startswith(f"{kind.__name__}: ")
