"""What may a catalogue know of a run? Names of datasets by OpenLineage's rules, counts, and decisions: never a value.

https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.engine.checking import OUT_OF_SCOPE
from airflow_orchestration.engine.uniqueness import SUPERSEDED

POSTGRES_PORT = 5432
"""PostgreSQL's own default."""
QUARANTINE_TABLE = "orchestration.quarantined_row"
_NO_FAULT = frozenset({OUT_OF_SCOPE, SUPERSEDED})
"""Rules by which rows are put aside, and that say nothing about quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetName:
    """How OpenLineage names a dataset."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPlace:
    """A database, without who logs in to it."""

    host: str | None
    port: int | None
    database: str

    def table(self, qualified: str) -> DatasetName:
        """Name a table, `schema.table`.

        >>> PostgresPlace(host="db", port=None, database="shop").table("public.orders")
        DatasetName(namespace='postgres://db:5432', name='shop.public.orders')
        """
        host = (self.host or "").split(",")[0]
        if not host or host.startswith("/"):  # a socket of this machine
            host = "localhost"
        return DatasetName(
            namespace=f"postgres://{host}:{self.port or POSTGRES_PORT}", name=f"{self.database}.{qualified}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One rule, and whether the rows of a feed kept it. `rows` broke it, where it is about single rows."""

    rule: str
    kept: bool
    column: str | None = None
    severity: str | None = None
    threshold: str | None = None
    rows: int | None = None


def file_name(location: Location) -> DatasetName:
    """Name the files of a feed; who logs in to an object store is left out.

    >>> file_name(Location(root="s3://lake@landing/raw", below="2026-11-22/vega.csv"))
    DatasetName(namespace='s3://landing', name='raw/2026-11-22/vega.csv')
    >>> file_name(Location(root="/data", below="vega.csv"))
    DatasetName(namespace='file', name='/data/vega.csv')
    """
    if not location.is_remote:
        return DatasetName(namespace="file", name=str(location))
    parts = urlsplit(location.root)
    bucket = parts.netloc.rpartition("@")[2]
    folder = parts.path.strip("/")
    return DatasetName(
        namespace=f"{parts.scheme}://{bucket}",
        name=f"{folder}/{location.below}" if folder else location.below,
    )


def topic_name(bootstrap_servers: str, topic: str) -> DatasetName:
    """Name a topic by the first of its brokers.

    >>> topic_name("SASL_SSL://one:9093,two:9093", "orders")
    DatasetName(namespace='kafka://one:9093', name='orders')
    """
    first = bootstrap_servers.split(",", maxsplit=1)[0].strip().rpartition("://")[2].rpartition("@")[2]
    return DatasetName(namespace=f"kafka://{first}", name=topic)


def completeness(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """How complete a run is, and where its rows went: in = published + superseded + quarantined."""
    lines = [line for line in manifest["feeds"] if "rows_published" in line]
    return {
        "state": manifest["state"],
        "version": manifest["version"],
        "rounds": manifest["rounds"],
        "weightShare": manifest["weight_share"],
        "feedsIn": manifest["feeds_in"],
        "feedsExpected": manifest["feeds_expected"],
        "rowsIn": sum(line["rows_in"] for line in lines),
        "rowsPublished": sum(line["rows_published"] for line in lines),
        "rowsSuperseded": sum(line["rows_superseded"] for line in lines),
        "rowsQuarantined": sum(line["rows_quarantined"] for line in lines),
        "missing": [{"feed": line["feed"], "state": line["state"]} for line in manifest["missing"]],
    }


def quarantined(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How many rows of which feed broke which rule, of the feeds that are in."""
    return [
        {"feed": line["feed"], "rule": rule, "rows": rows}
        for line in manifest["feeds"]
        if "rows_published" in line
        for rule, rows in sorted(line["rejects"].items())
    ]


def fields(contract: Contract) -> list[tuple[str, str, str | None]]:
    """The columns of a dataset: name, logical type, description."""
    return [(column.name, column.type.value, column.description) for column in contract.columns]


def assertions(outcome: FeedOutcome) -> Iterator[Assertion]:
    """What came of the rules of the contract, as the outcome was recorded. Measured values are left out."""
    for rule, rows in sorted((outcome.rejects or {}).items()):
        if rule not in _NO_FAULT:
            yield Assertion(rule=rule, kept=False, rows=rows)
    for result in outcome.rules or ():
        yield Assertion(
            rule=result["name"],
            kept=result["passed"],
            column=result.get("column"),
            severity=result.get("severity"),
            threshold=result.get("threshold"),
            rows=result.get("rows"),
        )
