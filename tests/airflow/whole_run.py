"""A process that runs the tasks of a pipeline's Dag by Airflow's task runner, without Airflow's own database.

Listeners and metrics are set up as in a worker. The gate and the forks, which Airflow's scheduler plays a part in,
are decided by the functions that their tasks call.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
from airflow.sdk import DAG
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.configuration import conf
from airflow.sdk.execution_time.supervisor import run_task_in_process
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.operators.base import open_step
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.step import read_spec

NOW = datetime.now(tz=UTC).isoformat()
ALL_OVER = {lane.value: "success" for lane in Lane}
LANES = {lane.value: lane.value for lane in Lane}
CONN_ID = OrchestrationHook.default_conn_name


class WholeRun:
    """One run of a Dag."""

    def __init__(self, dag: DAG, run_id: str) -> None:
        self.dag = dag
        self.key = RunKey(dag_id=dag.dag_id, run_id=run_id)
        self.client = Client(base_url=None, dry_run=True, token="")
        self.client._transport = httpx.MockTransport(self._answer)

    def begin(self) -> None:
        """Come to the first round."""
        self._task("analyze_batches")
        self._task("round_1.plan")

    def work(self) -> None:
        """Process the feeds, and publish them."""
        with OrchestrationHook(CONN_ID).store() as store:
            plan = store.rounds(self.key)[0].plan
            for lane in Lane:
                for index, branch_id in enumerate(plan.branches_in(lane)):
                    self._task(f"round_1.{lane.value}", map_index=index, branch_id=branch_id)
            decide_gate(store, self.key, read_spec(store.run(self.key)), 1, LANES, ALL_OVER)
        self._task("round_1.merge")
        with open_step(self._context("round_1.validate_quality"), CONN_ID, 1, "quality") as step:
            validate_quality(step)
        self._task("publish")

    def end(self) -> None:
        """Close it out, however far it came."""
        self._task("close_out")

    def _task(self, task_id: str, *, map_index: int = -1, **mapped: str) -> None:
        task: Any = self.dag.get_task(task_id)
        if mapped:
            task = task.unmap(mapped)
        run_task_in_process(ti=self._instance(task_id, map_index), task=task, client=self.client)

    def _instance(self, task_id: str, map_index: int) -> Any:
        return TaskInstance(
            id=uuid4(),
            dag_version_id=uuid4(),
            dag_id=self.key.dag_id,
            run_id=self.key.run_id,
            task_id=task_id,
            try_number=1,
            map_index=map_index,
        )

    def _context(self, task_id: str) -> Any:
        told = self._instance(task_id, -1).model_dump()
        return {"ti": SimpleNamespace(**told, start_date=datetime.now(tz=UTC)), "dag": self.dag}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """Tell a task of its run; take everything else as Airflow does, and keep nothing."""
        if (
            "/xcoms/" in request.url.path and request.method == "GET"
        ):  # the first task of a refused run was killed
            return httpx.Response(200, json={"key": "refused", "value": None})
        if request.method == "GET":  # what an earlier try found: version 1
            return httpx.Response(200, json={"value": 1})
        if not request.url.path.endswith("/run"):
            return httpx.Response(200, json={"message": "taken"})
        times = dict.fromkeys(("logical_date", "run_after", "start_date"), NOW)
        ends = dict.fromkeys(("data_interval_start", "data_interval_end", "end_date", "partition_key"))
        run = {"dag_id": self.key.dag_id, "run_id": self.key.run_id, "run_type": "manual", "state": "running"}
        return httpx.Response(
            200,
            json={"dag_run": {**times, **ends, **run, "consumed_asset_events": []}, "max_tries": 0},
        )


if __name__ == "__main__":
    legacy_names = conf.getboolean("metrics", "legacy_names_on")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy_names)
    dag = pipeline_dag(Path(sys.argv[1]))
    WholeRun(dag, "refused").end()
    unpublished = WholeRun(dag, "unpublished")
    unpublished.begin()
    unpublished.end()
    run = WholeRun(dag, "manual__1")
    run.begin()
    run.work()
    run.end()
