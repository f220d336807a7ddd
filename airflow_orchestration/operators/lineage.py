"""Tells OpenLineage what tasks read and wrote, when Airflow's provider for it asks, and only then.

Facts are the store's and the manifest's; nothing is counted here. What the provider's classes need is imported
when it asks, so that nobody else pays for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.hooks.kafka import kafka_config
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights import lineage
from airflow_orchestration.insights.lineage import DatasetName, PostgresPlace
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.step import read_spec

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a task has to say of its run: the specification, and the manifest as it left it."""

    spec: RunSpec
    manifest: Mapping[str, Any]
    wrote: bool = True
    """Whether the task itself has written to a table."""


def run_lineage(told: Told | None) -> OperatorLineage[Any, Any]:
    """What a run read and wrote so far; nothing, when the task did not come so far."""
    from airflow_orchestration.operators import lineage_facets  # noqa: PLC0415  # an extra

    if told is None:
        return lineage_facets.lineage_of([])
    complete = lineage.completeness(told.manifest)
    if not told.wrote:
        return lineage_facets.lineage_of([], completeness=complete)
    return lineage_facets.lineage_of(list(_inputs(told)), list(_outputs(told)), complete)


def branch_lineage(
    conn_id: str, run: RunKey, round_number: int, branch_id: str, lane: Lane
) -> OperatorLineage[Any, Any]:
    """What a branch read in its lane, and which rules of the contract the rows kept."""
    from airflow_orchestration.operators import lineage_facets  # noqa: PLC0415  # an extra

    with OrchestrationHook(conn_id).store() as store:
        spec = read_spec(store.run(run))
        snapshot = store.gate_snapshot(run, round_number)
    feeds = snapshot.round.plan.branch(branch_id).feeds_in(lane)
    outcomes = (snapshot.outcomes.get(feed_id) for feed_id in feeds)
    return lineage_facets.lineage_of(
        [
            lineage_facets.input_of(name, rows=outcome.rows_in, assertions=lineage.assertions(outcome))
            for outcome in outcomes
            if outcome is not None and outcome.round == round_number
            for name in source_names(spec, outcome.feed_id)
        ]
    )


def source_names(spec: RunSpec, feed_id: str) -> Iterator[DatasetName]:
    """Where the rows of a feed come from; nothing for an aggregate of others, and for a query."""
    feed, location = spec.feeds[feed_id], spec.location(feed_id)
    if location is not None:
        yield lineage.file_name(location)
    if feed.database is not None and feed.database.table is not None:
        yield _database(feed.database.conn_id).table(feed.database.table)
    if feed.outbox is not None:
        yield _database(feed.outbox.conn_id).table(feed.outbox.table)
    if feed.kafka is not None:
        servers = kafka_config(feed.kafka.conn_id)["bootstrap.servers"]
        yield lineage.topic_name(str(servers), feed.kafka.topic)


def _inputs(told: Told) -> Iterator[InputDataset]:
    from airflow_orchestration.operators import lineage_facets  # noqa: PLC0415  # an extra

    for line in told.manifest["feeds"]:
        if "rows_published" in line:
            for name in source_names(told.spec, line["feed"]):
                yield lineage_facets.input_of(name, rows=line["rows_in"])


def _outputs(told: Told) -> Iterator[OutputDataset]:
    from airflow_orchestration.operators import lineage_facets  # noqa: PLC0415  # an extra

    complete = lineage.completeness(told.manifest)
    put_aside = lineage.quarantined(told.manifest)
    for line in told.manifest["datasets"]:
        dataset = told.spec.datasets[line["dataset"]]
        if line["version"]:
            place = _database(dataset.publish.conn_id)
            columns = lineage.fields(dataset.contract)
            yield lineage_facets.table_of(place.table(dataset.publish.table), columns, line, complete)
            if counts := [one for one in put_aside if one["feed"] in dataset.feeds]:
                yield lineage_facets.quarantine_of(place.table(lineage.QUARANTINE_TABLE), counts)


def _database(conn_id: str) -> PostgresPlace:
    connection = BaseHook.get_connection(conn_id)
    return PostgresPlace(
        host=connection.host,
        port=connection.port,
        database=connection.schema or connection.login or "postgres",
    )
