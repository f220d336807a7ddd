"""A run tells OpenLineage what it read and wrote, through Airflow's own provider."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.insights.lineage import Assertion, DatasetName, assertions, file_name
from airflow_orchestration.operators import lineage
from tests.airflow.conftest import CODES, PASSWORD, REPOSITORY, FinishedRun

DATABASE = "postgres://localhost:5432"
COMPLETE = {
    "state": "published_degraded",
    "version": 1,
    "rounds": 1,
    "weightShare": 0.8333,
    "feedsIn": 3,
    "feedsExpected": 4,
    "rowsIn": 5,
    "rowsPublished": 3,
    "rowsSuperseded": 1,
    "rowsQuarantined": 1,
    "missing": [{"feed": "north", "state": "failed"}],
}


def said(facet: dict[str, Any]) -> dict[str, Any]:
    """A facet without what OpenLineage adds to each."""
    return {name: value for name, value in facet.items() if not name.startswith("_")}


def named(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["namespace"], one["name"]) for one in datasets]


def test_publish_tells_the_feeds_that_are_in(finished_run: FinishedRun) -> None:
    """Inputs are files and tables by OpenLineage's names, with the rows that came; the broken feed is none."""
    (event,) = finished_run.ended("publish")
    landing = f"{finished_run.folder}/landing"

    assert [
        ("file", f"{landing}/east.csv", 2),
        ("file", f"{landing}/west.csv", 2),
        (DATABASE, "finished_run.public.source", 1),
    ] == [
        (one["namespace"], one["name"], one["inputFacets"]["inputStatistics"]["rowCount"])
        for one in event["inputs"]
    ]


def test_publish_tells_the_table_with_columns_and_completeness(finished_run: FinishedRun) -> None:
    """The table has its columns, its version, the rows of the run, and what is missing."""
    table = finished_run.ended("publish")[0]["outputs"][0]

    assert [(DATABASE, "finished_run.public.told")] == named([table])
    assert [("code", "string"), ("size", "number")] == [
        (field["name"], field["type"]) for field in table["facets"]["schema"]["fields"]
    ]
    assert {"datasetVersion": "1"} == said(table["facets"]["version"])
    assert COMPLETE == said(table["facets"]["orchestration_completeness"])
    assert 3 == table["outputFacets"]["outputStatistics"]["rowCount"]


def test_the_numbers_are_those_of_the_ledger(finished_run: FinishedRun) -> None:
    """Rows in, published, superseded and quarantined are what the publish transaction booked."""
    facet = finished_run.ended("publish")[0]["run"]["facets"]["orchestration_completeness"]
    with psycopg.connect(finished_run.database) as connection:
        booked = connection.execute(
            "SELECT rows_in, rows_published, rows_superseded, rows_quarantined FROM orchestration.publish_ledger"
        ).fetchall()

    assert booked == [
        (facet["rowsIn"], facet["rowsPublished"], facet["rowsSuperseded"], facet["rowsQuarantined"])
    ]


def test_the_quarantine_is_a_dataset_with_counts_by_rule(finished_run: FinishedRun) -> None:
    """It names feed and rule of every row that was put aside, and their number."""
    quarantine = finished_run.ended("publish")[0]["outputs"][1]

    assert [(DATABASE, "finished_run.orchestration.quarantined_row")] == named([quarantine])
    assert [{"feed": "west", "rule": "minimum", "rows": 1}] == quarantine["facets"][
        "orchestration_quarantine"
    ]["counts"]
    assert 1 == quarantine["outputFacets"]["outputStatistics"]["rowCount"]


def test_a_branch_tells_which_rules_its_rows_broke(finished_run: FinishedRun) -> None:
    """Every task of a lane names what it read, also the feed that failed; a broken rule is a failed assertion."""
    inputs = [one for event in finished_run.ended("round_1.beta") for one in event["inputs"]]
    broken = {
        one["name"].rpartition("/")[2]: [
            (rule["assertion"], rule["success"], rule["actual"])
            for rule in one["inputFacets"]["dataQualityAssertions"]["assertions"]
        ]
        for one in inputs
        if "dataQualityAssertions" in one["inputFacets"]
    }

    assert ["east.csv", "finished_run.public.source", "north.csv", "west.csv"] == sorted(
        one["name"].rpartition("/")[2] for one in inputs
    )
    assert {"west.csv": [("minimum", False, "rows that break it: 1")]} == broken
    assert {"COMPLETE", "FAIL"} == {event["eventType"] for event in finished_run.ended("round_1.beta")}


