"""The timeline in sentences, whatever an event of another version looks like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_orchestration.insights.narrative import _TELLERS, line
from airflow_orchestration.storage.store import Event

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ODD: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "nulls": defaultdict(lambda: None),
    "lists": defaultdict(list),
    "texts": defaultdict(lambda: "x"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("event", _TELLERS)
def test_an_event_of_another_shape_is_a_line_all_the_same(event: str, odd: str) -> None:
    """One line that can't be told in full does not take the whole timeline away."""
    told = line(Event(at=NOON, round=1, event=event, detail=ODD[odd]))

    assert told
    assert odd != "nothing" or event.replace("_", " ") == told
