"""docker-compose.yaml as Compose reads it: variables, services, what they wait for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yaml"
AIRFLOW_HOME = "/opt/airflow"  # in the image, with the folders `dags` and `logs`
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<word>[^}]*))?\})")
OPTIONAL = {"AIRFLOW_PORT": "8080", "S3_PORT": "9000"} | {
    "S3_BUCKET": "orchestration",
    "S3_ENDPOINT": "http://s3:9000",
    "S3_REGION": "us-east-1",
}

Document = dict[str, Any]


def read() -> Document:
    """The compose file as it is written."""
    document: Document = yaml.safe_load(COMPOSE_FILE.read_text())
    return document


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


def variables_in(document: Document) -> dict[str, set[tuple[str | None, str | None]]]:
    """The variables of the document, each with the ways in which it is used."""
    found: dict[str, set[tuple[str | None, str | None]]] = {}
    for use in chain.from_iterable(map(VARIABLE.finditer, scalars(document))):
        if use["name"]:
            found.setdefault(use["name"], set()).add((use["kind"], use["word"]))
    return found


def made_up(document: Document) -> dict[str, str]:
    """A value for every variable that needs one, as the commands in .env.example make it."""
    names = [name for name in variables_in(document) if name not in OPTIONAL]
    made = {name: f"{number:064x}" for number, name in enumerate(names, start=1)}
    return made | {
        "FERNET_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "ADMIN_PASSWORD": "a\"b'c d$e/\\+",
    }


def is_long_running(service: Document) -> bool:
    """Whether Docker starts the service again when it ends."""
    return bool(service["restart"] == "unless-stopped")


def is_of_airflow(service: Document) -> bool:
    """Whether the service runs in the image with Airflow."""
    return bool(service["image"] == "airflow-orchestration")


def is_worker(service: Document) -> bool:
    """Whether the service runs tasks."""
    return str(service.get("command")).startswith("celery worker")


def mounts(service: Document) -> dict[str, str]:
    """Source by folder in the container."""
    return {target: source for source, target, *_ in (each.split(":") for each in service.get("volumes", []))}


def dependencies(services: Document) -> dict[str, list[str]]:
    """What each service waits for."""
    return {name: list(service.get("depends_on", {})) for name, service in services.items()}
