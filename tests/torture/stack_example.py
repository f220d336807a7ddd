"""A run of a tortured pipeline as it must end, written by hand: what the oracle has to find in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.torture.stack_inputs import FEEDS as ALL_FEEDS
from tests.torture.stack_inputs import MIXED, Comes, Fate, Inputs
from tests.torture.stack_oracle import COUNTS, Told
from tests.torture.stack_pipelines import DEADLINE_SECONDS, Tortured

FEEDS = tuple(replace(feed, rows=feed.rows // 4) for feed in ALL_FEEDS)
PIPELINE = Tortured(id="north", kind="north", feeds=FEEDS)
FATE = Fate(late=Comes.NEVER, is_broken=True, is_poor_first=True, is_reconciled=True)
IN = ("main", "mixed", "stream", "fickle")
"""The heaviest first: the first of those that have a key wins it."""
LATER = ("broken", "late")
OPENED = datetime(2026, 11, 23, tzinfo=UTC)
FINISHED = OPENED + timedelta(seconds=60)


def a_run(inputs: Inputs, first: Sequence[str], later: Sequence[str] = ()) -> Told:
    counted = (*first, *later)
    before, rows = merged(inputs, first), merged(inputs, counted)
    feeds = [booked(inputs, feed_id, before, 1, is_new=True) for feed_id in first]
    versions = [version(1, feeds, inserted=len(before))]
    if later:
        touched = {code: row for code, row in rows.items() if not set(later).isdisjoint(row["_sources"])}
        second = [
            line
            for feed_id in counted
            if (line := booked(inputs, feed_id, touched, 2, is_new=feed_id in later, before=before))[
                "rows_in"
            ]
        ]
        versions.append(version(2, second, inserted=len(rows) - len(before)))
        feeds += second
    return Told(
        versions=versions,
        feeds=feeds,
        rows=list(rows.values()),
        quarantined=[
            {"feed_id": MIXED.id, "rule": row.breaks, "raw": f"2000-01-01,{row.code},{row.size},{row.row_id}"}
            for row in inputs.rows[MIXED.id]
            if row.breaks
        ],
        rounds=[a_round()],
        outcomes={feed_id: outcome(inputs, feed_id) for feed_id in counted},
        state="published" if later else "published_degraded",
        manifest=manifest(inputs, counted, rows, versions),
        finished_at=FINISHED,
    )


def merged(inputs: Inputs, feeds: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for feed_id in feeds:
        for row in inputs.rows[feed_id]:
            if row.breaks is None:
                values = {"code": row.code, "size": row.size, "row_id": row.row_id}
                line = rows.setdefault(row.code, {**values, "_primary_source": feed_id, "_sources": []})
                line["_sources"].append(feed_id)
    return rows


def booked(
    inputs: Inputs,
    feed_id: str,
    rows: dict[str, dict[str, Any]],
    number: int,
    *,
    is_new: bool,
    before: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    own = sum(row["_primary_source"] == feed_id for row in rows.values())
    others = sum(feed_id in row["_sources"] for row in rows.values()) - own
    aside = inputs.bad_rows(feed_id) if is_new else 0
    earlier = before or {}
    return {
        "version": number,
        "feed_id": feed_id,
        "rows_in": own + others + aside,
        "rows_published": own,
        "rows_superseded": others,
        "rows_quarantined": aside,
        "rows_replaced": sum(
            code in earlier and earlier[code]["_primary_source"] == feed_id for code in rows
        ),
    }


def version(number: int, feeds: Sequence[dict[str, Any]], *, inserted: int) -> dict[str, Any]:
    sums = {name: sum(line[name] for line in feeds) for name in COUNTS}
    return {
        "version": number,
        "publication_key": f"north/run@{number}",
        "round": 1,
        **sums,
        "rows_inserted": inserted,
        "rows_updated": sums["rows_published"] - inserted,
        "rows_unchanged": 0,
        "rows_withdrawn": 0,
    }


def outcome(inputs: Inputs, feed_id: str) -> dict[str, Any]:
    rows, aside = len(inputs.rows[feed_id]), inputs.bad_rows(feed_id)
    return {
        "feed_id": feed_id,
        "round": 1,
        "status": "success",
        "error": None,
        "rows_in": rows,
        "rows_staged": rows - aside,
        "rows_quarantined": aside,
        "registered_at": OPENED + timedelta(seconds=10 if feed_id in IN else 90),
    }


def manifest(
    inputs: Inputs,
    counted: Sequence[str],
    rows: dict[str, dict[str, Any]],
    versions: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    def line(feed_id: str) -> dict[str, Any]:
        if feed_id not in counted:
            return {"feed": feed_id, "state": "late"}
        own = sum(row["_primary_source"] == feed_id for row in rows.values())
        all_ = sum(feed_id in row["_sources"] for row in rows.values())
        figures = {"rows_published": own, "rows_superseded": all_ - own}
        return {"feed": feed_id, "state": "in", "rows_in": len(inputs.rows[feed_id]), **figures}

    return {
        "state": "published" if len(counted) == len(FEEDS) else "published_degraded",
        "version": len(versions),
        "rounds": 1,
        "rows": len(rows),
        "feeds_expected": len(FEEDS),
        "feeds_in": len(counted),
        "gate": [{"round": 1, "action": "conditional_proceed"}],
        "feeds": [line(feed.id) for feed in FEEDS],
    }


def a_round(seconds: float = 50.0, reason: str = "only_failed_missing", **named: list[str]) -> dict[str, Any]:
    ids = {"arrived_ids": list(IN), "failed_ids": list(LATER), "missing_ids": [], **named}
    weights = {feed.id: float(feed.weight) for feed in FEEDS}
    here, pending = (sum(weights[one] for one in ids[f"{state}_ids"]) for state in ("arrived", "missing"))
    total = sum(weights.values())
    counts = {
        "arrived": len(ids["arrived_ids"]),
        "failed": len(ids["failed_ids"]),
        "expected": len(FEEDS),
        "progress": here / total,
        "arrived_weight": here,
        "pending_weight": pending,
        "expected_weight": total,
    }
    verdict = {"action": "conditional_proceed", "reason": reason, "evidence": {**ids, **counts}}
    return {
        "round": 1,
        "opened_at": OPENED,
        "deadline_at": OPENED + timedelta(seconds=DEADLINE_SECONDS),
        "decided_at": OPENED + timedelta(seconds=seconds),
        "told": [verdict],
        "verdict": verdict,
    }
