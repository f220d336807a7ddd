"""The local stack: PostgreSQL and Airflow's four processes, all in one folder.

`Stack.up` leaves them running; any later process can find and stop them.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from demo.airflow import API_SERVER, AirflowProcesses
from demo.api import AirflowApi
from demo.errors import ApiError, StackError
from demo.ports import HOST, require_free
from demo.postgres import EmbeddedPostgres
from demo.processes import shielded
from demo.settings import (
    METADATA_DATABASE,
    OPERATIONS_DATABASE,
    USER,
    WAREHOUSE_DATABASE,
    Secrets,
    Settings,
)

DAEMONS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        API_SERVER: ("api-server",),
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "dag-processor": ("dag-processor",),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
)
PREPARE_COMMANDS: Sequence[Sequence[str]] = (("orchestration", "migrate"),)
BEATING_PARTS = ("scheduler", "dag_processor", "triggerer")
LONG_AGO = datetime.min.replace(tzinfo=UTC)
START_SECONDS = 300.0
POLL_SECONDS = 0.2


class Stack:
    """One local Airflow, with everything that it needs and leaves behind in the folder `home`."""

    def __init__(
        self,
        home: Path,
        *,
        port: int = 8080,
        dags_folders: Sequence[Path],
        extra_env: Mapping[str, str] = MappingProxyType({}),
        prepare_commands: Sequence[Sequence[str]] = PREPARE_COMMANDS,
    ) -> None:
        self.home = home.resolve()
        self.postgres = EmbeddedPostgres(self.home / "postgres")
        self.processes = AirflowProcesses(self.home)
        self._requested_port = port
        self._dags_folders = tuple(folder.resolve() for folder in dags_folders)
        self._extra_env = extra_env
        self._prepare_commands = prepare_commands

    def up(self, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Return when every part is healthy; whatever fails or interrupts takes down what was begun here."""
        with self._alone():
            if self.is_up():
                return
            had_postgres, had_all = self.postgres.is_running(), self._has_every_process()
            try:
                self._resume(on_progress) if had_all else self._start(on_progress)
            except BaseException:
                shielded(lambda: self._stop(airflow=not had_all, postgres=not had_postgres))
                raise

    def down(self) -> None:
        """Stop everything that was started in this home folder, and nothing else."""
        if self.home.exists():
            with self._alone():
                self._stop()

    def is_up(self) -> bool:
        """Does every part run, and does Airflow call itself healthy?"""
        return self._has_every_process() and self._is_healthy()

    def running(self) -> list[str]:
        """The names of the parts that run, healthy or not."""
        return sorted(self.processes.alive()) + ["postgres"] * self.postgres.is_running()

    def environment(self) -> dict[str, str]:
        """The environment in which `airflow` commands, and Dags, work against this stack."""
        return self._settings.environment(self.postgres)

    @property
    def port(self) -> int:
        """The port in use, or else the one to use."""
        return self.processes.recorded_port() or self._requested_port

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def user(self) -> str:
        return USER

    @property
    def password(self) -> str:
        return Secrets.of(self.home).admin_password

    @property
    def api(self) -> AirflowApi:
        """A client of the REST API, for the admin."""
        return AirflowApi(f"http://{HOST}:{self.port}", self.user, self.password)

    @property
    def warehouse_dsn(self) -> str:
        """The conninfo string of the database that Dags know as `orchestration_default`."""
        return self.postgres.dsn(WAREHOUSE_DATABASE)

    @property
    def operations_dsn(self) -> str:
        """The conninfo string of the application's database, which Dags know as `flight_operations`."""
        return self.postgres.dsn(OPERATIONS_DATABASE)

    @property
    def _settings(self) -> Settings:
        return Settings(
            home=self.home, port=self.port, dags_folders=self._dags_folders, extra_env=self._extra_env
        )

    @property
    def _migrated(self) -> Path:
        """The file that names the Airflow whose tables the metadata database has."""
        return self.home / "migrated"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process starts or stops this stack."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self, on_progress: Callable[[str], None]) -> None:
        self.processes.stop()  # what an unfinished start has left
        require_free(self._requested_port)
        begun_at = datetime.now(UTC)
        self.processes.begin(self._requested_port)
        self._settings.write_files()
        on_progress("Starting PostgreSQL")
        shielded(self.postgres.start)
        self._start_airflow(on_progress)
        self._wait_until_healthy(on_progress, since=begun_at)

    def _resume(self, on_progress: Callable[[str], None]) -> None:
        """Every process runs: finish what an interrupted start did not come to."""
        self._prepare(self.environment(), on_progress)
        self._wait_until_healthy(on_progress, since=LONG_AGO)

    def _start_airflow(self, on_progress: Callable[[str], None]) -> None:
        migrated = self._is_migrated()
        self._create_databases()
        environment = self.environment()
        if not migrated:
            on_progress("Creating Airflow's tables")
            self._migrate(environment)
        on_progress("Starting Airflow")
        for name, command in DAEMONS.items():
            self.processes.spawn(name, command, environment)
        self._prepare(environment, on_progress)

    def _create_databases(self) -> None:
        if not self._migrated.exists():
            self.postgres.drop_database(METADATA_DATABASE)  # a migration that was cut off
        self.postgres.create_database(METADATA_DATABASE)
        self.postgres.create_database(WAREHOUSE_DATABASE)
        self.postgres.create_database(OPERATIONS_DATABASE)

    def _is_migrated(self) -> bool:
        return self._migrated.exists() and self._migrated.read_text() == version("apache-airflow")

    def _migrate(self, environment: Mapping[str, str]) -> None:
        self.processes.spawn("migrate", ("db", "migrate"), environment)
        self.processes.finish("migrate")
        self._migrated.write_text(version("apache-airflow"))

    def _prepare(self, environment: Mapping[str, str], on_progress: Callable[[str], None]) -> None:
        for command in self._prepare_commands:
            on_progress(f"Running `airflow {' '.join(command)}`")
            self.processes.spawn("-".join(command), command, environment)
            self.processes.finish("-".join(command))

    def _wait_until_healthy(self, on_progress: Callable[[str], None], since: datetime) -> None:
        on_progress("Waiting until every part is healthy")
        deadline = time.monotonic() + START_SECONDS
        while not self._is_healthy(since):
            self.processes.require_alive(DAEMONS)
            if time.monotonic() > deadline:
                raise StackError(
                    f"Not healthy after {START_SECONDS:g} s; the logs are in {self.home / 'logs'}"
                )
            time.sleep(POLL_SECONDS)

    def _has_every_process(self) -> bool:
        return self.processes.alive() >= DAEMONS.keys() and self.postgres.is_running()

    def _is_healthy(self, since: datetime = LONG_AGO) -> bool:
        """Is each part healthy, by a heartbeat after `since`? An earlier life's may still look fresh."""
        try:
            parts = self.api.health()
        except ApiError:
            return False
        return all(part["status"] == "healthy" for part in parts.values()) and all(
            since < _heartbeat(parts[name], name) for name in BEATING_PARTS
        )

    def _stop(self, *, airflow: bool = True, postgres: bool = True) -> None:
        if airflow:
            self.processes.stop()
        if postgres:
            self.postgres.stop()


def _heartbeat(part: Mapping[str, str | None], name: str) -> datetime:
    return datetime.fromisoformat(part[f"latest_{name}_heartbeat"] or LONG_AGO.isoformat())
