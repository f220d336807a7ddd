"""What does a person see of a run? Everything as plain data, each figure with the decision behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.insights.narrative import line
from airflow_orchestration.insights.run_chart import chart_of
from airflow_orchestration.insights.run_end import because
from airflow_orchestration.insights.run_facts import (
    RoundFacts,
    decision_shown,
    iso,
    rounds_of,
    spec_of,
    with_meaning,
)
from airflow_orchestration.insights.run_rounds import round_shown
from airflow_orchestration.storage.gate_facts import met_its_deadline
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.readings import MOST_COUNTED, Row, RunRead
from airflow_orchestration.storage.shared import unknown_run
from airflow_orchestration.storage.store import Event, RunKey

RUNNING = "running"
MOST_DECISIONS = 200
"""Ours: decisions about rounds that are shown, besides those about single feeds."""
SEEN_AS_SAME_SECONDS = 30
"""Ours: while a run goes on, time alone makes news: feeds come to deadlines of their own, and bars grow."""
MOST_EVENTS = 200
"""Ours: events of one page of the timeline."""
MOST_HISTORIES = 300
"""Ours: feeds whose earlier runs are looked at, every few seconds while a run goes on."""


def run_view(store: PostgresStore, key: RunKey) -> dict[str, Any]:
    """Return everything that is shown of a run at once; raises `UnknownRunError` for one that the store does not know.

    A gate that has not decided is shown as its policy sees it now; nothing of that is recorded.
    """
    return view_of(store, store.readings.run(key))


def view_of(store: PostgresStore, read: RunRead) -> dict[str, Any]:
    """Return what `run_view` does, of a run that was read already."""
    key, run = read.key, read.run
    spec = None if run["spec"] is None else spec_of(run["spec"])  # without one the run was refused
    rounds = rounds_of(read, spec, _usual_rows(store, read, spec)) if spec else []
    shown = [round_shown(facts) for facts in rounds]
    return {
        "dag_id": key.dag_id,
        "run_id": key.run_id,
        "pipeline_id": spec.pipeline.id if spec else key.dag_id,
        "tenant": spec.pipeline.tenant if spec else None,
        "late": spec.pipeline.sync.late.value if spec else None,
        "state": run["state"] or RUNNING,
        "now": iso(read.now),
        "started_at": iso(run["started_at"]),
        "finished_at": iso(run["finished_at"]),
        "deadline_met": _deadline_met(run["state"], rounds),
        "conf": _chosen(spec) if spec else {},
        "mode": _mode(run),
        "left_out": [feed.id for feed in spec.left_out] if spec else [],
        "because": because(rounds),
        "rounds": shown,
        "agents": run["has_agents"],
        "quarantine": _quarantine(read, rounds),
        "manifest": run["manifest"],
        "decisions": _decisions(read),
        "chart": chart_of(read, zip(rounds, shown, strict=True)),
        "events": {"count": min(read.events, MOST_COUNTED), "more": read.events > MOST_COUNTED},
    }


def view_tag(store: PostgresStore, key: RunKey) -> str:
    """Return a text that changes when `run_view` would tell something new; a handful of index look-ups.

    Raises `UnknownRunError` for a run that the store does not know. What `now` alone changes of a run that goes on is new
    every 30 seconds.
    """
    newest = store.readings.newest(key)
    goes_on = newest["state"] is None
    parts = [
        newest["state"] or RUNNING,
        newest["version"],
        iso(newest["finished_at"]),
        newest["event"],
        newest["decision"],
        newest["epoch"],
        int(newest["now"].timestamp() // SEEN_AS_SAME_SECONDS) if goes_on else None,
    ]
    return "/".join("" if part is None else str(part) for part in parts)


def timeline_page(
    store: PostgresStore,
    key: RunKey,
    *,
    before: int | None = None,
    round_number: int | None = None,
    limit: int = MOST_EVENTS,
) -> dict[str, Any]:
    """Return a page of a run's timeline, newest first; raises `UnknownRunError` for a run that the store does not know.

    :param before: the `before` of the page of newer events; left out, the newest ones.
    :param round_number: 0 for what stands outside the rounds; left out, all of them.
    :param limit: from 1; no more than `MOST_EVENTS` are returned.
    """
    most = max(1, min(limit, MOST_EVENTS))
    found = store.readings.events(key, before=before, round_number=round_number, limit=most + 1)
    if not found and not store.readings.knows(key):
        raise unknown_run(key)
    return {
        "events": [_event(row) for row in found[:most]],
        "before": found[most - 1]["id"] if len(found) > most else None,
    }


def _deadline_met(state: str | None, rounds: list[RoundFacts]) -> bool | None:
    """As the run's metrics say; None while it goes on, and for one that never came to a gate."""
    if state is None or not rounds:
        return None
    return met_its_deadline(rounds[-1].opened, state)


def _chosen(spec: RunSpec) -> dict[str, Any]:
    """What this run was asked for, other than what its pipeline's file says."""
    preset = {} if spec.preset is None else {"preset": spec.preset}
    return {**preset, **spec.asked.model_dump(mode="json", exclude_none=True)}


def _usual_rows(store: PostgresStore, read: RunRead, spec: RunSpec) -> Mapping[str, int | None]:
    """What the manifest says; before there is one, what it would say, or with very many feeds what their author says."""
    if read.run["manifest"] is not None:
        return {told["feed"]: told["usual_rows"] for told in read.run["manifest"]["feeds"]}
    declared = {feed.id: feed.usual_rows for feed in spec.feeds.values()}
    if len(declared) > MOST_HISTORIES:
        return declared
    known = store.usual_rows(read.key.dag_id, list(declared), read.run["started_at"])
    return {**declared, **known}


def _decisions(read: RunRead) -> list[dict[str, Any]]:
    """The newest about rounds, and the newest about single feeds, newest first."""
    shown = [*read.decisions[-MOST_DECISIONS:], *read.besides]
    return [decision_shown(row) for row in sorted(shown, key=lambda row: -row["id"])]


def _mode(run: Row) -> dict[str, Any] | None:
    if run["mode"] is None:
        return None
    return {"id": None, "round": 0, "at": iso(run["started_at"]), **with_meaning(run["mode"])}


def _quarantine(read: RunRead, rounds: list[RoundFacts]) -> list[dict[str, Any]]:
    """How many rows each rule has put aside, of what counts in the last round."""
    standing = rounds[-1].standing if rounds else {}
    return [
        {"feed": row["feed_id"], "rule": row["rule"], "rows": row["rows"]}
        for row in read.rejects
        if row["feed_id"] in standing and standing[row["feed_id"]]["round"] == row["round"]
    ]


def _event(row: Row) -> dict[str, Any]:
    event = Event(at=row["at"], round=row["round"], event=row["event"], detail=row["detail"])
    return {**row, "at": iso(row["at"]), "text": line(event)}
