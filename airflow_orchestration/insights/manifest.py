"""The completeness manifest: which feeds are in, which are missing and why, and where every row went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_orchestration.domain.deadline import has_passed
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Late
from airflow_orchestration.domain.run_spec import Dataset, RunSpec
from airflow_orchestration.insights.lowering import broken_rules, lowered_by
from airflow_orchestration.policies.drift import shown
from airflow_orchestration.storage.publication import Version
from airflow_orchestration.storage.store import MergeRecord, RunState, StoredRound

AFTERWARDS = {
    Late.RECONCILE: "it will be merged as a new version",
    Late.NEXT_RUN: "the next run merges it",
    Late.DISCARD: "it stays outside",
}
"""What becomes of a feed that arrived too late."""
GATE = "quorum_gate"
"""The policy whose verdict counts feeds, and does not know what ailed them."""
MOST_ERRORS = 3
"""Ours: errors that the reason of a run repeats; every feed's own stands with the feed."""
SHORT_BELOW = 0.5
"""A feed that brings less than this share of its usual rows makes a run degraded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFacts:
    """What a manifest is made of. `standing` is what counts of each feed in the last round."""

    spec: RunSpec
    started_at: datetime
    rounds: tuple[StoredRound, ...]
    standing: Mapping[str, FeedOutcome]
    merges: Mapping[str, MergeRecord]
    """The merges of the last round, by dataset."""
    usual_rows: Mapping[str, int]
    published: bool
    versions: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    """What the ledgers of the target tables have of the run, by dataset."""
    stopped: frozenset[str] = frozenset()
    """The feeds whose processing was stopped in the last round."""
    last_word: str = ""
    """The decision that ended the rounds, as a sentence."""

    @property
    def rows_published(self) -> Mapping[str, int]:
        """The rows whose primary source each feed is, for the feeds that are in."""
        if self.versions:
            rows: Counter[str] = Counter()
            for versions in self.versions.values():
                for version in versions:
                    rows.update(version.feeds)
            return rows
        return {feed: rows for merge in self.merges.values() for feed, rows in merge.published.items()}

    @property
    def unwritten(self) -> list[str]:
        """The tables that were refused while others were written."""
        datasets = self.spec.datasets.values()
        return [one.publish.table for one in datasets if self.versions and one.name not in self.versions]

    @property
    def version(self) -> int:
        """How often the run has published: 0, or 1 and one more for every later version of a dataset."""
        return sum(len(versions) - 1 for versions in self.versions.values()) + 1 if self.versions else 0

    def brought(self, version: Version, dataset: str) -> list[str]:
        """The feeds that came in with a version of a dataset."""
        before = {
            feed for one in self.versions[dataset] if one.version < version.version for feed in one.feeds
        }
        return [feed for feed in self.spec.feeds if feed in version.feeds and feed not in before]


def completeness_manifest(facts: ManifestFacts) -> dict[str, Any]:
    """Return the manifest as plain data: the state first, then shares, then a line per feed."""
    feeds = [_feed_line(feed, facts) for feed in (*facts.spec.feeds.values(), *facts.spec.left_out)]
    missing = [line for line in feeds if line["state"] != "in"]
    absent = [line for line in missing if line["state"] != "short"]
    weight = sum(line["weight"] for line in feeds)
    return {
        "state": _state(facts, missing).value,
        "version": facts.version,
        "rounds": len(facts.rounds),
        "feeds_expected": len(feeds),
        "why": _why(facts),
        "feeds_in": len(feeds) - len(absent),
        "weight_share": round(1 - sum(line["weight"] for line in absent) / weight, 4),
        "usual_rows_missing_share": _missing_share(feeds),
        "rows": sum(facts.rows_published.values()),
        "gate": _gate(facts.rounds),
        "missing": [
            {name: line[name] for name in ("feed", "state", "why", "usual_rows")} for line in missing
        ],
        "feeds": feeds,
        "datasets": [_dataset_line(dataset, facts) for dataset in facts.spec.datasets.values()],
        "versions": _versions(facts),
    }


def refused_manifest(why: str, codes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the manifest of a run that never began: it has no feeds, and nobody knows how many it would have had.

    :param codes: what kinds of problems its input has, as `ProblemCode` has them.
    """
    unknown = ("feeds_expected", "feeds_in", "weight_share", "usual_rows_missing_share", "gate")
    return {
        "state": RunState.NOT_PUBLISHED.value,
        "version": 0,
        "rounds": 0,
        "why": why,
        "codes": list(codes),
        "rows": 0,
        **dict.fromkeys(unknown),
        **{name: [] for name in ("missing", "feeds", "datasets", "versions")},
    }


