"""Merges feeds that came late into what their runs have published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.exceptions import (
    InputRefusedError,
    LedgerMismatchError,
    PublishConflictError,
    StagedFileError,
)
from airflow_orchestration.hooks.orchestration import OrchestrationHook, publisher_of
from airflow_orchestration.insights.completeness import DAG_RUN_NOTE
from airflow_orchestration.operators.base import OrchestrationOperator, open_step, run_key
from airflow_orchestration.operators.instance_name import cut, show_now
from airflow_orchestration.operators.quality_results import with_quality_results
from airflow_orchestration.operators.run_metrics import tell_versions
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.reconcile import LOOK_BACK, read_late_files, reconcile

if TYPE_CHECKING:
    from airflow.sdk import Context

RUN_ID = "run_id"
"""The parameter that names one run; without it all degraded runs of the last days are looked at."""
RUN_NAME = "{{ repaired_run }}"
"""Shows a mapped task by the run that it repairs, which the task itself puts into its context."""
FINAL = (InputRefusedError, LedgerMismatchError, PublishConflictError, StagedFileError)
"""What no retry of the same task can change."""


class Reconciler:
    """Reconciles runs of one pipeline from a task, and tells Airflow's assets of each new version."""

    def __init__(self, context: Context, *, conn_id: str, assets: Sequence[Asset]) -> None:
        self._context = context
        self._conn_id = conn_id
        self._assets = {asset.name: asset for asset in assets}

    def degraded_runs(self, dag_id: str) -> Sequence[RunKey]:
        """The runs that may still be repaired."""
        with OrchestrationHook(self._conn_id).store() as store:
            return store.degraded_runs(dag_id, LOOK_BACK)

    def run(self, key: RunKey, *, read_files: bool = True, failed_too: bool = False) -> dict[str, Any] | None:
        """Bring in what came late to one run; return its new manifest if there was anything.

        With `read_files` it looks for files that came after the run, with `failed_too` it reads feeds
        that failed again. An event is sent when the task ends well; a retry sends what an earlier try
        has published and could not tell.
        """
        with OrchestrationHook(self._conn_id).store() as store:
            rounds = store.rounds(key)
            before = self._version_before(key, store.manifest(key))
        own = run_key(self._context)
        unit = f"reconcile:{own.dag_id}/{own.run_id}"
        with open_step(self._context, self._conn_id, rounds[-1].round, unit, key) as step:
            if read_files:
                informed = with_quality_results(self._context, step, step.spec.feeds)
                read_late_files(informed, publisher_of, failed_too=failed_too)
            manifest = reconcile(step, publisher_of) or step.store.manifest(key)
            run = step.run
        if manifest is None or manifest.get("version", 1) <= before:
            return None
        tell_versions(run, rounds[-1], manifest, after=before)
        self._tell(key, manifest)
        return dict(manifest)

    def _tell(self, key: RunKey, manifest: Mapping[str, Any]) -> None:
        """Send an event of every table that has got a later version."""
        extra = {**manifest, "run_id": key.run_id}
        for dataset in manifest["datasets"]:
            if dataset["version"] > 1:
                asset = self._assets[dataset["table"]]
                self._context["outlet_events"][late_versions(asset)].add(asset, extra=extra)

    def _version_before(self, key: RunKey, manifest: Any) -> int:
        """The version that the first try of this task found: kept where retries find it."""
        kept: Any = self._context["task_state_store"]
        name = f"version of {key.run_id}"
        before = kept.get(name)
        if before is None:
            before = 1 if manifest is None else manifest.get("version", 1)
            kept.set(name, before)
        return int(before)


def late_versions(asset: Asset) -> AssetAlias:
    """Name the events of an asset that late feeds caused: a task with it as outlet sends none otherwise."""
    return AssetAlias(f"{asset.name} late")


