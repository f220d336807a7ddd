from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.tenancy import Tenancy, name_problems, tenancy_problems

TENANCY = Tenancy(tenant="north", job="orders", data="/data", shared_conn_ids=("warehouse", "bus"))
BATCH = {"type": "data_ingestion", "columns": {"id": "id"}}
FILE = {"id": "file", "uri": "landing/x.csv", "format": "csv", **BATCH}
ROWS = {"id": "rows", "database": {"conn_id": "north__db", "table": "public.orders"}, **BATCH}
QUERY = {"id": "query", "database": {"conn_id": "north__db", "query": "SELECT 1 AS id"}, **BATCH}
EVENTS = {"id": "events", "outbox": {"conn_id": "north__db", "table": "public.outbox"}, **BATCH}
TOPIC = {"id": "topic", "kafka": {"conn_id": "north__bus", "topic": "orders"}, **BATCH}
OUTPUT = {**FILE, "id": "out", "output": {"uri": "landing/out"}}


def pipeline(**changes: Any) -> Pipeline:
    """A job of north that names everything that a job can name, changed."""
    document = {
        "id": "north__orders",
        "tenant": "north",
        "pool": "north",
        "roots": {"landing": "landing"},
        "staging": "staging",
        "contract": "orders.odcs.yaml",
        "feeds": [FILE, ROWS, QUERY, EVENTS, TOPIC, OUTPUT],
        "sync": {"deadline": 60},
        "publish": {"table": "north.orders", "conn_id": "north__db"},
    }
    return Pipeline.model_validate(document | changes)


def feed(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    source = next(name for name in ("database", "outbox", "kafka") if name in given)
    return {"feeds": [{**given, source: {**given[source], **changes}}]}


def datasets(**changes: str) -> dict[str, Any]:
    publish = {"table": "north.orders", "conn_id": "north__db", **changes}
    return {"publish": None, "datasets": {"orders": {"publish": publish}}}


def publish(**changes: str) -> dict[str, Any]:
    return {"publish": {"table": "north.orders", "conn_id": "north__db", **changes}}


OTHERS = [
    ({"roots": {"landing": "/data/south"}}, "roots.landing"),
    ({"roots": {"landing": "../south"}}, "roots.landing"),
    ({"roots": {"landing": "a/../../south"}}, "roots.landing"),
    ({"roots": {"landing": "s3://lake/south"}}, "roots.landing"),
    ({"roots": {"landing": "~root"}}, "roots.landing"),
    ({"roots": {"landing": "a\\..\\b"}}, "roots.landing"),
    ({"roots": {"landing": "%2e%2e/south"}}, "roots.landing"),
    ({"roots": {"landing": "landing\n"}}, "roots.landing"),
    ({"staging": "/tmp"}, "staging"),
    ({"staging": "file://host/tmp"}, "staging"),
    ({"staging": ".."}, "staging"),
    ({"contract": "../south/orders.odcs.yaml"}, "contract"),
    ({"contract": "/etc/passwd"}, "contract"),
    ({"contract": "orders.yaml"}, "contract"),
    ({"pool": "south"}, "pool"),
    ({"pool": "default_pool"}, "pool"),
    ({"pool": "north_a__big"}, "pool"),
    ({"store_conn_id": "north__db"}, "store_conn_id"),
    (publish(conn_id="south__db"), "publish.conn_id"),
    (publish(conn_id="orchestration_default"), "publish.conn_id"),
    (publish(conn_id="north"), "publish.conn_id"),
    (publish(conn_id="north__"), "publish.conn_id"),
    (publish(conn_id="north_a__db"), "publish.conn_id"),
    (publish(conn_id="NORTH__db"), "publish.conn_id"),
    (publish(conn_id="north__/../south__db"), "publish.conn_id"),
    (publish(table="south.orders"), "publish.table"),
    (publish(table="south.orders", conn_id="warehouse"), "publish.table"),
    (datasets(conn_id="south__db"), "datasets.orders.publish.conn_id"),
    (datasets(table="public.orders"), "datasets.orders.publish.table"),
    (feed(ROWS, conn_id="south__db"), "feeds[0].database.conn_id"),
    (feed(ROWS, conn_id="warehouse"), "feeds[0].database.table"),
    (feed(QUERY, conn_id="warehouse"), "feeds[0].database.query"),
    (feed(EVENTS, conn_id="south__db"), "feeds[0].outbox.conn_id"),
    (feed(EVENTS, conn_id="warehouse"), "feeds[0].outbox.table"),
    (feed(TOPIC, conn_id="kafka_default"), "feeds[0].kafka.conn_id"),
    (feed(TOPIC, conn_id="bus"), "feeds[0].kafka.topic"),
    (feed(TOPIC, conn_id="bus", topic="north_a.orders"), "feeds[0].kafka.topic"),
    ({"tags": [f"tag{number}" for number in range(21)]}, "tags"),
]

OWN = [
    {},
    {"pool": None},
    {"pool": "north__large"},
    {"roots": {"landing": "a/b-c/.d_1"}},
    publish(conn_id="warehouse"),
    datasets(table="north.orders"),
    feed(ROWS, conn_id="warehouse", table="north.orders"),
    feed(TOPIC, conn_id="bus", topic="north.orders"),
]


@pytest.mark.parametrize(("changes", "path"), OTHERS)
def test_a_job_that_names_what_is_another_s_is_refused_there(changes: dict[str, Any], path: str) -> None:
    """Each place where a job can name something of another tenant, or of nobody, is checked."""
    assert [path] == [problem.path for problem in tenancy_problems(pipeline(**changes), TENANCY)]


@pytest.mark.parametrize("changes", OWN)
def test_a_job_may_name_what_is_its_tenant_s_or_shared(changes: dict[str, Any]) -> None:
    """What begins with the tenant's name is its own, and a shared connection gives it its own schema."""
    assert [] == list(tenancy_problems(pipeline(**changes), TENANCY))


@pytest.mark.parametrize(
    ("changes", "conn_id"),
    [
        ({"publish": {"table": "north.orders"}}, "orchestration_default"),
        ({"feeds": [{**TOPIC, "kafka": {"topic": "orders"}}]}, "kafka_default"),
    ],
)
def test_a_connection_that_nobody_wrote_is_told_with_both_remedies(
    changes: dict[str, Any], conn_id: str
) -> None:
    """Who wrote none is told which one that means, how to name one, and how the deployer may share it."""
    (problem,) = tenancy_problems(pipeline(**changes), TENANCY)

    assert (
        "must be a connection that begins with north__, or one of warehouse, bus; none is written, so it is "
        f"{conn_id}: name one, or have it shared with all tenants, by shared_conn_ids=['{conn_id}'] where the jobs are "
        f"read (for `agents check`: --shared-conn-id {conn_id})"
    ) == problem.message


def test_a_connection_that_somebody_wrote_is_told_shortly() -> None:
    """Who names another one has read what it is."""
    (problem,) = tenancy_problems(pipeline(**publish(conn_id="orchestration_default")), TENANCY)

    assert "must be a connection that begins with north__, or one of warehouse, bus" == problem.message


def test_everything_wrong_is_said_at_once() -> None:
    """Problems in different places do not hide each other."""
    wrong = pipeline(pool="south", staging="/tmp", **publish(table="south.x", conn_id="south__db"))

    assert {"pool", "staging", "publish.conn_id", "publish.table"} == {
        problem.path for problem in tenancy_problems(wrong, TENANCY)
    }


def places(model: type[BaseModel], path: str) -> Iterator[str]:
    """The fields of a model and of what it holds, by path, whose names or patterns point outside."""
    for name, field in model.model_fields.items():
        here = f"{path}{name}"
        if name.endswith(
            ("conn_id", "table", "topic", "query", "pool", "contract", "staging", "roots", "uri", "probes")
        ):
            yield here
        for inner in models_in(field.annotation):
            yield from places(inner, f"{here}.")


def models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for inner in get_args(annotation) for found in models_in(inner)}


