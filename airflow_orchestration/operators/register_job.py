"""Registers a job at run time: its Dag appears when the bundle is refreshed and parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.exceptions import InputRefusedError, StoreNotReadyError
from airflow_orchestration.hooks.agent_registry import keep_job, open_store, registry_terms
from airflow_orchestration.workflow.registering import MAX_CHANGED_BY, JobTexts

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterJobOperator(BaseOperator):
    """Puts a job of any tenant into the job registry, checked as everybody else's.

    Texts that a task before it made are taken as they are; what stands in the Dag file is rendered as every
    template field is, so `{{ }}` in it is Airflow's. A text that is refused fails the task without a retry.

    Whoever writes a Dag with it may bring jobs of every tenant. A task can't see from which bundle Airflow has a Dag,
    so the ids of jobs must be nobody else's.

    :param tenant: whose job it is.
    :param job: its name; the Dag's id is `<tenant>__<job>`.
    :param specification: the text of the pipeline file (YAML).
    :param contract: the text of the data contract that it names.
    """

    template_fields: Sequence[str] = ("tenant", "job", "specification", "contract")
    ui_color = "#e8f1fa"

    def __init__(
        self,
        *,
        tenant: str,
        job: str,
        specification: str,
        contract: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tenant = tenant
        self.job = job
        self.specification = specification
        self.contract = contract

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the id of the job's Dag, and the revision that it is from."""
        ti = context["ti"]
        texts = JobTexts(specification=self.specification, contract=self.contract)
        try:
            terms = registry_terms()
            with open_store(terms) as store:
                kept = keep_job(
                    terms,
                    store.registry,
                    self.tenant,
                    self.job,
                    texts,
                    changed_by=f"task {ti.dag_id}.{ti.task_id}"[:MAX_CHANGED_BY],
                )
        except (InputRefusedError, StoreNotReadyError) as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("%s is of revision %d", kept.dag_id, kept.revision)
        return {"dag_id": kept.dag_id, "revision": kept.revision}
