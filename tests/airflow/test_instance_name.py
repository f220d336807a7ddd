from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, SetRenderedMapIndex

from airflow_orchestration.operators.instance_name import cut
from airflow_orchestration.operators.process_branch import ValidationBranchOperator


class Supervisor:
    """What a task tells its supervisor; a broken one knows nobody."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.told: list[Any] = []

    def send(self, msg: Any) -> None:
        """Keep it, or refuse."""
        if self.broken:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        self.told.append(msg)


def named(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, *, map_index: int = 0) -> Any:
    """Let a branch of three feeds name itself; return its context."""
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    context: Any = {"ti": SimpleNamespace(map_index=map_index, rendered_map_index=None)}
    task = ValidationBranchOperator(task_id="beta", branch_id="branch_1")
    task.name_in(context, "branch_1", ["a", "b", "c"])
    return context


def test_a_branch_has_its_name_as_soon_as_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of mapped tasks names a branch and its feeds at once, and while it is deferred."""
    supervisor = Supervisor()
    context = named(supervisor, monkeypatch)

    assert [SetRenderedMapIndex(rendered_map_index="branch_1: a, b, c")] == supervisor.told
    assert "branch_1: a, b, c" == context["ti"].rendered_map_index == context["branch_name"]


def test_a_name_that_is_not_taken_ends_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """When Airflow can't be told now, it asks for the name when the task ends."""
    context = named(Supervisor(broken=True), monkeypatch)

    assert context["ti"].rendered_map_index is None
    assert "branch_1: a, b, c" == context["branch_name"]


def test_a_task_that_is_not_mapped_tells_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow shows names of mapped tasks only."""
    supervisor = Supervisor()
    named(supervisor, monkeypatch, map_index=-1)

    assert [] == supervisor.told


def test_a_name_is_as_long_as_airflow_keeps_it() -> None:
    """Of many feeds the first are named: a longer name would fail the task when it ends."""
    name = ", ".join(f"feed_{number}" for number in range(100))

    assert 250 == len(cut(name))
    assert cut(name).endswith("…")
    assert "short" == cut("short")
