"""Can Airflow read the schedules of a pipeline? It tells only once a Dag is built, and then of the whole Dag file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from airflow.exceptions import AirflowTimetableInvalid
from airflow.sdk import DAG
from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]  # has no types

from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.exceptions import Problem, ProblemCode


def schedule_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """The schedules that no Dag can be built with, each with its path in the pipeline file."""
    declared = {"schedule": pipeline.schedule, "sync.reconcile_schedule": pipeline.sync.reconcile_schedule}
    for path, schedule in declared.items():
        if schedule is not None and (message := _schedule_problem(schedule)):
            yield Problem(code=ProblemCode.BAD_FORMAT, path=path, message=message)


@lru_cache(maxsize=1000)
def _schedule_problem(schedule: str) -> str | None:
    try:
        dag = DAG(dag_id="schedule", schedule=schedule, max_active_runs=1)  # as all Dags of a pipeline
        dag.validate()
    except (ValueError, TypeError, LookupError, AirflowTimetableInvalid) as error:
        return f"Airflow can't read it: {error}"
    expression = getattr(dag.timetable, "expression", None)
    return None if expression is None or _comes(expression) else "never comes; write a date that there is"


def _comes(expression: str) -> bool:
    """Whether a cron expression has a time before now and one after: without, Airflow fails where it makes the runs."""
    times = croniter(expression)
    try:
        times.get_prev()
        times.get_next()
    except CroniterBadDateError:
        return False
    return True
