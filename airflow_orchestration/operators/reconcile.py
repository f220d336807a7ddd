"""Merges feeds that came late into what their runs have published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_orchestration.exceptions import OrchestrationError
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.operators.base import OrchestrationOperator, open_step, run_key
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.reconcile import LOOK_BACK, read_late_files, reconcile

if TYPE_CHECKING:
    from airflow.sdk import Context

RUN_ID = "run_id"
"""The parameter that names one run; without it all degraded runs of the last days are looked at."""


class Reconciler:
    """Reconciles runs of one pipeline from a task, and tells Airflow's assets of each new version."""

    def __init__(self, context: Context, *, conn_id: str, publish_conn_id: str, asset: Asset) -> None:
        self._context = context
        self._conn_id = conn_id
        self._publish_conn_id = publish_conn_id
        self._asset = asset

    def degraded_runs(self, dag_id: str) -> Sequence[RunKey]:
        """The runs that may still be repaired."""
        with OrchestrationHook(self._conn_id).store() as store:
            return store.degraded_runs(dag_id, LOOK_BACK)

    def run(self, key: RunKey, *, read_files: bool = True, failed_too: bool = False) -> dict[str, Any] | None:
        """Bring in what came late to one run; return its new manifest if there was anything.

        With `read_files` it looks for files that came after the run, with `failed_too` it reads feeds
        that failed again.
        """
        with OrchestrationHook(self._conn_id).store() as store:
            rounds = store.rounds(key)
        if not rounds:
            raise OrchestrationError(
                f"the store knows no run {key.run_id!r} of {key.dag_id} that got to its feeds"
            )
        own = run_key(self._context)
        unit = f"reconcile:{own.dag_id}/{own.run_id}"
        with open_step(self._context, self._conn_id, rounds[-1].round, unit, key) as step:
            publisher = OrchestrationHook(self._publish_conn_id).publisher()
            if read_files:
                read_late_files(step, publisher, failed_too=failed_too)
            manifest = reconcile(step, publisher)
        if manifest is not None:
            extra = {**manifest, "run_id": key.run_id}
            self._context["outlet_events"][late_versions(self._asset)].add(self._asset, extra=extra)
        return manifest


def late_versions(asset: Asset) -> AssetAlias:
    """Name the events of an asset that late feeds caused: a task with it as outlet sends none otherwise."""
    return AssetAlias(f"{asset.name} late")


class ReconcileOperator(OrchestrationOperator):
    """Looks for feeds that came after their run, and publishes each such run anew as a further version.

    Without a parameter it looks at the degraded runs of the last 7 days. Parameter `run_id` names one run;
    feeds of it that failed are then read again too.

    :param pipeline_id: id of the pipeline, which is the id of its Dag.
    :param publish_conn_id: the Airflow connection of the target database.
    :param asset: the asset that the published table is.
    """

    def __init__(self, *, pipeline_id: str, publish_conn_id: str, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[late_versions(asset)], **kwargs)
        self.pipeline_id = pipeline_id
        self.publish_conn_id = publish_conn_id
        self.asset = asset

    def execute(self, context: Context) -> dict[str, Any]:
        """Return run id -> version and state of the runs that got something."""
        reconciler = Reconciler(
            context,
            conn_id=self.orchestration_conn_id,
            publish_conn_id=self.publish_conn_id,
            asset=self.asset,
        )
        named = context["params"].get(RUN_ID)
        if named is not None:
            runs: Sequence[RunKey] = [RunKey(dag_id=self.pipeline_id, run_id=named)]
        else:
            runs = reconciler.degraded_runs(self.pipeline_id)
        done, failed = {}, []
        for key in runs:
            try:
                manifest = reconciler.run(key, failed_too=named is not None)
            except Exception:
                self.log.exception("Run %s could not be repaired", key.run_id)
                failed.append(key.run_id)
                continue
            self.log.info("Run %s: %s", key.run_id, _said(manifest))
            if manifest is not None:
                done[key.run_id] = {"version": manifest["version"], "state": manifest["state"]}
        self._raise(failed, named)
        return done

    def _raise(self, failed: list[str], named: str | None) -> None:
        if not failed:
            return
        message = f"Not repaired: {', '.join(failed)}; the reasons stand in the log above."
        raise AirflowFailException(message) if named else AirflowException(message)


def _said(manifest: dict[str, Any] | None) -> str:
    if manifest is None:
        return "nothing new has come"
    last = manifest["versions"][-1]
    missing = ", ".join(line["feed"] for line in manifest["missing"]) or "nothing"
    return (
        f"version {last['version']} brings {', '.join(last['feeds'])}: {last['rows_added']} rows added, "
        f"{last['rows_changed']} changed, {last['rows_withdrawn']} withdrawn; still missing: {missing}"
    )
