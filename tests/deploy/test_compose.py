"""docker-compose.yaml is valid, keeps its secrets, and shares no disk between workers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from airflow_orchestration.plugins import warm_worker
from tests.deploy import compose
from tests.deploy.compose import AIRFLOW_HOME, OPTIONAL, REPOSITORY, VARIABLE, Document, scalars

SECRET_NAME = re.compile("PASSWORD$|SECRET|_KEY$|_AUTH$")
REQUIRED = r"\$\{\w+:\?[^}]+\}"


@pytest.fixture(scope="module")
def document() -> Document:
    """The compose file as it is written."""
    return compose.read()


@pytest.fixture(scope="module")
def variables(document: Document) -> dict[str, str]:
    """A value for every variable that needs one."""
    return compose.made_up(document)


@pytest.fixture(scope="module")
def services(document: Document, variables: Mapping[str, str]) -> Document:
    """The services, with all variables filled in."""
    filled: Document = compose.interpolated(document["services"], variables)
    return filled


@pytest.fixture(scope="module")
def workers(services: Document) -> Document:
    """The services that run tasks."""
    return {name: service for name, service in services.items() if compose.is_worker(service)}


def dockerfile() -> str:
    return (REPOSITORY / "Dockerfile").read_text()


def test_file_is_valid() -> None:
    """The file follows the JSON schema of the compose specification."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    command = [*checker, compose.COMPOSE_FILE]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 == answer.returncode, answer.stdout + answer.stderr


