"""Who may see what, as Airflow answers it. The one place here that knows Airflow's security, which promises no stability.

Airflow authenticates and authorizes none of a plugin's routes. Its own check of a route reads the Dag from the path
or the query, and takes `~`, or none, for any Dag: here every check is told which Dag it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.models.dag import DagModel  # noqa: TID251  # teams of Dags, as Airflow's own checks are told them
from fastapi import HTTPException, Request

from airflow_orchestration.plugins.answers import FORBIDDEN, NOT_FOUND

Method: TypeAlias = Literal["GET", "PUT", "POST", "DELETE"]
User: TypeAlias = GetUserDep
"""The user of a request; 401 without credentials, 403 for those that nobody signed."""
DAG_ID = re.compile(r"[\w.-]{1,250}")
"""Airflow's own rule for the ids of Dags."""
RUNS, TASK_LOGS = DagAccessEntity.RUN, DagAccessEntity.TASK_LOGS
NO_RUN = {
    "known": False,
    "reason": "The store behind connection orchestration_default knows no such run: its Dag is no pipeline of this "
    "package, or its first task has not recorded it yet.",
}

authenticated = get_user


def check(
    method: Method, dag_id: str, request: Request, user: Any, entity: DagAccessEntity | None = None
) -> None:
    """Raise 403 unless a user may do this with a Dag, or with what belongs to it."""
    requires_access_dag(method, entity, param_dag_id=dag_id)(request, user)


def allowed(
    method: Method, dag_id: str, request: Request, user: Any, entity: DagAccessEntity | None = None
) -> bool:
    """Whether a user may do this with a Dag; also with one that Airflow perhaps does not know yet."""
    try:
        check(method, dag_id, request, user, entity)
    except HTTPException:
        return False
    return True


def reading(*entities: DagAccessEntity) -> Callable[[Request, User], None]:
    """Make the check whether the user may read all this of the Dag that the path names `dag_id`."""

    def check_path(request: Request, user: User) -> None:
        dag_id = request.path_params["dag_id"]
        if not DAG_ID.fullmatch(dag_id):
            raise HTTPException(NOT_FOUND, NO_RUN)
        for entity in entities:
            check("GET", dag_id, request, user, entity)

    return check_path


def readable_dags(user: Any) -> set[str]:
    """The Dags that a user may read, among those that Airflow knows."""
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def dags_with_readable_runs(user: User) -> set[str]:
    """The Dags whose runs a user may read; 403 for who may list no runs.

    Airflow's own list of runs has those of every Dag that the user may read. Here each Dag's runs are asked for,
    at once where that is enough: who may read the runs of all of them is asked about once.
    """
    manager = get_auth_manager()
    if not manager.is_authorized_dag(method="GET", access_entity=RUNS, user=user):
        raise HTTPException(FORBIDDEN, "Forbidden")
    asked = _run_requests(readable_dags(user))
    if manager.batch_is_authorized_dag(list(asked.values()), user=user):
        return set(asked)
    return {dag_id for dag_id, one in asked.items() if manager.is_authorized_dag(**one, user=user)}


def _run_requests(dag_ids: set[str]) -> dict[str, IsAuthorizedDagRequest]:
    """What Airflow is asked about the runs of each Dag."""
    teams = DagModel.get_dag_id_to_team_name_mapping(sorted(dag_ids)) if dag_ids else {}
    return {
        dag_id: {
            "method": "GET",
            "access_entity": RUNS,
            "details": DagDetails(id=dag_id, team_name=teams.get(dag_id)),
        }
        for dag_id in sorted(dag_ids)
    }


def may_create_dags(user: Any) -> bool:
    """Whether a user may add Dags of any name."""
    return get_auth_manager().is_authorized_dag(method="POST", user=user)
