"""What the Dags of one pipeline have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_orchestration.domain.pipeline import Pipeline

START_DATE = datetime(1970, 1, 1, tzinfo=UTC)
"""Ours: before the date of any run. Airflow gives a run of an earlier date no task, and calls it a success."""
RETRY_DELAY, LONGER_EACH_TIME, LONGEST_DELAY = timedelta(seconds=5), 2, timedelta(minutes=5)
"""Ours: what passes in a moment costs a moment. Four retries wait 5, 10, 20 and 40 seconds at least, Airflow up to twice
that, so an outage of a minute does not use up every try."""
AGENT_RETRY_DELAY = 2 * RETRY_DELAY
"""Ours: an agent is tried again three times (SEED 20), after 10, 20 and 40 seconds at least."""


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
            "retry_exponential_backoff": LONGER_EACH_TIME,
            "max_retry_delay": LONGEST_DELAY,
            **({"pool": pipeline.pool} if pipeline.pool else {}),
        },
    }