def _why(facts: ManifestFacts) -> str | None:
    if facts.published:
        return None
    if not facts.unwritten:
        return "; ".join([facts.last_word, *_failures(facts)])
    return f"{', '.join(facts.unwritten)} was not written; mend what the log of task publish says, and clear the task"


def _failures(facts: ManifestFacts) -> list[str]:
    """What a gate whose floor is out of reach does not say: the errors behind it, each with the first of its feeds."""
    if not facts.last_word.startswith(GATE):
        return []
    feeds: dict[str, list[str]] = {}
    for feed_id, outcome in facts.standing.items():
        if outcome.error is not None:
            feeds.setdefault(outcome.error.removeprefix(f"{feed_id}: "), []).append(feed_id)
    told = [
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {error}"
        for error, names in feeds.items()
    ]
    return [*told[:MOST_ERRORS], *([f"{len(told) - MOST_ERRORS} more errors"] if told[MOST_ERRORS:] else [])]


def _dataset_line(dataset: Dataset, facts: ManifestFacts) -> dict[str, Any]:
    """Where a dataset went. What feeds disagreed about is known of the first version only."""
    merge, versions = facts.merges.get(dataset.name), facts.versions.get(dataset.name, ())
    rows = facts.rows_published
    return {
        "dataset": dataset.name,
        "table": dataset.publish.table,
        "version": len(versions),
        "rows": sum(rows.get(feed_id, 0) for feed_id in dataset.feeds),
        "disagreements": dict(merge.disagreements) if merge and not versions[1:] else {},
    }


def _versions(facts: ManifestFacts) -> list[dict[str, Any]]:
    """Every version of every dataset, oldest first."""
    lines = [
        {"dataset": dataset, "feeds": facts.brought(version, dataset), **version.diff()}
        for dataset, versions in facts.versions.items()
        for version in versions
    ]
    return sorted(lines, key=lambda line: (line["published_at"], line["dataset"]))


def _state(facts: ManifestFacts, missing: list[dict[str, Any]]) -> RunState:
    if not facts.published:
        return RunState.NOT_PUBLISHED
    return RunState.PUBLISHED_DEGRADED if missing else RunState.PUBLISHED


def _feed_line(feed: Feed, facts: ManifestFacts) -> dict[str, Any]:
    outcome = facts.standing.get(feed.id)
    rows = facts.rows_published
    merged = feed.id in rows
    usual = facts.usual_rows.get(feed.id, feed.usual_rows)
    state, why = _presence(outcome, usual) if merged else _absence(feed, outcome, facts)
    line: dict[str, Any] = {
        "feed": feed.id,
        "state": state,
        "why": why,
        "weight": feed.weight,
        "required": feed.required,
        "usual_rows": usual,
    }
    if outcome is not None and (outcome.error is None or outcome.rows_in):
        line |= _figures(outcome)
        if outcome.drift is not None:
            line["unusual"] = list(shown(outcome.drift))
    if merged and outcome is not None and facts.published:
        line |= {
            "rows_published": rows[feed.id],
            "rows_superseded": outcome.rows_staged - rows[feed.id],
        }
    return line


