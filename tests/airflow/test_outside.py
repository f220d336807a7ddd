"""What the work on a batch needs of Airflow is asked for before a process of its own does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.hooks.outside import AirflowOutside, staging_area


def feed(**source: Any) -> Feed:
    return Feed.model_validate({"id": "planes", "columns": {"code": "code"}, **source})


def address(database: str) -> dict[str, Any]:
    parts = conninfo_to_dict(database)
    return {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
        "port": int(str(parts.get("port", 5432))),
    }


@pytest.mark.parametrize(
    "source",
    [
        {"database": {"conn_id": "erp", "table": "erp.plane"}},
        {"outbox": {"conn_id": "erp", "table": "erp.outbox"}},
    ],
    ids=["database", "outbox"],
)
def test_a_database_is_asked_for_once(
    source: dict[str, Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `prepare` a connection opens though Airflow can't be asked any more."""
    monkeypatch.setenv("AIRFLOW_CONN_ERP", json.dumps(address(database)))
    outside = AirflowOutside()
    outside.prepare(feed(**source), None)
    monkeypatch.delenv("AIRFLOW_CONN_ERP")

    with outside.postgres("erp") as connection:
        assert [(1,)] == connection.execute("SELECT 1").fetchall()
    with pytest.raises(InputRefusedError, match="connection erp"):
        AirflowOutside().postgres("erp")


def test_an_unusable_connection_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another kind is refused by `prepare` already."""
    monkeypatch.setenv("AIRFLOW_CONN_ERP", "mysql://somewhere/erp")
    with pytest.raises(InputRefusedError, match="a postgres one is needed"):
        AirflowOutside().prepare(feed(database={"conn_id": "erp", "table": "erp.plane"}), None)


def test_a_file_of_this_machine_needs_nothing(tmp_path: Path) -> None:
    """Nothing is asked for a local root."""
    AirflowOutside().prepare(feed(uri="landing/planes.csv", format="csv"), str(tmp_path))


@pytest.mark.parametrize("uri", ["nope://bucket/staging", "gs://bucket/staging"])
def test_a_place_that_nothing_opens_is_refused(uri: str) -> None:
    """Without the provider the kind of place is told, with what helps, and no other part of its address."""
    for opened in (staging_area, AirflowOutside().storage):
        with pytest.raises(InputRefusedError, match="install the provider") as refused:
            opened(uri)
        assert uri.partition("bucket")[0] in str(refused.value)
        assert "bucket" not in str(refused.value)