CHECKED = {
    "contract",
    "datasets.publish.conn_id",
    "datasets.publish.table",
    "feeds.database.conn_id",
    "feeds.database.query",
    "feeds.database.table",
    "feeds.kafka.conn_id",
    "feeds.kafka.topic",
    "feeds.outbox.conn_id",
    "feeds.outbox.table",
    "pool",
    "publish.conn_id",
    "publish.table",
    "roots",
    "staging",
    "store_conn_id",
}
NOT_OF_JOBS = {"lanes.pool"}
"""A job has agents, beside which lanes are refused: see `test_a_tenant_pins_nothing`."""
BELOW_A_ROOT = {
    "datasets.merge.trust.probes",
    "feeds.output.uri",
    "feeds.uri",
    "merge.trust.probes",
    "params.batches.uri",
    "presets.batches.uri",
}


def test_no_place_of_the_models_is_forgotten() -> None:
    """Each field that names something outside is in the table above, or stays below a root by itself.

    Whoever adds one to the models adds a row to `OTHERS` and a line to `tenancy_problems`.
    """
    tested = {re.sub(r"\[0\]|\.(orders|landing)", "", path) for _, path in OTHERS}

    assert CHECKED | BELOW_A_ROOT | NOT_OF_JOBS == set(places(Pipeline, ""))
    assert CHECKED == tested - {"tags"}


@pytest.mark.parametrize(
    ("tenant", "job", "wrong"),
    [
        ("north", "orders", []),
        ("n1", "daily_orders_2", []),
        ("..", "orders", ["tenant"]),
        ("", "orders", ["tenant"]),
        ("North", "orders", ["tenant"]),
        ("north", "a__b", ["job"]),
        ("north_", "_orders", ["tenant", "job"]),
        ("north", "orders\n", ["job"]),
        ("north", 'o"r', ["job"]),
        ("north", "o'r", ["job"]),
        ("north", "a/b", ["job"]),
        ("north", "{{ x }}", ["job"]),
        ("n\u043erth", "orders", ["tenant"]),
        ("north", "\uff4frders", ["job"]),
        ("north", "a" * 56, []),
        ("north", "a" * 57, ["job"]),
        ("public", "orders", ["tenant"]),
        ("information_schema", "orders", ["tenant"]),
        ("orchestration", "orders", ["tenant"]),
        ("orchestration_scratch", "orders", ["tenant"]),
        ("default_pool", "orders", ["tenant"]),
        ("pg_catalog", "orders", ["tenant"]),
        ("pg_north", "orders", ["tenant"]),
        ("pg", "public", []),
        ("north", "reconcile", ["job"]),
    ],
)
def test_names_are_words_that_make_one_dag_id(tenant: str, job: str, wrong: list[str]) -> None:
    """Lower case letters, digits and single underscores, and none that is a schema, pool or Dag of others."""
    assert wrong == [problem.path for problem in name_problems(tenant, job)]


def test_places_are_below_the_tenant_s_folder() -> None:
    """A root is a folder of the tenant, on disk and in an object store."""
    store = Tenancy(tenant="north", job="orders", data="s3://lake@bucket/data/")

    assert "/data/north/landing" == TENANCY.place("landing")
    assert "s3://lake@bucket/data/north/landing" == store.place("landing")
