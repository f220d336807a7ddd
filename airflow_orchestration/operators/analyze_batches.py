"""The first task of a pipeline Dag: checks the conf, surveys the feeds, chooses the workflow mode."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.home import check_folders
from airflow_orchestration.domain.job_file import read_job
from airflow_orchestration.domain.run_spec import RunSpec, resolve
from airflow_orchestration.domain.tenancy import Tenancy
from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.exceptions import InputRefusedError, ProblemCode, StoreNotReadyError
from airflow_orchestration.hooks.orchestration import publisher_of
from airflow_orchestration.hooks.pipeline_files import deployed_pipeline_file
from airflow_orchestration.operators.base import OrchestrationOperator
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.close_out import free_left_records
from airflow_orchestration.workflow.publish import check_targets

if TYPE_CHECKING:
    from airflow.sdk import Context

ANALYZE_BATCHES = "analyze_batches"
"""The id of its task."""
REFUSED = "refused"
"""The XCom key of why a run can't begin, for the last task to record."""
MOST_PROBLEMS = 10
LONGEST_WHY = 4000
"""Ours: the log has all problems, whatever their number."""


class AnalyzeBatchesOperator(OrchestrationOperator):
    """Decides what the run does and in which mode, and records it (SEED 6 to 8).

    A bad conf, pipeline file or contract, a missing connection or a target that can't take the
    rows is refused here, with every problem listed, before anything is touched.

    :param pipeline_file: path of the pipeline file.
    :param tenancy: whose job it is, if it is a tenant's; its file may then name only what is that tenant's.
    """

    def __init__(self, *, pipeline_file: str, tenancy: Tenancy | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline_file = pipeline_file
        self.tenancy = tenancy

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the mode decision as plain data."""
        try:
            spec = self._spec(context)
            check_targets(spec, publisher_of)
            with self.step(context, "analyze") as step:
                decision = analyze_batches(step.store, step.fence, spec, step.outside)
                free_left_records(step, publisher_of)
        except (InputRefusedError, StoreNotReadyError) as error:
            context["ti"].xcom_push(key=REFUSED, value={"why": _why(error), "codes": _codes(error)})
            raise AirflowFailException(str(error)) from error
        if spec.preset is not None:
            self.log.info("The run has chosen the preset %s", spec.preset)
        self.log.info("%s", decision)
        context["ti"].xcom_push(key="decision", value=decision.as_json())
        return decision.as_json()

    def _spec(self, context: Context) -> RunSpec:
        path = Path(self.pipeline_file)
        found = deployed_pipeline_file(path) if self.tenancy is None else read_job(path, self.tenancy)
        conf = read_conf(context["dag_run"].conf)
        spec = resolve(found.pipeline, found.read_contracts(), conf, _run_date(context))
        if self.tenancy is not None:
            spec = spec.model_copy(update={"home": self.tenancy.home})
        check_folders(spec)
        return spec


def _why(error: InputRefusedError | StoreNotReadyError) -> str:
    """The refusal in one line, not longer than a person reads."""
    if isinstance(error, StoreNotReadyError):
        return str(error)
    told = some_of(map(str, error.problems), MOST_PROBLEMS, separator="; ")
    return f"{error.subject} was refused: {told}"[:LONGEST_WHY]


def _codes(error: InputRefusedError | StoreNotReadyError) -> list[str]:
    """What kinds of problems there are, each once."""
    if isinstance(error, StoreNotReadyError):
        return [ProblemCode.NOT_READY.value]
    return sorted({problem.code.value for problem in error.problems})


def _run_date(context: Context) -> date:
    run = context["dag_run"]
    return (run.logical_date or run.run_after).date()
