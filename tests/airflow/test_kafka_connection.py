"""A Kafka connection of Airflow becomes what librdkafka is told."""

from __future__ import annotations

import json
import sys

import pytest

from airflow_orchestration.exceptions import FeedError, InputRefusedError
from airflow_orchestration.hooks.outside import AirflowOutside


def define(monkeypatch: pytest.MonkeyPatch, **extra: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EVENTS", json.dumps({"conn_type": "kafka", "extra": extra}))


def test_the_extra_is_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the connection's extra is passed on."""
    define(monkeypatch, **{"bootstrap.servers": "broker:9092", "security.protocol": "SSL"})
    expected = {"bootstrap.servers": "broker:9092", "security.protocol": "SSL"}
    assert expected == AirflowOutside().kafka("events")


def test_a_connection_without_servers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the connection and what it lacks."""
    define(monkeypatch, **{"group.id": "x"})
    with pytest.raises(
        InputRefusedError, match=r"connection events: 1 problem.*\n  extra: .*bootstrap.servers"
    ):
        AirflowOutside().kafka("events")


def test_a_callback_runs_only_when_the_deployment_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection can't name code to run: Airflow's allow-list decides."""
    define(monkeypatch, **{"bootstrap.servers": "broker:9092", "oauth_cb": "os.system"})
    with pytest.raises(InputRefusedError, match="callback_allowlist is empty"):
        AirflowOutside().kafka("events")


def test_a_connection_that_is_not_defined_is_refused() -> None:
    """The remedy is told."""
    with pytest.raises(InputRefusedError, match=r"connection nowhere: .*\n  is not defined; add it"):
        AirflowOutside().kafka("nowhere")


def test_without_the_provider_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is an extra; who has not installed it is told how."""
    monkeypatch.setitem(sys.modules, "airflow.providers.apache.kafka.hooks.base", None)
    with pytest.raises(FeedError, match=r"pip install 'airflow-provider-orchestration\[kafka\]'"):
        AirflowOutside().kafka("events")
