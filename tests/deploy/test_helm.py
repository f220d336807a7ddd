"""The example of values for Airflow's Helm chart says what is there; with a checkout of the chart, also in its words."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
from jsonschema import Draft7Validator

from airflow_orchestration.domain.locations import read_locations
from tests.deploy import compose
from tests.docs.blocks import blocks

REPOSITORY = Path(__file__).parents[2]
VALUES = REPOSITORY / "deploy" / "helm" / "values.yaml"
PAGE = REPOSITORY / "docs" / "howto" / "kubernetes.md"
CHART = "AIRFLOW_CHART"
KEYS_OF_THE_CHART = {
    "metadataSecretName": "connection",
    "brokerUrlSecretName": "connection",
    "passwordSecretName": "password",
    "fernetKeySecretName": "fernet-key",
    "jwtSecretName": "jwt-secret",
    "apiSecretKeySecretName": "api-secret-key",
}
"""Value of the chart that names a secret -> the key that the chart reads in it."""


@pytest.fixture(scope="module")
def values() -> Any:
    return yaml.safe_load(VALUES.read_text())


def secrets_of(values: Any) -> set[tuple[str, str]]:
    """Every secret with its key that the values ask for."""
    named = values | values["data"] | values["redis"]
    own = {(named[name], key) for name, key in KEYS_OF_THE_CHART.items() if name in named}
    return own | {(one["secretName"], one["secretKey"]) for one in values["secret"]}


def test_the_page_makes_each_secret_that_the_values_name(values: Any) -> None:
    """Whoever follows the page has all secrets, with the keys that are read, and none that nobody reads."""
    made = {
        (found[1], key)
        for found in re.finditer(r"kubectl create secret generic (\S+) (.*)", PAGE.read_text())
        for key in re.findall(r"--from-(?:literal|file)=([\w-]+)=", found[2])
    }

    assert secrets_of(values) == made
    assert not [
        name for name in found_names(values) if name not in KEYS_OF_THE_CHART and name != "secretName"
    ]


def found_names(values: Any) -> list[str]:
    """The names of all values that name a secret."""
    if isinstance(values, list):
        return [name for one in values for name in found_names(one)]
    if not isinstance(values, dict):
        return []
    inside = [name for one in values.values() for name in found_names(one)]
    return [*inside, *(name for name in values if name.lower().endswith("secretname"))]


def test_every_connection_that_is_named_is_there(values: Any) -> None:
    """Locations and logs use connections that the values bring, and the store's is among them."""
    prefix = "AIRFLOW_CONN_"
    brought = {one["envName"].removeprefix(prefix).lower() for one in values["secret"]}
    locations = read_locations(values["config"]["orchestration"]["locations"])
    used = {re.match(r"s3://(\w+)@", place)[1] for place in locations.values()}  # type: ignore[index]

    assert all(one["envName"].startswith(prefix) for one in values["secret"])
    assert {"orchestration_default", values["config"]["logging"]["remote_log_conn_id"]} | used == brought
    assert {"landing", "staging"} == set(locations)


def test_the_image_is_the_airflow_that_is_tested(values: Any) -> None:
    """The tag, and what the chart takes Airflow's version for, are those of the constraints and the Dockerfile."""
    pinned = re.search(r"^apache-airflow==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    built = re.search(r"^FROM apache/airflow:(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)

    assert pinned is not None
    assert built is not None
    assert {pinned[1]} == {built[1], values["airflowVersion"], values["images"]["airflow"]["tag"]}


def test_airflow_knows_every_setting(values: Any) -> None:
    """Sections and options of `config` are Airflow's, its providers' or ours, and their values are texts."""
    known = {name: set(section["options"]) for name, section in conf.configuration_description.items()}
    for _, provided in ProvidersManager().provider_configs:
        for name, section in provided.items():
            known.setdefault(name, set()).update(section["options"])

    for name, options in values["config"].items():
        assert set(options) <= known.get(name, set()), name
        assert all(isinstance(value, str) for value in options.values())


def test_settings_are_those_that_are_tested(values: Any) -> None:
    """What `config` says as docker-compose.yaml does has the same value there, where the tests start it; two are places."""
    services = compose.read()["services"]
    tested = services["worker"]["environment"] | services["scheduler"]["environment"]
    said = {
        f"AIRFLOW__{section}__{name}".upper(): value
        for section, options in values["config"].items()
        for name, value in options.items()
    }
    places = {"AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER", "AIRFLOW__ORCHESTRATION__LOCATIONS"}
    assert places <= said.keys() & tested.keys()
    assert {name: tested.get(name) for name in said.keys() - places} == {
        name: said[name] for name in said.keys() - places
    }


def test_every_queue_of_the_docs_has_a_worker(values: Any) -> None:
    """Lanes that the documentation pins to a queue find workers in the example, as tasks of no queue do."""
    celery = values["workers"]["celery"]
    served = {celery["queue"], *(one["queue"] for one in celery["sets"])}
    written = [yaml.safe_load(block.text) for block in blocks("yaml")]
    lanes = [one["lanes"] for one in written if isinstance(one, dict) and "lanes" in one]
    pinned = {terms["queue"] for one in lanes for terms in one.values() if "queue" in terms}

    assert pinned
    assert {conf.get("operators", "default_queue")} | pinned <= served
    assert len(celery["sets"]) == len({one["name"] for one in celery["sets"]})
    assert celery["enableDefault"]


def test_a_worker_has_room_for_its_branches(values: Any) -> None:
    """Each worker may take as many branches at a time as its concurrency says, each with the least memory."""
    at_a_time = int(values["config"]["celery"]["worker_concurrency"])
    celery = values["workers"]["celery"]
    least = re.search(r"at least (\d+) MiB", (REPOSITORY / "docs" / "operations.md").read_text())

    assert least is not None
    for one in (celery, *celery["sets"]):
        asked = one["resources"]["requests"]["memory"]
        assert int(asked.removesuffix("Gi")) * 1024 >= at_a_time * int(least[1])
        assert asked == one["resources"]["limits"]["memory"]


def test_nothing_is_kept_on_a_disk_of_a_pod(values: Any) -> None:
    """Workers and triggerers may go to another node; the store's schema is there before they start."""
    assert not values["workers"]["celery"]["persistence"]["enabled"]
    assert not values["triggerer"]["persistence"]["enabled"]
    assert "airflow db migrate && exec airflow orchestration migrate" in values["migrateDatabaseJob"]["args"]


@pytest.mark.skipif(CHART not in os.environ, reason=f"{CHART} names no folder with Airflow's Helm chart")
def test_the_chart_takes_the_values(values: Any) -> None:
    """The schema of the chart itself finds nothing wrong."""
    schema = json.loads((Path(os.environ[CHART]) / "values.schema.json").read_text())
    wrong = [
        f"{'.'.join(map(str, one.path))}: {one.message}"
        for one in Draft7Validator(schema).iter_errors(values)
    ]

    assert [] == wrong