def _figures(outcome: FeedOutcome) -> dict[str, Any]:
    return {
        "round": outcome.round,
        "rows_in": outcome.rows_in,
        "rows_valid": outcome.rows_staged,
        "rows_quarantined": outcome.rows_quarantined,
        "rejects": dict(outcome.rejects or {}),
        "rules_broken": broken_rules(outcome),
        "quality_score": None if outcome.error else round(outcome.quality_score, 4),
        "seconds": round(outcome.elapsed.total_seconds(), 3),
        "rows_per_second": round(outcome.throughput),
    }


def _presence(outcome: FeedOutcome | None, usual: int | None) -> tuple[str, str | None]:
    rows = outcome.rows_staged if outcome else 0
    if usual is not None and rows < usual * SHORT_BELOW:
        return "short", f"brought {rows:,} valid rows of the usual {usual:,}"
    return "in", None


def _absence(feed: Feed, outcome: FeedOutcome | None, facts: ManifestFacts) -> tuple[str, str]:
    """Say why a feed is not in the merge, from its outcome and from what the last gate saw of it."""
    if feed.id not in facts.spec.feeds:
        return "left_out", "left out by the run's conf"
    if outcome is None:
        return _never_came(feed, facts)
    if outcome.error is not None:
        return "failed", outcome.error
    table = facts.spec.dataset_of(feed.id).publish.table
    if not facts.merges or table in facts.unwritten:
        refused = f"merged, but {table} was not written; see the log of task publish"
        return "unused", refused if facts.merges else "arrived, but nothing was merged"
    standard = facts.spec.pipeline.quality.approve_at
    if outcome.quality_score < standard:
        found = f"quality {outcome.quality_score:.3f} is below {standard:g}: {lowered_by(outcome)}"
        return "below_standard", found
    return "late", f"arrived after the gate had decided; {AFTERWARDS[facts.spec.pipeline.sync.late]}"


def _never_came(feed: Feed, facts: ManifestFacts) -> tuple[str, str]:
    place = facts.spec.location(feed.id) or f"what {feed.id} reads"
    if feed.id in facts.stopped:
        return (
            "late",
            f"still being processed when the gate decided, and stopped, {_at_the_latest(feed, facts)}",
        )
    if feed.id in _last_evidence(facts).get("failed_ids", ()) and not _missed_its_deadline(feed, facts):
        return (
            "failed",
            f"nothing came of {place}: it was not there, or its task ended early; see the task's log",
        )
    return "late", f"{place} had not arrived when the gate decided, {_at_the_latest(feed, facts)}"


def _last_evidence(facts: ManifestFacts) -> Mapping[str, Any]:
    verdict = facts.rounds[-1].verdict if facts.rounds else None
    evidence: Mapping[str, Any] = verdict["evidence"] if verdict else {}
    return evidence


def _missed_its_deadline(feed: Feed, facts: ManifestFacts) -> bool:
    """Whether the gate counted the feed out by the feed's own deadline."""
    last = facts.rounds[-1]
    return last.decided_at is not None and has_passed(
        feed.deadline, last.decided_at, started=last.opened_at, run_started=facts.started_at
    )


def _at_the_latest(feed: Feed, facts: ManifestFacts) -> str:
    deadlines = [facts.spec.pipeline.sync.deadline, feed.deadline]
    moments = [f"at {deadline}" for deadline in deadlines if isinstance(deadline, str)]
    seconds = [deadline for deadline in deadlines if isinstance(deadline, int | float)]
    if seconds:
        moments.append(f"at most {min(seconds):g} s after the round began")
    return " or ".join(moments)


def _missing_share(feeds: list[dict[str, Any]]) -> float | None:
    """The share of the usual rows of all feeds that did not come; None when a feed's usual rows are unknown."""
    if any(line["usual_rows"] is None for line in feeds):
        return None
    usual: int = sum(line["usual_rows"] for line in feeds)
    gone = sum(max(0, line["usual_rows"] - _rows_that_came(line)) for line in feeds)
    return round(gone / usual, 4) if usual else 0.0


def _rows_that_came(line: dict[str, Any]) -> int:
    return int(line["rows_valid"]) if line["state"] in {"in", "short"} else 0


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
