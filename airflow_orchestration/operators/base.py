"""What all operators of a pipeline Dag share: they claim their work, take one step, and let go."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode, PrunedRunError
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.outside import AirflowOutside, staging_area
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import die_with_parent

if TYPE_CHECKING:
    from airflow.sdk import Context


class OrchestrationOperator(BaseOperator):
    """A task of a pipeline Dag. It renders no templates: what it works on comes from the store.

    :param round_number: the round that the task belongs to; 0 outside the rounds.
    :param orchestration_conn_id: the Airflow connection of the store.
    """

    template_fields = ()
    ui_color = "#e8f1fa"

    def __init__(
        self,
        *,
        round_number: int = 0,
        orchestration_conn_id: str = OrchestrationHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.round_number = round_number
        self.orchestration_conn_id = orchestration_conn_id

    @contextmanager
    def step(self, context: Context, unit: str) -> Iterator[Step]:
        """Claim a work unit and yield its step; connections and scratch files are gone afterwards."""
        with open_step(context, self.orchestration_conn_id, self.round_number, unit) as step:
            yield step


@contextmanager
def open_step(
    context: Context, conn_id: str, round_number: int, unit: str, run: RunKey | None = None
) -> Iterator[Step]:
    """Claim a work unit for the task instance of a context, and yield its step.

    The unit belongs to the context's own run, unless another `run` is named.
    """
    refuse_native_rendering(context)
    die_with_parent()
    work_unit = WorkUnit(run=run or run_key(context), round=round_number, unit=unit)
    with (
        OrchestrationHook(conn_id).store() as store,
        tempfile.TemporaryDirectory(prefix="orchestration-") as scratch,
    ):
        try:
            fence = store.claim(work_unit, attempt(context))
        except PrunedRunError as error:  # no retry changes it
            raise AirflowFailException(str(error)) from error
        yield Step(
            store=store,
            fence=fence,
            scratch=Path(scratch),
            open_staging=staging_area,
            outside=AirflowOutside(),
        )


def run_key(context: Context) -> RunKey:
    """Name the Dag run of a context."""
    ti = context["ti"]
    return RunKey(dag_id=ti.dag_id, run_id=ti.run_id)


def attempt(context: Context) -> Attempt:
    """Name the execution of a context: try, task instance, process."""
    ti = context["ti"]
    process = f"{socket.gethostname()}:{os.getpid()}:{_process_start()}"
    return Attempt(try_number=ti.try_number, ti_id=str(ti.id), process=process, began_at=ti.start_date)


def refuse_native_rendering(context: Context) -> None:
    """Refuse a Dag in which a rendered text could become an object: its sandbox is off."""
    dag = context["dag"]
    if dag.render_template_as_native_obj:
        problem = Problem(
            code=ProblemCode.NOT_ALLOWED,
            path="render_template_as_native_obj",
            message="must be False for these operators",
        )
        raise InputRefusedError(f"Dag {dag.dag_id}", [problem])


def _process_start() -> str:
    """The start of this process in clock ticks: a recycled process id is somebody else."""
    try:
        return Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""
