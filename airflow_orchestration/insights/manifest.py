"""The completeness manifest: which feeds are in, which are missing and why, and where every row went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Feed
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.storage.store import MergeRecord, RunState, StoredRound


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFacts:
    """What a manifest is made of. `standing` is what counts of each feed in the last round."""

    spec: RunSpec
    rounds: tuple[StoredRound, ...]
    standing: Mapping[str, FeedOutcome]
    merge: MergeRecord | None
    usual_rows: Mapping[str, int]
    published: bool


def completeness_manifest(facts: ManifestFacts) -> dict[str, Any]:
    """Return the manifest as plain data: the state first, then shares, then a line per feed."""
    feeds = [_feed_line(feed, facts) for feed in facts.spec.feeds.values()]
    missing = [line for line in feeds if line["state"] != "in"]
    weight = sum(line["weight"] for line in feeds)
    return {
        "state": _state(facts, missing).value,
        "rounds": len(facts.rounds),
        "feeds_expected": len(feeds),
        "feeds_in": len(feeds) - len(missing),
        "weight_share": round(1 - sum(line["weight"] for line in missing) / weight, 4),
        "usual_rows_missing_share": _missing_share(feeds, missing),
        "rows": facts.merge.staged.rows if facts.merge else 0,
        "gate": _gate(facts.rounds),
        "missing": [
            {"feed": line["feed"], "why": line["why"], "usual_rows": line["usual_rows"]} for line in missing
        ],
        "feeds": feeds,
        "disagreements": dict(facts.merge.disagreements) if facts.merge else {},
    }


def _state(facts: ManifestFacts, missing: list[dict[str, Any]]) -> RunState:
    if not facts.published:
        return RunState.NOT_PUBLISHED
    return RunState.PUBLISHED_DEGRADED if missing else RunState.PUBLISHED


def _feed_line(feed: Feed, facts: ManifestFacts) -> dict[str, Any]:
    outcome = facts.standing.get(feed.id)
    merged = facts.merge is not None and feed.id in facts.merge.published
    state, why = ("in", None) if merged else _absence(feed, outcome, facts)
    line: dict[str, Any] = {
        "feed": feed.id,
        "state": state,
        "why": why,
        "weight": feed.weight,
        "required": feed.required,
        "usual_rows": facts.usual_rows.get(feed.id, feed.usual_rows),
    }
    if outcome is not None and outcome.error is None:
        line |= _figures(outcome)
    if merged and facts.merge is not None:
        line |= {
            "rows_published": facts.merge.published[feed.id],
            "rows_superseded": facts.merge.superseded[feed.id],
        }
    return line


def _figures(outcome: FeedOutcome) -> dict[str, Any]:
    return {
        "round": outcome.round,
        "rows_in": outcome.rows_in,
        "rows_quarantined": outcome.rows_quarantined,
        "rejects": dict(outcome.rejects or {}),
        "quality_score": round(outcome.quality_score, 4),
        "seconds": round(outcome.elapsed.total_seconds(), 3),
        "rows_per_second": round(outcome.throughput),
    }


def _absence(feed: Feed, outcome: FeedOutcome | None, facts: ManifestFacts) -> tuple[str, str]:
    if outcome is None:
        waited = f"{_deadline(feed, facts):g} s"
        return "late", f"had not arrived when the gate decided, at most {waited} after the round began"
    if outcome.error is not None:
        return "failed", outcome.error
    standard = facts.spec.pipeline.quality.approve_at
    if outcome.quality_score < standard:
        return "below_standard", f"quality {outcome.quality_score:.3f} is below {standard:g}"
    return "late", "arrived after the gate had decided"


def _deadline(feed: Feed, facts: ManifestFacts) -> float:
    deadline = facts.spec.pipeline.sync.deadline
    return min(deadline, feed.deadline or deadline)


def _missing_share(feeds: list[dict[str, Any]], missing: list[dict[str, Any]]) -> float | None:
    """The share of the usual rows of all feeds that the missing feeds would have brought; None if unknown."""
    if any(line["usual_rows"] is None for line in feeds):
        return None
    usual: int = sum(line["usual_rows"] for line in feeds)
    return round(sum(line["usual_rows"] for line in missing) / usual, 4) if usual else 0.0


def _gate(rounds: tuple[StoredRound, ...]) -> list[dict[str, Any]]:
    return [
        {
            "round": stored.round,
            "action": stored.verdict["action"],
            "reason": stored.verdict["reason"],
            "progress": stored.verdict["evidence"]["progress"],
        }
        for stored in rounds
        if stored.verdict is not None
    ]
