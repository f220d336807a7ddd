"""A local stack in which everything dies, and somebody who starts again what died, as systemd or Kubernetes would."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, signal
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.rows import dict_row

from demo.postgres import USER
from demo.processes import OwnedProcess, end
from demo.settings import METADATA_DATABASE, WAREHOUSE_DATABASE
from demo.stack import API_SERVER, DAEMONS, Stack
from tests.torture.door import Door
from tests.torture.stack_processes import beneath, idle_workers, left_in_session

SCHEDULER, TRIGGERER, SECOND_TRIGGERER = "scheduler", "triggerer", "triggerer-2"
POSTGRES = "PostgreSQL"
TORTURED_DAEMONS: Mapping[str, Sequence[str]] = MappingProxyType(
    {**DAEMONS, SECOND_TRIGGERER: DAEMONS[TRIGGERER]}
)
"""Two triggerers: one may take over the other's triggers while that one is stopped."""
HASTY: Mapping[str, str] = MappingProxyType(
    {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "15",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__CORE__PARALLELISM": "8",
    }
)
"""Airflow notices the dead after 20 s instead of five minutes."""
RESTART_SECONDS = 1.0
"""systemd's own default is a tenth of it."""
PATIENCE_SECONDS = 5
"""How long the harness waits for a connection, and twice as long for an answer."""


def end_in_order() -> None:
    """Let SIGTERM raise, as Ctrl-C does: a stack is taken down by whoever has started it."""
    signal(SIGTERM, lambda number, _: sys.exit(128 + number))


class TorturedStack:
    """A stack whose store and target stand behind a door; call `tend` often, from the main thread."""

    def __init__(
        self, home: Path, *, port: int, dags: Path, changes: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.door = Door(lambda: self.stack.warehouse_dsn)
        connection = {
            "conn_type": "postgres",
            "host": str(self.door.folder),
            "login": USER,
            "schema": WAREHOUSE_DATABASE,
        }
        settings = {**HASTY, **changes, "AIRFLOW_CONN_ORCHESTRATION_DEFAULT": json.dumps(connection)}
        self.stack = Stack(home, port=port, dags_folders=[dags], extra_env=settings)
        self.restarts: list[str] = []
        self._leaders: list[OwnedProcess] = []
        self._died: dict[str, float] = {}
        self._postgres_down_until: float | None = None
        self._frozen: dict[str, list[OwnedProcess]] = {}

    def up(self, on_progress: Callable[[str], None]) -> None:
        """Start everything; `down` has to follow, whatever happens."""
        self.door.__enter__()
        self.stack.up(on_progress)
        self._spawn(SECOND_TRIGGERER)
        self._leaders = list(self.stack.processes.recorded().values())

    def down(self) -> None:
        """Stop everything, and what outlived those that were killed."""
        for part in list(self._frozen):
            self.thaw(part)
        left = {process for leader in self._leaders for process in left_in_session(leader)}
        for process in left:
            process.send(SIGCONT)
        self.stack.down()
        end(left, [(SIGKILL, 5.0)])
        self.door.__exit__()

    def tend(self) -> None:
        """Start again what has died a moment ago."""
        now = time.monotonic()
        if self._postgres_down_until is not None:
            if now < self._postgres_down_until:
                return
            self.stack.postgres.start()
            self._postgres_down_until = None
        alive = self.stack.processes.alive()
        for name in TORTURED_DAEMONS:
            if name in alive:
                self._died.pop(name, None)
            elif now - self._died.setdefault(name, now) >= RESTART_SECONDS:
                self._restart(name)

    @property
    def is_whole(self) -> bool:
        """Whether every part runs, as far as one can see from outside."""
        return not self.missing

    @property
    def missing(self) -> list[str]:
        """The parts that are dead or frozen."""
        dead = TORTURED_DAEMONS.keys() - self.stack.processes.alive()
        return sorted({*dead, *self._frozen, *([POSTGRES] if self._postgres_down_until is not None else [])})

    @property
    def answers(self) -> bool:
        """Whether it is of use to ask Airflow's API."""
        return not self._frozen.keys() & {API_SERVER, POSTGRES} and self._postgres_down_until is None

    def freeze(self, part: str) -> None:
        """Stop every process of the API server, or of PostgreSQL, until it is thawed."""
        leader = self.stack.postgres._postmaster() if part == POSTGRES else self.leader(part)
        if leader is None:
            return
        leader.send(SIGSTOP)  # first, so that it makes no more
        stopped = [leader, *(process for process in beneath(leader) if process.pid != leader.pid)]
        for process in stopped:
            process.send(SIGSTOP)
        self._frozen[part] = stopped

    def thaw(self, part: str) -> None:
        """Let a part go on."""
        for process in reversed(self._frozen.pop(part, [])):
            process.send(SIGCONT)

    def leader(self, name: str) -> OwnedProcess:
        """The process that was started under a name, alive or not."""
        return self.stack.processes.recorded()[name]

    def schedulers(self) -> list[OwnedProcess]:
        """Every scheduler that there was: workers may outlive theirs."""
        return [leader for leader in self._leaders if leader.name == SCHEDULER]

    def crash_postgres(self, seconds: float) -> None:
        """Let the server die without a word, and come back after some seconds."""
        self._postgres_down_until = time.monotonic() + seconds
        if postmaster := self.stack.postgres._postmaster():
            end([postmaster], [(SIGQUIT, 10.0)])

    def metadata(self, query: str, *parameters: object) -> list[dict[str, Any]] | None:
        """Ask Airflow's own database; None when nobody answers."""
        return self._ask(METADATA_DATABASE, query, parameters)

    def warehouse(self, query: str, *parameters: object) -> list[dict[str, Any]] | None:
        """Ask the store's and target's database, past the door; None when nobody answers."""
        return self._ask(WAREHOUSE_DATABASE, query, parameters)

    @contextmanager
    def warehouse_session(self) -> Iterator[psycopg.Connection[dict[str, Any]] | None]:
        """Give a connection past the door on which each statement counts at once; None when nobody answers."""
        with self._session(WAREHOUSE_DATABASE) as connection:
            yield connection

    def _ask(self, database: str, query: str, parameters: Sequence[object]) -> list[dict[str, Any]] | None:
        with suppress(psycopg.OperationalError), self._session(database) as connection:
            if connection is not None:
                cursor = connection.execute(query, parameters)
                return cursor.fetchall() if cursor.description else []
        return None

    @contextmanager
    def _session(self, database: str) -> Iterator[psycopg.Connection[dict[str, Any]] | None]:
        connection = self._connected(database)
        try:
            yield connection
        finally:
            if connection is not None:
                connection.close()

    def _connected(self, database: str) -> psycopg.Connection[dict[str, Any]] | None:
        if self._postgres_down_until is not None or POSTGRES in self._frozen:
            return None
        with suppress(psycopg.OperationalError):
            return psycopg.connect(
                self.stack.postgres.dsn(database),
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=PATIENCE_SECONDS,
                options=f"-c statement_timeout={2 * PATIENCE_SECONDS}s",
            )
        return None

    def _restart(self, name: str) -> None:
        if name == SCHEDULER:  # those of a dead one wait for tasks that nobody will give them
            end(idle_workers(self.leader(name)), [(SIGKILL, 2.0)])
        self._died.pop(name, None)
        self.restarts.append(name)
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        self.stack.processes.spawn(name, TORTURED_DAEMONS[name], self.stack.environment())
        self._leaders.append(self.leader(name))