def test_close_out_tells_how_the_run_ended_and_names_no_dataset_twice(finished_run: FinishedRun) -> None:
    """Without a later version its event has the facet of the run alone."""
    event = finished_run.ended("close_out")[-1]

    assert COMPLETE == said(event["run"]["facets"]["orchestration_completeness"])
    assert ([], []) == (event["inputs"], event["outputs"])


def test_a_run_that_published_nothing_says_so(finished_run: FinishedRun) -> None:
    """Its failed `close_out` names the state and every feed; a run that did not start has nothing to say."""
    refused, unpublished, _ = [one["run"]["facets"] for one in finished_run.ended("close_out")]
    complete = unpublished["orchestration_completeness"]

    assert "orchestration_completeness" not in refused
    assert ("not_published", 0, 4) == (complete["state"], complete["rowsIn"], len(complete["missing"]))


def test_no_value_and_no_password_is_told(finished_run: FinishedRun) -> None:
    """Events hold neither a value of a row nor a credential."""
    text = json.dumps(finished_run.events)

    assert [] == [word for word in (*CODES, PASSWORD) if word in text]


def test_every_facet_names_its_schema(finished_run: FinishedRun) -> None:
    """Consumers find the schema of each facet behind an address of OpenLineage."""
    event = finished_run.ended("publish")[0]
    datasets = [*event["inputs"], *event["outputs"]]
    facets = [
        facet
        for one in datasets
        for kind in ("facets", "inputFacets", "outputFacets")
        for facet in one.get(kind, {}).values()
    ]

    assert 9 == len(facets)
    assert {"https://openlineage.io/spec"} == {facet["_schemaURL"][:27] for facet in facets}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            {"outbox": {"conn_id": "shop", "table": "public.outbox"}},
            [("postgres://db:6432", "orders.public.outbox")],
        ),
        (
            {"kafka": {"conn_id": "broker", "topic": "orders"}},
            [("kafka://one:9093", "orders")],
        ),
        ({"database": {"conn_id": "shop", "query": "SELECT 1"}}, []),
        (
            {"aggregate": {"feeds": ["b"], "group_by": ["code"], "measures": {"n": {"function": "count"}}}},
            [],
        ),
    ],
    ids=["outbox", "topic", "query", "aggregate"],
)
def test_every_kind_of_source_has_its_name(
    source: dict[str, Any], expected: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams are named by their place; a query and an aggregate name no dataset."""
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"postgres://reader:{PASSWORD}@db:6432/orders")
    broker = {"conn_type": "kafka", "extra": {"bootstrap.servers": "one:9093,two:9093", "group.id": "g"}}
    monkeypatch.setenv("AIRFLOW_CONN_BROKER", json.dumps(broker))
    feed = Feed.model_validate({"id": "a", "columns": {"code": "code"}, **source})
    spec: Any = SimpleNamespace(feeds={"a": feed}, location=lambda _: None)

    assert expected == [(one.namespace, one.name) for one in lineage.source_names(spec, "a")]


def test_who_logs_in_to_an_object_store_is_left_out() -> None:
    """The part before `@` names a connection, or somebody's password."""
    place = Location(root=f"s3://lake:{PASSWORD}@landing/raw", below="2026-11-22/east.csv")

    assert DatasetName(namespace="s3://landing", name="raw/2026-11-22/east.csv") == file_name(place)


def test_rows_put_aside_by_the_authors_rule_break_none() -> None:
    """Rows out of scope are no failed assertion; a measured rule has its threshold, and not its value."""
    rule = {
        "name": "rowCount",
        "column": None,
        "severity": "warning",
        "value": 3,
        "threshold": "mustBe 4",
        "passed": False,
    }
    outcome = FeedOutcome(
        feed_id="east",
        round=1,
        branch_id="b1",
        status=OutcomeStatus.SUCCESS,
        elapsed=timedelta(0),
        rejects={"out_of_scope": 7, "type": 2},
        rules=(rule,),
    )

    assert [
        Assertion(rule="type", kept=False, rows=2),
        Assertion(rule="rowCount", kept=False, severity="warning", threshold="mustBe 4"),
    ] == list(assertions(outcome))


def test_nothing_is_imported_without_the_provider() -> None:
    """Operators are made where OpenLineage is not installed."""
    program = (
        "import sys; sys.modules['openlineage'] = sys.modules['airflow.providers.openlineage.extractors'] = None\n"
        "import airflow_orchestration.dags.pipeline_dag\n"
        "assert 'airflow_orchestration.operators.lineage_facets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, timeout=60)
