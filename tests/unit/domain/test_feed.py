"""What a feed of a pipeline file may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from airflow_orchestration.domain.feed import Feed


def stream(batch: dict[str, Any], limits: dict[str, Any]) -> Feed:
    """A topic that is read in such batches."""
    return Feed.model_validate(
        {
            "id": "events",
            "kafka": {"topic": "events", "batch": batch},
            "columns": {"id": "id"},
            "limits": limits,
        }
    )


@pytest.mark.parametrize(
    ("batch", "limits", "told"),
    [
        ({}, {"rows": 1000}, r"batch.records is 1,000,000 and limits.rows 1,000:"),
        ({"bytes": 11}, {"bytes": 10}, r"batch.bytes is 11 and limits.bytes 10:"),
        ({}, {"seconds": 30}, r"batch.seconds is 60 and limits.seconds 30:"),
        (
            {"records": 2},
            {"rows": 1, "seconds": 1},
            r"limits.rows 1, batch.seconds is 60 and limits.seconds 1:",
        ),
    ],
)
def test_a_batch_beyond_the_limits_is_refused(
    batch: dict[str, Any], limits: dict[str, Any], told: str
) -> None:
    """A busy stream would fail with every batch, and never advance; both numbers are named."""
    with pytest.raises(ValidationError, match=told):
        stream(batch, limits)


def test_a_batch_may_fill_the_limits() -> None:
    """Equal numbers are allowed: what fills the batch is within the limits."""
    same = {"bytes": 10, "seconds": 5}
    assert 5 == stream({"records": 3, **same}, {"rows": 3, **same}).limits.seconds
