"""A process that plays a run with a conf, and writes down everything that its tasks send to Airflow."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from airflow.sdk.configuration import conf as settings
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.operators.base import open_step
from airflow_orchestration.policies.asking import Question
from airflow_orchestration.workflow.asking import ask_after_gate, put_question
from airflow_orchestration.workflow.routes import Route
from tests.airflow.whole_run import CONN_ID, WholeRun
from tests.security.canaries import conf


class ToldRun(WholeRun):
    """One run of a Dag, with a conf; `sent` gets a line for each request."""

    def __init__(self, dag: Any, run_id: str, sent: Path) -> None:
        super().__init__(dag, run_id)
        self._sent = sent

    def ask(self) -> None:
        """Put the question of the gate, as a person would be asked."""
        with open_step(self._context("round_1.plan"), CONN_ID, 1, "ask") as step:
            verdict = step.store.rounds(self.key)[0].verdict
            assert verdict is not None
            assert ask_after_gate(step, verdict, Route.MERGE) is Route.ASK
            put = put_question(step, Question.GATE, datetime.now(tz=UTC))
        self._write({"method": "ASK", "path": "/question", "body": f"{put.subject}\n{put.body}"})

    def _write(self, line: dict[str, str]) -> None:
        with self._sent.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self._write({"method": request.method, "path": request.url.path, "body": request.content.decode()})
        answer = super()._answer(request)
        if request.url.path.endswith("/run"):
            told = answer.json()
            told["dag_run"]["conf"] = conf()
            return httpx.Response(200, json=told)
        return answer


if __name__ == "__main__":
    legacy_names = settings.getboolean("metrics", "legacy_names_on")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy_names)
    run = ToldRun(pipeline_dag(Path(sys.argv[1])), "manual__1", Path(sys.argv[2]))
    run.begin()
    run.work()
    run.ask()
    run.end()
