"""Which rows put aside count: the page, its table of samples and the manifest say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.insights.quarantine import quarantine_of
from airflow_orchestration.insights.run_view import run_view
from airflow_orchestration.storage.postgres import PostgresStore
from tests.insights_pg.conftest import MakeRun
from tests.insights_pg.played import PlayedRun

GOOD = "a,1,x\nb,2,y\n"
POOR = "a,-1,x\nb,-2,y\nc,-3,z\nd,4,w\n"


def rows_of(found: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return {(one["feed"], one["rule"]): one["rows"] for one in found}


def of_page(store: PostgresStore, run: PlayedRun, **asked: Any) -> dict[tuple[str, str], int]:
    found = quarantine_of(
        store, lambda _: run.publisher, lambda root: StagingArea(Path(root)), run.key, **asked
    )
    return rows_of(found["rules"])


@pytest.mark.parametrize("comes_again", [False, True])
def test_a_feed_that_does_not_come_again_has_put_nothing_aside(
    make_run: MakeRun, store: PostgresStore, comes_again: bool
) -> None:
    """What an earlier round made of a feed that is made anew counts nowhere, whatever became of it then."""
    run = make_run(
        {"north": {"weight": 5.0}, "south": {"deadline": 0.001}},
        sync={"deadline": 600, "floor": 0.5},
        max_rounds=2,
    )
    run.land(north=GOOD, south=POOR)
    for number in (1, 2):
        run.plan(number)
        run.work(number)
        run.look(number)
        run.merge(number)
        if not comes_again:
            (run.folder / "south.csv").unlink(missing_ok=True)
    manifest = run.publish()
    assert (2, ("south",)) == (len(store.rounds(run.key)), store.rounds(run.key)[1].plan.feed_ids)
    expected = {("south", "minimum"): 3} if comes_again else {}
    told = {
        (line["feed"], rule): rows
        for line in manifest["feeds"]
        for rule, rows in line.get("rejects", {}).items()
    }
    assert expected == told
    assert expected == rows_of(run_view(store, run.key)["quarantine"])
    assert expected == of_page(store, run) == of_page(store, run, feed="south")
    assert {} == of_page(store, run, feed="north")
