"""What an execution says of itself when it claims its work."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

from airflow.sdk import Context

from airflow_orchestration.operators.base import attempt


def test_an_execution_tells_when_airflow_started_it() -> None:
    """Not when it claims: it may have been stopped in between, and its run have ended."""
    started = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
    ti = SimpleNamespace(try_number=2, id="0198", start_date=started)
    told = attempt(cast("Context", {"ti": ti}))
    assert (2, "0198", started) == (told.try_number, told.ti_id, told.began_at)
