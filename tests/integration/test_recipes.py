"""The recipes of the docs, and what they leave behind for people, on a real scheduler and triggerer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from signal import SIGKILL
from typing import Any
from urllib.parse import quote

import pytest

from airflow_orchestration.domain.deadline import next_occurrence
from airflow_orchestration.plugins.run_note import MARK
from demo.errors import ApiError
from demo.processes import end, family, wait_until
from demo.stack import DAEMONS, Stack

pytestmark = pytest.mark.integration
FIVE_LANES = "orchestration://orchestration_default/public/five_lanes"
OF_FIVE_LANES = {
    "stream.ndjson": '{"code": "s", "size": 1}\n',
    "live.json": '[{"code": "l", "size": 3.5}]',
    "nightly.csv": "code,size\nn,1\n",
    "totals.csv": "code,size\nt,1\n",
    "checks.csv": "code,size\nc,1\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A Dag run, read through the REST API."""

    stack: Stack
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}"

    def wait(self) -> Run:
        self.stack.api.wait_for_run(self.dag_id, self.run_id)
        return self

    def read(self, name: str) -> Any:
        return self.stack.api.get(self.path)[name]

    def clear(self) -> Run:
        asked = {"dag_run_id": self.run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        self.stack.api.post(f"/api/v2/dags/{self.dag_id}/clearTaskInstances", asked)
        return self

    def states(self) -> dict[tuple[str, int], str]:
        tasks = self.stack.api.task_instances(self.dag_id, self.run_id)
        return {(task["task_id"], task["map_index"]): task["state"] for task in tasks}

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        return self.stack.api.get(f"{self.path}/taskInstances/{task_id}/xcomEntries/{key}")["value"]

    def log(self, task_id: str) -> str:
        return str(self.stack.api.get(f"{self.path}/taskInstances/{task_id}/logs/1?full_content=true"))


def start(stack: Stack, dag_id: str, conf: Mapping[str, Any] | None = None) -> Run:
    stack.api.wait_for_dag(dag_id)
    return Run(stack=stack, dag_id=dag_id, run_id=stack.api.trigger(dag_id, conf))


def play(stack: Stack, dag_id: str, conf: Mapping[str, Any] | None = None) -> Run:
    return start(stack, dag_id, conf).wait()


def latest(stack: Stack, dag_id: str, known: set[str]) -> Run:
    """Wait for a run that is not known yet, and for its end."""
    found: list[str] = []

    def new_run() -> bool:
        runs = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
        found[:] = [run["dag_run_id"] for run in runs if run["dag_run_id"] not in known]
        return bool(found)

    assert wait_until(new_run, 120, every=0.5)
    return Run(stack=stack, dag_id=dag_id, run_id=found[0]).wait()


def runs_of(stack: Stack, dag_id: str) -> set[str]:
    stack.api.wait_for_dag(dag_id)
    runs = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
    return {run["dag_run_id"] for run in runs}


def test_mapped_task_yellow(stack: Stack) -> None:
    """With a failed and a late instance in the middle, the others are merged by name; the run is green with a note."""
    run = start(stack, "recipe_mapped_task")
    stack.api.patch(f"{run.path}?update_mask=note", {"note": "watched by Ada"})
    run.wait()

    assert "success" == run.read("state")
    assert {"load[0]": "africa", "load[3]": "europe", "load[4]": "oceania"} == run.xcom("merge")
    assert "success" == run.states()["load", 2]  # it came, and was not taken
    assert "failed" == run.states()["load", 1]
    assert (
        f"watched by Ada\n\n{MARK}quorum_gate opened with 3 of 5 members (60 % of the weight). "
        "Missing: load[1] (failed), load[2] (late)."
    ) == run.read("note")


def test_several_tasks_green(stack: Stack) -> None:
    """Two gates in one run share tasks, each by its own rule, and accepted failures leave no trace on the run."""
    run = play(stack, "recipe_several_tasks")

    assert ("success", None) == (run.read("state"), run.read("note"))
    assert {"flights": 300, "airports": 20} == run.xcom("quick_look")
    assert {"flights": 300, "airports": 20, "weather": 1000} == run.xcom("report")
    assert "all_arrived" == run.xcom("core")["reason"]
    assert ("only_failed_missing", 5 / 6) == (
        run.xcom("everything")["reason"],
        run.xcom("everything")["evidence"]["progress"],
    )


def test_task_group_red(stack: Stack) -> None:
    """The leaves of groups are the members, mapped ones included; merged without one, the run fails as chosen."""
    run = play(stack, "recipe_task_group")

    assert "failed" == run.read("state")
    assert {"altair.check": 6, "deneb.check": 6, "archive.page[0]": 3, "archive.page[1]": 7} == run.xcom(
        "merge"
    )
    assert "upstream_failed" == run.states()["vega.check", -1]
    assert "Missing: vega.check (failed)." in run.read("note")


def test_wall_clock(stack: Stack) -> None:
    """A deadline by the clock is the first such moment after the start of the run; a full run has no note."""
    run = play(stack, "recipe_wall_clock")
    started = datetime.fromisoformat(run.read("start_date"))
    seconds = run.xcom("quorum_gate")["evidence"]["deadline_seconds"]

    assert next_occurrence("06:00 Europe/Berlin", started) == started + timedelta(seconds=seconds)
    assert ("success", None) == (run.read("state"), run.read("note"))
    assert {"load[0]": "berlin", "load[1]": "paris", "load[2]": "rome"} == run.xcom("merge")
    with pytest.raises(ApiError, match="not found"):
        run.xcom("quorum_gate", "dag_run_note")


def test_gates_of_all_kinds(stack: Stack) -> None:
    """A mapped group, ids, a gate that pokes: the same answer; a run that is cleared is decided anew."""
    run = play(stack, "gates_of_all_kinds")
    expected = {"alone": "here", "lot.work[0]": None, "lot.work[2]": 2}

    assert "success" == run.read("state")
    assert expected == run.xcom("merge_lots")
    assert expected == run.xcom("merge_poked")
    assert "all_arrived" == run.xcom("never")["reason"]
    assert 2 == run.read("note").count("Missing: lot.work[1] (failed).")

    run.clear().wait()  # nothing is skipped a second time
    assert {**expected, "lot.work[1]": 1} == run.xcom("merge_lots")
    assert {**expected, "lot.work[1]": 1} == run.xcom("merge_poked")
    assert not run.read("note")


@pytest.fixture
def lanes(stack: Stack) -> Iterator[None]:
    """The files of the pipeline Dag `five_lanes`, all good."""
    folder = stack.home / "lanes"
    folder.mkdir(exist_ok=True)
    for name, text in OF_FIVE_LANES.items():
        (folder / name).write_text(text)
    yield
    for name in OF_FIVE_LANES:
        (folder / name).unlink()


@pytest.mark.usefixtures("lanes")
def test_downstream_accepts_what_is_complete(stack: Stack) -> None:
    """A complete publication is taken by the Dag that is scheduled on the table, and no run has a note."""
    known = runs_of(stack, "recipe_downstream")
    published = play(stack, "five_lanes")
    downstream = latest(stack, "recipe_downstream", known)

    assert ("success", None) == (published.read("state"), published.read("note"))
    assert ("success", None) == (downstream.read("state"), downstream.read("note"))
    assert "made" == downstream.xcom("report")
    assert "complete" == downstream.xcom("complete")["public.five_lanes"]["reason"]


@pytest.mark.usefixtures("lanes")
def test_downstream_refuses_what_is_degraded(stack: Stack) -> None:
    """A degraded publication is marked where people look, and refused downstream with what is missing."""
    (stack.home / "lanes" / "nightly.csv").write_text("")
    known = runs_of(stack, "recipe_downstream")
    published = play(stack, "five_lanes", {"sync_floor": 0.3})
    downstream = latest(stack, "recipe_downstream", known)

    assert "success" == published.read("state")
    assert (
        f"{MARK}Published degraded: 2 of 5 feeds (40 % of the weight). Missing: nightly (failed)"
        in published.read("note")
    )
    assert "The run ended published_degraded. Missing: nightly (" in published.log("close_out")
    assert "failed" == downstream.read("state")
    assert "upstream_failed" == downstream.states()["report", -1]
    log = downstream.log("complete")
    assert "has 40 % of the weight; at least 90 % is asked for. Missing: `nightly` (`failed`" in log
    assert "Required: nightly." in log


def test_downstream_refuses_what_is_no_manifest(stack: Stack) -> None:
    """An asset event that somebody made by hand is refused with what is wrong with it."""
    known = runs_of(stack, "recipe_downstream")
    stack.api.wait_for_dag("five_lanes")
    assets = stack.api.get(f"/api/v2/assets?uri_pattern={quote(FIVE_LANES)}")["assets"]
    extra = {"state": "published", "weight_share": "1.0", "missing": []}
    stack.api.post("/api/v2/assets/events", {"asset_id": assets[0]["id"], "extra": extra})
    downstream = latest(stack, "recipe_downstream", known)
    log = downstream.log("complete")

    assert "failed" == downstream.read("state")
    assert "weight_share: must be a valid number" in log
    assert "feeds: is required" in log


def test_gate_and_minimum_count(stack: Stack) -> None:
    """Each shop's gate lets its partition through, two of three shops start the report, and it takes both."""
    known = runs_of(stack, "recipe_shops")
    first = play(stack, "recipe_shop", {"shop": "berlin"})
    assert known == runs_of(stack, "recipe_shops")
    second = play(stack, "recipe_shop", {"shop": "rome"})
    report = latest(stack, "recipe_shops", known)

    assert ["success"] * 3 == [run.read("state") for run in (first, second, report)]
    assert {"shop_sales[berlin]", "shop_sales[rome]"} == report.xcom("complete").keys()
    assert "Made from degraded data" in report.read("note")


def kill_triggerer(stack: Stack) -> None:
    """Kill it as a lost machine would, and start another one."""
    leader = stack.processes.recorded()["triggerer"]
    end(family(leader, stack.home / "airflow"), [(SIGKILL, 10.0)])
    stack.processes.spawn("triggerer", DAEMONS["triggerer"], stack.environment())


def test_deadline_survives_a_killed_triggerer(stack: Stack) -> None:
    """The triggerer that takes over decides at the moment that the run's start has set, not later."""
    run = start(stack, "gate_held_to_deadline")
    assert wait_until(lambda: run.states().get(("quick", -1)) == "success", 60, every=0.5)
    assert "deferred" == run.states()["quorum_gate", -1]
    killed_after = (datetime.now(UTC) - datetime.fromisoformat(run.read("start_date"))).total_seconds()
    kill_triggerer(stack)
    assert wait_until(lambda: run.states()["quorum_gate", -1] == "success", 120, every=0.5)
    stack.api.patch(run.path, {"state": "failed"})  # nobody has to wait for the straggler
    decision = run.xcom("quorum_gate")

    assert "deadline_at_floor" == decision["reason"]
    assert ["quick"] == decision["evidence"]["arrived_ids"]
    # Counted anew it would end 75 s after a new triggerer has started, which takes ten; machines are busy.
    assert 75 <= decision["evidence"]["elapsed_seconds"] < 75 + max(15, killed_after)
    assert "Missing: slow (late)." in run.read("note")
