"""Why a run ended as it did: by which decision, in words that a person reads."""

from __future__ import annotations

from rich.console import Console

from airflow_orchestration.cli.run_views import explanation, explanation_view
from airflow_orchestration.insights.run_view import run_view
from airflow_orchestration.storage.postgres import PostgresStore
from tests.insights_pg.conftest import MakeRun
from tests.insights_pg.played import PlayedRun

GOOD = "a,1,one\nb,2,two\nc,3,three\nd,4,four\n"
POOR = "a,-1,\nb,-2,\nc,-3,\nd,4,four\n"


def played(run: PlayedRun, rounds: int, **files: str) -> PlayedRun:
    """Play a run of so many rounds with these files to its publication."""
    run.land(**files)
    for number in range(1, rounds + 1):
        run.plan(number)
        run.work(number)
        run.look(number)
        run.merge(number)
    run.publish()
    return run


def test_a_poor_feed_that_was_left_out_is_the_reason(make_run: MakeRun, store: PostgresStore) -> None:
    """All arrived, and the admission of the last round left one out; every decision of both rounds can be told."""
    run = make_run({"north": {}, "east": {}, "south": {}}, sync={"deadline": 600, "floor": 0.5}, max_rounds=2)
    played(run, 2, north=GOOD, east=GOOD, south=POOR)
    view = run_view(store, run.key)
    assert "published_degraded" == view["state"]
    assert ("admission", "rest_holds_the_floor") == (view["because"]["policy"], view["because"]["reason"])
    assert view["because"] in view["decisions"]
    assert "all_arrived" == view["rounds"][-1]["gate"]["verdict"]["reason"]
    told = explanation(store, run.key)
    assert {"rebalancing", "admission", "quorum_gate"} <= {one["policy"] for one in told["decisions"]}
    assert all(one["reason"] in one["sentence"] and one["meaning"] for one in told["decisions"])
    console = Console(width=400)
    with console.capture() as shown:
        console.print(explanation_view(told))
    assert "quality_gate: needs_revision because feeds_below_standard (south)" in shown.get()
    assert "rebalancing: run_again because feeds_to_repair\n" in shown.get().replace(" \n", "\n")


def test_a_feed_that_never_came_is_the_gates_reason(make_run: MakeRun, store: PostgresStore) -> None:
    """The gate opened without it, also where the conf left another one out."""
    run = make_run(
        {"north": {}, "east": {"deadline": 0.001}}, sync={"deadline": 600, "floor": 0.5}, max_rounds=1
    )
    played(run, 1, north=GOOD)
    because = run_view(store, run.key)["because"]
    assert ("quorum_gate", "only_failed_missing") == (because["policy"], because["reason"])


def test_a_feed_that_conf_left_out_is_the_reason(make_run: MakeRun, store: PostgresStore) -> None:
    """Nothing else is missing; the run names what it was told to do without, which its gate does not count."""
    run = make_run({"north": {}, "east": {}}, max_rounds=1, conf={"batches": [{"id": "north"}]})
    played(run, 1, north=GOOD)
    view = run_view(store, run.key)
    assert ["east"] == view["left_out"] == view["because"]["evidence"]["feeds"]
    assert ("conf", None) == (view["because"]["policy"], view["because"]["id"])
    assert (2, 1) == (view["manifest"]["feeds_expected"], view["rounds"][0]["gate"]["expected"])


def test_a_complete_run_needs_no_reason(make_run: MakeRun, store: PostgresStore) -> None:
    """Nothing was left out."""
    run = played(make_run({"north": {}}, max_rounds=1), 1, north=GOOD)
    view = run_view(store, run.key)
    assert ("published", None, []) == (view["state"], view["because"], view["left_out"])
