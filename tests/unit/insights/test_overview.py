"""When has a run met its deadline?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_orchestration.insights.agents import leaderboard
from airflow_orchestration.insights.overview import MOST_RUNS, runs_over_time
from airflow_orchestration.policies.quorum_gate import PROMPT
from airflow_orchestration.storage.overview import PastRun
from tests.unit.insights.agent_builders import RUN, fence, memory_store, outcome

DEADLINE = datetime(2026, 11, 22, 6, tzinfo=UTC)
IN_TIME = PastRun(
    dag_id="load",
    run_id="r",
    state="published",
    began=DEADLINE - timedelta(hours=1),
    finished_at=DEADLINE + timedelta(hours=1),
    weight_share=1.0,
    feeds_in=3,
    feeds_expected=3,
    version=1,
    rounds=1,
    action="proceed_to_data_merge",
    decided_at=DEADLINE,
    deadline_at=DEADLINE,
    quality=0.9,
)


class Recorded:
    """What a store would read, and what it was asked."""

    def __init__(self, *runs: PastRun) -> None:
        self.found = runs
        self.asked: list[int] = []

    def runs(self, dag_ids: list[str], *, since: datetime, limit: int) -> list[PastRun]:
        del dag_ids, since
        self.asked.append(limit)
        return list(self.found[:limit])


def told(recorded: Recorded, **options: Any) -> dict[str, Any]:
    store: Any = SimpleNamespace(overview=recorded)
    return runs_over_time(store, ["load"], **{"since": DEADLINE, **options})


@pytest.mark.parametrize(
    ("met", "changes"),
    [
        (True, {}),
        (True, {"action": "conditional_proceed", "state": "published_degraded"}),
        (True, {"decided_at": DEADLINE + PROMPT}),
        (False, {"decided_at": DEADLINE + PROMPT + timedelta(milliseconds=1)}),
        (False, {"action": "timeout_recovery", "state": "not_published"}),
        (False, {"action": "timeout_recovery"}),
        (False, {"state": "not_published"}),
        (False, {"state": "not_published", "action": None, "decided_at": None}),
        (None, {"state": None, "finished_at": None}),
        (None, {"state": "not_published", "action": None, "decided_at": None, "deadline_at": None}),
    ],
)
def test_a_deadline_is_met_by_a_gate_that_opened_in_time_and_rows_that_were_published(
    met: bool | None, changes: dict[str, Any]
) -> None:
    """A gate that decides at its deadline is in time; nothing is said of a run that goes on or had no gate."""
    [shown] = told(Recorded(replace(IN_TIME, **changes)))["runs"]
    assert met is shown["deadline_met"]


def test_nobody_gets_more_runs_than_a_page_shows() -> None:
    """One more is read, to say that there are others."""
    recorded = Recorded(*[IN_TIME] * 600)
    found = [told(recorded, limit=limit) for limit in (10**6, 3)]
    assert [(MOST_RUNS, True), (3, True)] == [(len(one["runs"]), one["more"]) for one in found]
    assert [MOST_RUNS + 1, 4] == recorded.asked


def test_times_are_utc() -> None:
    """Whatever zone the database speaks in."""
    elsewhere = IN_TIME.began.astimezone(timezone(timedelta(hours=5)))
    found = told(Recorded(replace(IN_TIME, began=elsewhere)), since=elsewhere)
    assert ["2026-11-22T05:00:00+00:00"] * 2 == [found["since"], found["runs"][0]["started_at"]]


def test_a_leaderboard_of_some_dags_counts_only_what_was_done_there() -> None:
    """Who may not see a Dag doesn't see what its agents showed."""
    store = memory_store()
    store.agents.record(fence(store), "north", outcome("a"))
    seen, hidden = (leaderboard(store, "north", dag_ids=dags) for dags in ([RUN.dag_id], ["other"]))
    assert ([1], ()) == ([one.experience.outcomes for one in seen], hidden)
