"""The operator that registers a job at run time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.get_provider_info import get_provider_info
from airflow_orchestration.operators.register_job import RegisterJobOperator
from tests.registered_jobs import connect_airflow, store_of, texts

CONTEXT: Any = {"ti": SimpleNamespace(dag_id="onboarding", task_id="register")}


def register(**changes: Any) -> dict[str, Any]:
    given = texts()
    known = {"tenant": "north", "job": "sales", "specification": given.specification, **changes}
    operator = RegisterJobOperator(task_id="register", contract=given.contract, **known)
    return operator.execute(CONTEXT)


def test_a_task_registers_a_job(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task's XCom names the Dag and the revision, and the history names the task."""
    connect_airflow(migrated, monkeypatch)
    assert {"dag_id": "north__sales", "revision": 1} == register()
    assert {"dag_id": "north__sales", "revision": 1} == register()
    with store_of(migrated) as store:
        assert ["task onboarding.register"] == [change.changed_by for change in store.registry.changes()]


def test_a_bad_job_fails_without_a_retry(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log lists what is wrong; trying again would end the same way."""
    connect_airflow(migrated, monkeypatch)
    with pytest.raises(AirflowFailException, match=r"sales.yaml publish.table: must be in the schema north"):
        register(specification=texts("south").specification)
    with store_of(migrated) as store:
        assert 0 == store.registry.revision()


def test_what_a_task_before_it_made_is_a_template_field() -> None:
    """Names and texts may come from other tasks; Airflow knows the operator and the bundle."""
    assert ("tenant", "job", "specification", "contract") == tuple(RegisterJobOperator.template_fields)
    info = get_provider_info()
    assert RegisterJobOperator.__module__ in info["operators"][0]["python-modules"]
    assert ["airflow_orchestration.bundles.agent_registry"] == info["bundles"][0]["python-modules"]
