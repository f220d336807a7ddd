"""Publishes the approved merge, and says how the run ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.domain.pipeline import Late
from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.exceptions import (
    InputRefusedError,
    LedgerMismatchError,
    NotPublishedError,
    ProblemCode,
    PublishConflictError,
    UnknownRunError,
)
from airflow_orchestration.hooks.orchestration import publisher_of
from airflow_orchestration.insights.completeness import DAG_RUN_NOTE, manifest_note
from airflow_orchestration.insights.page_path import page_path
from airflow_orchestration.operators.analyze_batches import ANALYZE_BATCHES, REFUSED
from airflow_orchestration.operators.base import OrchestrationOperator, run_key
from airflow_orchestration.operators.lineage import Told, run_lineage
from airflow_orchestration.operators.reconcile import Reconciler, late_versions
from airflow_orchestration.operators.run_metrics import measure_run, tell_metrics, tell_refused
from airflow_orchestration.storage.store import RunKey, RunState
from airflow_orchestration.workflow.close_out import close_out, refuse
from airflow_orchestration.workflow.publish import PUBLISH, histories, manifest_of, publish, sentence_of

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset, Context

    from airflow_orchestration.storage.publication import Published
    from airflow_orchestration.workflow.step import Step

NOT_STARTED = "the run did not begin: see the log of analyze_batches"
FINAL = (InputRefusedError, LedgerMismatchError, NotPublishedError, PublishConflictError)
"""What no retry of the same task can change."""


class PublishOperator(OrchestrationOperator):
    """Publishes each dataset exactly once, and sends the completeness manifest with the asset events.

    :param assets: the assets that the published tables are.
    """

    def __init__(self, *, assets: Sequence[Asset], **kwargs: Any) -> None:
        super().__init__(outlets=list(assets), **kwargs)
        self.assets = list(assets)
        self._lineage: Told | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what the publish transactions counted."""
        with self.step(context, PUBLISH) as step:
            try:
                published = publish(step, publisher_of)
            except FINAL as error:
                raise AirflowFailException(str(error)) from error
            manifest = manifest_of(step, published=True, known=histories(step, publisher_of))
            self._lineage = Told(spec=step.spec, manifest=manifest)
        for asset in self.assets:
            context["outlet_events"][asset].extra = manifest
        counted = {
            "rows_in": sum(one.rows_in for one in published.values()),
            "rows_published": sum(one.rows_published for one in published.values()),
        }
        for dataset, one in published.items():
            self.log.info(
                "%s %s: %s", "Found published" if one.already_published else "Published", dataset, _told(one)
            )
        return counted

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what was read, what was written and what is missing, if Airflow's provider for it is there."""
        return run_lineage(self._lineage)


def _told(one: Published) -> str:
    return (
        f"{one.rows_in:,} rows in = {one.rows_published:,} published + {one.rows_superseded:,} superseded + "
        f"{one.rows_quarantined:,} quarantined; {one.rows_inserted:,} inserted, {one.rows_updated:,} updated, "
        f"{one.rows_unchanged:,} as they were"
    )


class FailOperator(OrchestrationOperator):
    """Ends a run that has nothing good enough to publish."""

    def execute(self, context: Context) -> None:
        """Fail with the decisions that led here."""
        with self.step(context, "fail") as step:
            decisions = step.store.decisions(step.run_key)
        why = "; ".join(
            f"round {number}: {sentence_of(decision)}"
            for number, decision in decisions
            if decision["policy"] in {"quorum_gate", "quality_gate", "person"}
        )
        raise AirflowFailException(f"Nothing was published. {why}")


