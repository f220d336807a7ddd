"""Many gates at once on a real scheduler and triggerer."""

from __future__ import annotations

from datetime import datetime

import pytest

from demo.stack import Stack

pytestmark = pytest.mark.integration

DAG_ID = "fifty_gates"
GATES = 50
BOUND_SECONDS = 150.0
"""Generous: the first look of a fresh triggerer imports for ten seconds, and machines are busy."""


def test_fifty_gates_that_are_satisfied_already_open_at_once(stack: Stack) -> None:
    """No gate fails for being satisfied before it waits, none holds a worker, and none is kept waiting."""
    stack.api.wait_for_dag(DAG_ID)
    run_id = stack.api.trigger(DAG_ID)

    state = stack.api.wait_for_run(DAG_ID, run_id)

    tasks = [one for one in stack.api.task_instances(DAG_ID, run_id) if one["task_id"].startswith("gate")]
    ends = [datetime.fromisoformat(one["end_date"]) for one in tasks]
    starts = [datetime.fromisoformat(one["start_date"]) for one in tasks]
    assert "success" == state
    assert ["success"] * GATES == [one["state"] for one in tasks]
    assert {""} == {one["hostname"] or "" for one in tasks}
    assert BOUND_SECONDS >= (max(ends) - min(starts)).total_seconds()
