"""A person is asked, or not, on a real scheduler, and the run follows what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from demo.processes import wait_until
from demo.stack import Stack

pytestmark = pytest.mark.integration

FEEDS = ("north", "east", "south", "west")
BROKEN = ""
POOR_ROWS = [f"valid{number},1" for number in range(5)] + [f"invalid{number},-1" for number in range(6)]


class Asked:
    """A run of a pipeline that asks, from its start to its end."""

    def __init__(self, stack: Stack, dag_id: str, feeds: Mapping[str, str]) -> None:
        folder = stack.home / "asked"
        folder.mkdir(exist_ok=True)
        for feed, text in feeds.items():
            (folder / f"{feed}.csv").write_text(text)
        self.stack = stack
        stack.api.wait_for_dag(dag_id)
        self.key = RunKey(dag_id=dag_id, run_id=stack.api.trigger(dag_id))

    def question(self, task_id: str) -> dict[str, Any]:
        """Wait until the task asks, and return what it asks."""
        assert wait_until(lambda: "awaiting_input" == self.tasks.get(task_id), 120, every=0.5), self.tasks
        found: dict[str, Any] = self.stack.api.get(self._asks(task_id))
        return found

    def answer(self, task_id: str, option: str) -> None:
        """Answer until Airflow has taken it: it may ask again when it is answered at once (apache/airflow#72716)."""

        def taken() -> bool:
            waits = "awaiting_input" == self.tasks[task_id]
            if waits and not self.stack.api.get(self._asks(task_id))["response_received"]:
                self.stack.api.patch(self._asks(task_id), {"chosen_options": [option], "params_input": {}})
            return "success" == self.tasks[task_id]

        assert wait_until(taken, 120, every=0.5), self.tasks

    def end(self) -> tuple[str, str]:
        """Wait for the end, and return the states of the Dag run and of the manifest."""
        state = self.stack.api.wait_for_run(self.key.dag_id, self.key.run_id)
        return state, self.manifest["state"]

    @property
    def tasks(self) -> dict[str, str]:
        found = self.stack.api.task_instances(self.key.dag_id, self.key.run_id)
        return {task["task_id"]: task["state"] for task in found}

    @property
    def manifest(self) -> Mapping[str, Any]:
        with PostgresStore(lambda: psycopg.connect(self.stack.warehouse_dsn)) as store:
            return store.manifest(self.key) or {}

    @property
    def told(self) -> dict[str, str]:
        with PostgresStore(lambda: psycopg.connect(self.stack.warehouse_dsn)) as store:
            return dict(sentence(event) for event in store.timeline(self.key))

    def _asks(self, task_id: str) -> str:
        run = f"/api/v2/dags/{self.key.dag_id}/dagRuns/{quote(self.key.run_id, safe='')}"
        return f"{run}/taskInstances/{task_id}/-1/hitlDetails"


def good(feed: str) -> str:
    return f"code,size\n{feed},1\n"


def poor(feed: str) -> str:
    return "\n".join(["code,size", *(f"{feed}_{row}" for row in POOR_ROWS), ""])


def feeds(*, broken: tuple[str, ...] = ()) -> dict[str, str]:
    return {feed: BROKEN if feed in broken else good(feed) for feed in FEEDS}


def test_a_person_stops_a_conditional_opening(stack: Stack) -> None:
    """Asked about three of four feeds, a person says stop: nothing is published, and everybody sees who said so."""
    run = Asked(stack, "asked", feeds(broken=("west",)))
    question = run.question("round_1.ask_gate")
    run.answer("round_1.ask_gate", "Stop")
    end = run.end()

    assert ["Merge what has arrived", "Try another round", "Stop"] == question["options"]
    assert ["Merge what has arrived"] == question["defaults"]
    assert "asked: 3 of 4 feeds arrived (75 %). Merge without the others?" == question["subject"]
    assert "| `west` | failed | 1 |" in question["body"]
    assert question["task_instance"]["trigger"] is None
    assert ("failed", "not_published") == end
    assert f"person: {stack.user} said stop" == run.manifest["why"]
    assert f"by {stack.user}: Stop" == run.told["answered"]
    assert {"skipped"} == {run.tasks[task] for task in ("round_1.merge", "round_2.plan", "publish")}


def test_nobody_answers(stack: Stack) -> None:
    """When the time is over the run does what it would have done unasked, and says that nobody answered."""
    run = Asked(stack, "asked_briefly", feeds(broken=("west",)))

    assert ("success", "published_degraded") == run.end()
    assert "by nobody in time: Merge what has arrived" == run.told["answered"]
    assert "round_1.ask_quality" not in run.tasks


def test_a_person_merges_below_the_floor(stack: Stack) -> None:
    """Below the floor a person lets the run try again, and then merge what arrived instead of stopping."""
    run = Asked(stack, "asked", feeds(broken=("south", "west")))
    first = run.question("round_1.ask_gate")
    run.answer("round_1.ask_gate", "Try another round")
    second = run.question("round_2.ask_gate")
    run.answer("round_2.ask_gate", "Merge what has arrived")

    assert ["Try another round"] == first["defaults"]
    assert ["Merge what has arrived", "Stop"] == second["options"]
    assert ["Stop"] == second["defaults"]
    assert ("success", "published_degraded") == run.end()
    assert ["south", "west"] == [line["feed"] for line in run.manifest["missing"]]
    assert {"skipped"} == {run.tasks[task] for task in ("round_1.merge", "round_2.ask_quality", "fail")}


def test_a_person_publishes_a_near_miss(stack: Stack) -> None:
    """A table just below the standard is published on a person's word, which counts as the approval."""
    run = Asked(stack, "asked", {feed: poor(feed) for feed in FEEDS})
    question = run.question("round_1.ask_quality")
    run.answer("round_1.ask_quality", "Publish it")

    assert ["Publish it", "Try another round", "Stop"] == question["options"]
    assert ("success", "published") == run.end()
    assert 20 == run.manifest["rows"]
    assert "skipped" == run.tasks["round_1.ask_gate"]