def test_docker_accepts_the_file(variables: Mapping[str, str], tmp_path: Path) -> None:
    """Docker Compose itself, where it is installed, accepts the file, and names a secret that is missing."""
    probe = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    given = tmp_path / ".env"
    given.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items() if "'" not in value))
    command = ["docker", "compose", "--file", compose.COMPOSE_FILE, "--env-file", given, "config", "--quiet"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 != refused.returncode
    assert "ADMIN_PASSWORD is missing a value: see .env.example" in refused.stderr
    given.write_text(f"{given.read_text()}ADMIN_PASSWORD=x\n")
    subprocess.run(command, check=True)


def test_only_ports_and_the_place_of_the_bucket_have_defaults(document: Document) -> None:
    """A variable without a value stops Compose, but for those that name no secret, which have one default each."""
    uses = compose.variables_in(document)
    assert {name: {(":-", word)} for name, word in OPTIONAL.items()} == {
        name: uses[name] for name in OPTIONAL
    }
    required = uses.keys() - OPTIONAL.keys()
    assert {name: {(":?", "see .env.example")} for name in required} == {
        name: uses[name] for name in required
    }


def test_every_dollar_is_a_variable(document: Document) -> None:
    """No `$` is left for Compose to read otherwise than this test does."""
    assert [] == [text for text in scalars(document) if "$" in VARIABLE.sub("", text)]


def test_no_secret_has_a_value(document: Document) -> None:
    """What an environment calls a password, secret or key is nothing but a required variable."""
    for name, service in document["services"].items():
        for key, value in service["environment"].items():
            if SECRET_NAME.search(key):
                assert re.fullmatch(REQUIRED, value), f"{name}: {key}"


@pytest.mark.parametrize(
    ("address", "with_secret"),
    [
        ("@postgres/", f"//airflow:{REQUIRED}@postgres/"),
        ("@redis:", f"//:{REQUIRED}@redis:"),
        ('"password"', f'"password": "{REQUIRED}"'),
        ('"login": "$', f'"login": "{REQUIRED}"'),
        ("--requirepass", f"--requirepass {REQUIRED}"),
    ],
)
def test_no_address_holds_a_password(document: Document, address: str, with_secret: str) -> None:
    """A password inside an address, a connection or a command is a required variable too."""
    commands = [
        " ".join(each["command"])
        for each in document["services"].values()
        if isinstance(each.get("command"), list)
    ]
    holding = [
        text for text in [*scalars(document["services"]), *commands] if address in text and text != address
    ]
    assert holding
    assert [] == [text for text in holding if not re.search(with_secret, text)]


def test_admin_password_reaches_the_api_server_only(services: Document, variables: Mapping[str, str]) -> None:
    """Tasks, which run in the workers' containers, don't see the admin's password."""
    password = variables["ADMIN_PASSWORD"]
    assert ["api-server"] == [name for name, service in services.items() if password in scalars(service)]


@pytest.mark.parametrize("secret", ["AIRFLOW_DB_PASSWORD", "FERNET_KEY", "JWT_SECRET"])
def test_workers_have_no_key_to_airflow_itself(
    services: Document, workers: Document, variables: Mapping[str, str], secret: str
) -> None:
    """The code of Dags sees neither Airflow's database nor the keys to its connections and tokens."""
    holding = {name for name, service in services.items() if variables[secret] in " ".join(scalars(service))}
    assert {"api-server", "scheduler"} <= holding
    assert not holding & workers.keys()
    assert {"0"} == {service["environment"]["CONNECTION_CHECK_MAX_COUNT"] for service in workers.values()}


def test_only_the_ui_and_the_object_store_are_published_and_only_to_this_host(services: Document) -> None:
    """Two ports are reachable, from 127.0.0.1; those of the database, the broker and the logs are not."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert {"api-server": ["127.0.0.1:8080:8080"], "s3": ["127.0.0.1:9000:9000"]} == published
    assert not {"network_mode", "expose"} & set(chain.from_iterable(services.values()))


def test_env_example_explains_every_variable(document: Document) -> None:
    """.env.example names every variable, says how to make it or what it is by default, and gives no value."""
    blocks = (REPOSITORY / ".env.example").read_text().strip().split("\n\n")[1:]
    explained = {block.splitlines()[-1]: block for block in blocks}
    required = {f"{name}=" for name in compose.variables_in(document).keys() - OPTIONAL.keys()}
    assert {*required, *(f"#{name}={word}" for name, word in OPTIONAL.items())} == set(explained)
    assert all("openssl rand" in explained[name] for name in required)


def test_long_running_services_are_checked_and_come_back(services: Document) -> None:
    """All services but the one-shot restart by themselves and have a health check."""
    lasting = {name for name, service in services.items() if compose.is_long_running(service)}
    assert {"airflow-init"} == services.keys() - lasting
    assert ["airflow-init"] == [name for name, service in services.items() if "healthcheck" not in service]


def test_services_wait_for_what_they_need(services: Document) -> None:
    """Services wait until long-running ones are healthy and the one-shot has succeeded."""
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            lasting = compose.is_long_running(services[needed])
            assert how["condition"] == ("service_healthy" if lasting else "service_completed_successfully")
    order = list(TopologicalSorter(compose.dependencies(services)).static_order())
    assert {"postgres", "redis", "s3", "airflow-init"} == set(order[:4])


def test_workers_share_no_disk(services: Document, workers: Document) -> None:
    """All that two containers both mount is the Dags, which nobody can write to; named volumes have one owner each."""
    assert {"worker", "worker-heavy"} == set(workers)
    assert [["./dags:/opt/airflow/dags:ro"]] * 2 == [service["volumes"] for service in workers.values()]
    shared = [source for service in services.values() for source in compose.mounts(service).values()]
    assert {"./dags", "postgres", "redis", "s3"} == set(shared)
    assert {"./dags"} == {source for source in shared if shared.count(source) > 1}


def test_workers_differ_in_their_queues_alone(workers: Document) -> None:
    """A worker of another queue is one more service of two lines."""
    assert ["celery worker --queues default", "celery worker --queues heavy"] == [
        service["command"] for service in workers.values()
    ]
    first, second = ({**service, "command": ""} for service in workers.values())
    assert first == second


def test_workers_load_before_they_fork_what_every_task_needs(workers: Document) -> None:
    """The module that Celery is told to import is there, and so is everything that it loads where it can."""
    for service in workers.values():
        told = json.loads(service["environment"]["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"])
        assert {"imports": [warm_worker.__name__]} == told
    assert [*warm_worker.MODULES] == [import_module(name).__name__ for name in warm_worker.MODULES]


def test_a_stopped_worker_has_time_for_its_tasks(workers: Document) -> None:
    """The signal reaches the worker alone, and Docker waits for minutes before it kills."""
    for service in workers.values():
        assert "0" == service["environment"]["DUMB_INIT_SETSID"]
        assert "5m" == service["stop_grace_period"]


def test_the_scheduler_and_the_workers_agree_on_who_is_dead(services: Document, workers: Document) -> None:
    """A silent task is tried again after a minute, long before the broker would hand out its message again."""
    timeouts = {
        (
            service["environment"]["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"],
            service["environment"]["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"],
        )
        for service in (services["scheduler"], *workers.values())
    }
    assert {("60", "86400")} == timeouts


def test_volumes_lie_where_their_images_have_folders_of_their_user(
    document: Document, services: Document
) -> None:
    """A named volume is mounted on a folder of the image: otherwise it belongs to root and cannot be written."""
    folders = {
        (source, target)
        for service in services.values()
        for target, source in compose.mounts(service).items()
        if source in document["volumes"]
    }
    assert {("postgres", "/var/lib/postgresql"), ("redis", "/data"), ("s3", "/data")} == folders
    assert "RUN useradd s3 && install --directory --owner=s3 /data\nUSER s3\n" in dockerfile()


def test_pipeline_files_find_their_places(services: Document, workers: Document) -> None:
    """What the shipped pipeline file names is said for the whole deployment, in the bucket of the object store."""
    pipeline = yaml.safe_load((REPOSITORY / "dags" / "airport_reference.yaml").read_text())
    said = {
        service["environment"]["AIRFLOW__ORCHESTRATION__LOCATIONS"]
        for service in services.values()
        if compose.is_of_airflow(service)
    }
    assert 1 == len(said)
    places = {name: urlsplit(place) for name, place in json.loads(said.pop()).items()}
    assert {*pipeline["roots"], "staging"} == set(places)
    bucket = services["s3"]["environment"]["BUCKET"]
    assert {("s3", f"lake@{bucket}")} == {(place.scheme, place.netloc) for place in places.values()}
    for service in workers.values():
        connection = json.loads(service["environment"]["AIRFLOW_CONN_LAKE"])
        assert services["s3"]["environment"]["NANIO_SECRET_KEY"] == connection["password"]


def test_every_part_of_airflow_has_the_dags(services: Document) -> None:
    """All parts of Airflow find them in the folder where Airflow looks."""
    for service in filter(compose.is_of_airflow, services.values()):
        assert "./dags" == compose.mounts(service)[f"{AIRFLOW_HOME}/dags"]


def test_image_and_constraints_name_one_airflow() -> None:
    """The image that is built last is of the Airflow release that the constraints pin, with both extras."""
    pinned = re.search(r"^apache-airflow==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    bases = re.findall(r"^FROM (.+)$", dockerfile(), re.MULTILINE)
    assert ["python:3.12-slim AS s3", f"apache/airflow:{pinned[1]}"] == bases
    assert "'/tmp/orchestration[celery,s3]'" in dockerfile()


def test_build_context_is_what_the_package_needs() -> None:
    """.dockerignore lets the package and what its build reads into the image, all of which exist, and no more."""
    allowed = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    read_by_build = {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "NOTICE"}
    assert {"airflow_orchestration", *read_by_build} == set(allowed)
    assert [] == [name for name in allowed if not (REPOSITORY / name).exists()]
