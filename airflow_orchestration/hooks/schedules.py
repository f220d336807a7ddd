"""Can Airflow read the schedules of a pipeline? It tells only once a Dag is built, and then of the whole Dag file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from airflow.exceptions import AirflowTimetableInvalid
from airflow.sdk import DAG

from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.exceptions import Problem


def schedule_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """The schedules that no Dag can be built with, each with its path in the pipeline file."""
    declared = {"schedule": pipeline.schedule, "sync.reconcile_schedule": pipeline.sync.reconcile_schedule}
    for path, schedule in declared.items():
        if schedule is not None and (message := _schedule_problem(schedule)):
            yield Problem(path=path, message=message)


@lru_cache(maxsize=1000)
def _schedule_problem(schedule: str) -> str | None:
    try:
        DAG(dag_id="schedule", schedule=schedule).validate()
    except (ValueError, TypeError, LookupError, AirflowTimetableInvalid) as error:
        return f"Airflow can't read it: {error}"
    return None