class CloseOutOperator(OrchestrationOperator):
    """The only leaf of the Dag: records the end, merges what came late, and fails unless something was published.

    :param assets: the assets that the published tables are.
    :param late: which late feeds are merged here: those of this run, or those of earlier ones.
    """

    def __init__(self, *, assets: Sequence[Asset], late: Late, **kwargs: Any) -> None:
        super().__init__(outlets=[late_versions(asset) for asset in assets], **kwargs)
        self.assets = list(assets)
        self.late = late
        self._lineage: Told | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the completeness manifest."""
        with self.step(context, "close_out") as step:
            try:
                step.store.run(step.run_key)
            except UnknownRunError:
                self._refused(context, step)
            manifest = close_out(step, publisher_of)
            self._lineage = Told(spec=step.spec, manifest=manifest, wrote=False)
            measured = measure_run(step, manifest)
        self._tell(context, manifest)
        if manifest["state"] == RunState.NOT_PUBLISHED:
            tell_metrics(measured)
            self._lead_to_the_page(context)
            raise AirflowFailException(f"{NotPublishedError()} {manifest['why']}")
        repaired = self._with_late_feeds(context, manifest)
        if repaired is not manifest:
            self._lineage = replace(self._lineage, manifest=repaired, wrote=True)
            self._tell(context, repaired)
        tell_metrics(measured)
        missing = some_of(f"{line['feed']} ({line['why']})" for line in repaired["missing"])
        self.log.info("The run ended %s. Missing: %s", repaired["state"], missing or "nothing")
        self._lead_to_the_page(context)
        return repaired

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage how the run ended, and what a later version brought, if Airflow's provider for it is there."""
        return run_lineage(self._lineage)

    def _refused(self, context: Context, step: Step) -> NoReturn:
        """Record why a run never began, and fail."""
        ti = context["ti"]
        told = ti.xcom_pull(task_ids=ANALYZE_BATCHES, map_indexes=-1, key=REFUSED)
        why, codes = _read(told)
        manifest = refuse(step, why, codes)
        self._tell(context, manifest)
        tell_refused(step.run_key.dag_id)
        self._lead_to_the_page(context)
        raise AirflowFailException(f"{NotPublishedError()} {manifest['why']}")

    def _lead_to_the_page(self, context: Context) -> None:
        own = run_key(context)
        base = conf.get("api", "base_url", fallback="") or ""
        address = f"{base.rstrip('/')}/{page_path(own.dag_id, own.run_id)}"
        self.log.info("Every decision of the run, with its reason: %s", address)

    def _tell(self, context: Context, manifest: dict[str, Any]) -> None:
        """Leave the manifest, and the note of a run that is not complete."""
        context["ti"].xcom_push(key="manifest", value=manifest)
        context["ti"].xcom_push(key=DAG_RUN_NOTE, value=manifest_note(manifest) or "")

    def _with_late_feeds(self, context: Context, manifest: dict[str, Any]) -> dict[str, Any]:
        """Merge what came late as the pipeline file asks; return this run's manifest after that.

        The run is published: that a repair fails is told in the log, and the next look tries it again.
        """
        own, last_try = run_key(context), context["ti"].try_number > context["ti"].max_tries
        reconciler = Reconciler(context, conn_id=self.orchestration_conn_id, assets=self.assets)
        try:
            if self.late is Late.RECONCILE and manifest["state"] == RunState.PUBLISHED_DEGRADED:
                return reconciler.run(own, read_files=False) or manifest
        except Exception:
            if not last_try:
                raise
            self.log.exception("The late feeds of this run could not be merged")
        if self.late is Late.NEXT_RUN:
            for key in reconciler.degraded_runs(own.dag_id):
                if key != own:
                    self._repair(reconciler, key)
        return manifest

    def _repair(self, reconciler: Reconciler, key: RunKey) -> None:
        try:
            reconciler.run(key)
        except Exception:
            self.log.exception("The late feeds of run %s could not be merged", key.run_id)


def _read(told: object) -> tuple[str, list[str]]:
    """Why a run was refused, and the kinds of its problems: an XCom may have been changed since it was written."""
    if not isinstance(told, dict) or not isinstance(told.get("why"), str):
        return NOT_STARTED, []
    codes = told.get("codes")
    known = [code for code in ProblemCode if isinstance(codes, list) and code in codes]
    return told["why"], [code.value for code in known]
