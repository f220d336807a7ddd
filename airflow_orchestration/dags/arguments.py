"""What the Dags of one pipeline have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_orchestration.domain.pipeline import Pipeline

START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
RETRY_DELAY = timedelta(seconds=5)


def dag_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Return the arguments that each of them is made with."""
    return {
        "start_date": START_DATE,
        "catchup": False,
        "max_active_runs": 1,  # runs publish into one table in order
        "tags": [*pipeline.tags, *filter(None, [pipeline.tenant])],
        "render_template_as_native_obj": False,
        "default_args": {
            "owner": pipeline.owner,
            "retries": pipeline.retries,
            "retry_delay": RETRY_DELAY,
            **({"pool": pipeline.pool} if pipeline.pool else {}),
        },
    }
