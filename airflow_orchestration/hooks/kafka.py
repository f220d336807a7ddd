"""The configuration of a Kafka connection, as the provider of Airflow builds it: with its callbacks and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_orchestration.exceptions import FeedCode, FeedError, InputRefusedError, Problem, ProblemCode


def kafka_config(conn_id: str) -> Mapping[str, Any]:
    """Return what librdkafka is told; raises `InputRefusedError` when the connection can't be used.

    The provider's consuming operators are not for us: they commit offsets after the work, or before it.
    """
    try:
        from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook  # noqa: PLC0415  # an extra
    except ImportError:
        raise FeedError(
            f"connection {conn_id}: Airflow's provider for Kafka is not installed; "
            "run: pip install 'airflow-provider-orchestration[kafka]'",
            code=FeedCode.NOT_INSTALLED,
        ) from None

    class ConfigHook(KafkaBaseHook):
        """Builds the configuration, and no client."""

        def _get_client(self, config: dict[str, Any]) -> dict[str, Any]:
            return config

    try:
        config: dict[str, Any] = ConfigHook(kafka_config_id=conn_id).get_conn
    except AirflowNotFoundException:
        problem = Problem(
            code=ProblemCode.NOT_FOUND, path="", message="is not defined; add it under Admin, Connections"
        )
        raise InputRefusedError(f"connection {conn_id}", [problem]) from None
    except ValueError as error:
        raise InputRefusedError(
            f"connection {conn_id}", [Problem(code=ProblemCode.BAD_FORMAT, path="extra", message=str(error))]
        ) from None
    return config