class FindLateOperator(OrchestrationOperator):
    """Names the runs to look at: the one of parameter `run_id`, or the degraded ones of the last 7 days.

    :param pipeline_id: id of the pipeline, which is the id of its Dag.
    """

    def __init__(self, *, pipeline_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline_id = pipeline_id

    def execute(self, context: Context) -> list[str]:
        """Return run ids."""
        conf: Any = getattr(context["dag_run"], "conf", None) or {}
        unknown = sorted(set(conf) - {RUN_ID})
        if unknown:
            raise AirflowFailException(f"conf: {', '.join(unknown)} is unknown; write {RUN_ID}, or nothing")
        named = context["params"].get(RUN_ID)
        with OrchestrationHook(self.orchestration_conn_id).store() as store:
            if named is None:
                found = [key.run_id for key in store.degraded_runs(self.pipeline_id, LOOK_BACK)]
                self.log.info(
                    "%d runs of %s lack feeds and began in the last %d days: %s",
                    len(found),
                    self.pipeline_id,
                    LOOK_BACK.days,
                    some_of(found) or "nothing to repair",
                )
                return found
            if not store.rounds(RunKey(dag_id=self.pipeline_id, run_id=named)):
                key = RunKey(dag_id=self.pipeline_id, run_id=named)
                pruned_at = store.pruning.pruned_at(key)
                why = (
                    f"was pruned on {pruned_at:%Y-%m-%d}: trigger a new one"
                    if pruned_at
                    else "is unknown, or never came to its feeds: write the id of a run as Airflow shows it, or none"
                )
                raise AirflowFailException(f"{RUN_ID}: run {named!r} of {self.pipeline_id} {why}")
        self.log.info("Asked for run %s alone; feeds of it that failed are read again too", named)
        return [named]


class ReconcileOperator(OrchestrationOperator):
    """Looks for feeds that came after their run, and publishes the run anew as a further version.

    When the parameter `run_id` named the run, feeds of it that failed are read again too.

    :param late_run_id: a run of the pipeline; map the operator over what `FindLateOperator` returns.
    :param pipeline_id: id of the pipeline, which is the id of its Dag.
    :param assets: the assets that the published tables are.
    """

    def __init__(self, *, late_run_id: str, pipeline_id: str, assets: Sequence[Asset], **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", RUN_NAME)
        super().__init__(**kwargs)
        self.late_run_id = late_run_id
        self.pipeline_id = pipeline_id
        self.assets = list(assets)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Return the run's new manifest, or None when nothing new has come."""
        show_now(context, cut(self.late_run_id))
        context["repaired_run"] = cut(self.late_run_id)  # type: ignore[typeddict-unknown-key]  # read by map_index_template
        reconciler = Reconciler(context, conn_id=self.orchestration_conn_id, assets=self.assets)
        key = RunKey(dag_id=self.pipeline_id, run_id=self.late_run_id)
        try:
            manifest = reconciler.run(key, failed_too=context["params"].get(RUN_ID) is not None)
        except FINAL as error:
            raise AirflowFailException(str(error)) from error
        said = f"Run {self.late_run_id}: {_said(manifest)}"
        if manifest is not None:
            context["ti"].xcom_push(key=DAG_RUN_NOTE, value=said)
        self.log.info("%s", said)
        return manifest


def _said(manifest: dict[str, Any] | None) -> str:
    if manifest is None:
        return "nothing new is merged; what was read and can't be used stands in the log above"
    newest = {line["dataset"]: line for line in manifest["versions"] if line["version"] > 1}
    missing = some_of(line["feed"] for line in manifest["missing"]) or "nothing"
    return f"{'; '.join(map(_version_said, newest.values()))}; still missing: {missing}"


def _version_said(line: Mapping[str, Any]) -> str:
    return (
        f"version {line['version']} brings {some_of(line['feeds'])}: {line['rows_added']} rows added, "
        f"{line['rows_changed']} changed, {line['rows_withdrawn']} withdrawn"
    )
