"""Which metrics do runs give? All are told when a run ends, from its manifest and its recorded decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_orchestration.storage.gate_facts import met_its_deadline
from airflow_orchestration.storage.store import StoredRound, StoredRun
from airflow_orchestration.workflow.agent_metrics import Meter, Metric, MetricKind, Tags

NOT_STARTED = "not_started"
"""The state of a run that was refused before it began."""
MOST_FEEDS = 200
"""Ours: each feed is a series in whatever collects metrics."""
OTHERS = "others"
"""Stands for the feeds of a Dag beyond the first `MOST_FEEDS`."""
_RUN = ("dag_id", "tenant")
_FATES = {"published": "rows_published", "superseded": "rows_superseded", "quarantined": "rows_quarantined"}

FINISHED = Metric(
    name="orchestration.run.finished",
    kind=MetricKind.COUNTER,
    unit="runs",
    tags=(*_RUN, "state", "deadline"),
    meaning="runs that ended; `state` is `published`, `published_degraded`, `not_published`, or `not_started` for one "
    "that was refused; `deadline` is `met` or `missed`, and left out where no gate was opened",
    alert="any `not_published`; more than 1 in 20 `missed` in a week",
)
ROUNDS = Metric(
    name="orchestration.run.rounds",
    kind=MetricKind.COUNTER,
    unit="rounds",
    tags=_RUN,
    meaning="rounds that the runs used; by finished runs, 1 is best",
    alert="more than 1.5 by run over a week: feeds fail, or the standard is too high",
)
COMPLETENESS = Metric(
    name="orchestration.run.completeness",
    kind=MetricKind.GAUGE,
    unit="0..1",
    tags=_RUN,
    meaning="share of the weight of all feeds that the last run has in",
    alert="below 1 for a day: nobody repairs the run",
)
QUALITY = Metric(
    name="orchestration.run.quality",
    kind=MetricKind.GAUGE,
    unit="0..1",
    tags=_RUN,
    meaning="quality score that the last quality gate of the last run judged",
    alert="0.05 below its mean of the last 30 days",
)
GATE_DECIDED = Metric(
    name="orchestration.gate.decided",
    kind=MetricKind.COUNTER,
    unit="gates",
    tags=(*_RUN, "action", "reason"),
    meaning="verdicts of quorum gates, one a round",
    alert="`action` `timeout_recovery` more than once a day",
)
GATE_WAITING_SECONDS = Metric(
    name="orchestration.gate.waiting_seconds",
    kind=MetricKind.TIMER,
    unit="milliseconds",
    tags=_RUN,
    meaning="how long a gate waited, from the opening of its round to its verdict",
    alert="the 95th percentile is above 0.8 of the deadline",
)
ROWS = Metric(
    name="orchestration.feed.rows",
    kind=MetricKind.COUNTER,
    unit="rows",
    tags=(*_RUN, "feed", "fate"),
    meaning="what became of the rows: `fate` is `published`, `superseded` or `quarantined`; of a run that published "
    "nothing, `quarantined` alone",
    alert="`quarantined` above twice its share of the rows of last week; `published` 0 in a day",
)
MISSING = Metric(
    name="orchestration.feed.missing",
    kind=MetricKind.COUNTER,
    unit="runs",
    tags=(*_RUN, "feed", "state"),
    meaning="runs that a feed was not in, or not whole; `state` is `late`, `failed`, `short`, `below_standard`, "
    "`unused` or `left_out`",
    alert="3 or more of `late` and `failed` in a week, by `feed`",
)
LATE_SECONDS = Metric(
    name="orchestration.feed.late_seconds",
    kind=MetricKind.TIMER,
    unit="milliseconds",
    tags=(*_RUN, "feed"),
    meaning="how long after its gate had decided a late feed was in the table",
    alert="above the age at which somebody reads the table",
)
RECONCILED = Metric(
    name="orchestration.version.reconciled",
    kind=MetricKind.COUNTER,
    unit="versions",
    tags=_RUN,
    meaning="later versions of tables, which late feeds brought about",
    alert="more than half as many as there are runs: the deadline is too early",
)
METRICS = (
    *(FINISHED, ROUNDS, COMPLETENESS, QUALITY, GATE_DECIDED, GATE_WAITING_SECONDS),
    *(ROWS, MISSING, LATE_SECONDS, RECONCILED),
)
"""All of them, those of runs first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One value of a metric; a timer's is a time, every other's a number."""

    metric: Metric
    value: float | timedelta
    tags: Tags


def tell(meter: Meter, measurements: Iterable[Measurement]) -> None:
    """Hand values to a meter, each as its metric is put together."""
    for one in measurements:
        if isinstance(one.value, timedelta):
            meter.timing(one.metric.name, one.value, one.tags)
        elif one.metric.kind is MetricKind.COUNTER:
            meter.count(one.metric.name, int(one.value), one.tags)
        else:
            meter.gauge(one.metric.name, one.value, one.tags)


def of_run(
    run: StoredRun,
    rounds: Sequence[StoredRound],
    decisions: Sequence[tuple[int, Mapping[str, Any]]],
    manifest: Mapping[str, Any],
) -> Iterator[Measurement]:
    """What is measured of a run that has ended."""
    who = _who(run)
    yield _one(FINISHED, 1, who, state=manifest["state"], deadline=_deadline(rounds, manifest["state"]))
    yield _one(ROUNDS, len(rounds), who)
    yield _one(COMPLETENESS, manifest["weight_share"], who)
    judged = [one["evidence"]["overall"] for _, one in decisions if one["policy"] == "quality_gate"]
    if judged:
        yield _one(QUALITY, judged[-1], who)
    for stored in rounds:
        yield from _of_gate(stored, who)
    yield from _of_feeds(manifest["feeds"], who)


def of_refused(dag_id: str) -> Iterator[Measurement]:
    """What is measured of a run that did not begin."""
    yield _one(FINISHED, 1, {"dag_id": dag_id}, state=NOT_STARTED)


def of_versions(
    run: StoredRun, last_round: StoredRound, manifest: Mapping[str, Any], *, after: int
) -> Iterator[Measurement]:
    """What is measured of the versions that a run has got since it was version `after`."""
    who = _who(run)
    new = manifest["versions"][after - manifest["version"] :] if manifest["version"] > after else []
    if new:
        yield _one(RECONCILED, len(new), who)
    for version in new:
        if last_round.decided_at is not None:
            late = datetime.fromisoformat(version["published_at"]) - last_round.decided_at
            for feed in version["feeds"]:
                yield _one(LATE_SECONDS, late, who, feed=feed)


def _of_gate(stored: StoredRound, who: Tags) -> Iterator[Measurement]:
    if stored.verdict is not None and stored.decided_at is not None:
        action, reason = stored.verdict["action"], stored.verdict["reason"]
        yield _one(GATE_DECIDED, 1, who, action=action, reason=reason)
        yield _one(GATE_WAITING_SECONDS, stored.decided_at - stored.opened_at, who)


def _of_feeds(lines: Sequence[Mapping[str, Any]], who: Tags) -> Iterator[Measurement]:
    """The first feeds by their names, the others together."""
    rows: Counter[tuple[str, str]] = Counter()
    missing: Counter[tuple[str, str]] = Counter()
    for place, line in enumerate(lines):
        feed = line["feed"] if place < MOST_FEEDS else OTHERS
        if line["state"] != "in":
            missing[feed, line["state"]] += 1
        rows.update({(feed, fate): line[name] for fate, name in _FATES.items() if line.get(name)})
    for (feed, fate), count in rows.items():
        yield _one(ROWS, count, who, feed=feed, fate=fate)
    for (feed, state), count in missing.items():
        yield _one(MISSING, count, who, feed=feed, state=state)


def _deadline(rounds: Sequence[StoredRound], state: str) -> str:
    if not rounds:
        return ""
    return "met" if met_its_deadline(rounds[-1], state) else "missed"


def _who(run: StoredRun) -> Tags:
    return {"dag_id": run.key.dag_id, "tenant": run.spec["pipeline"].get("tenant") or ""}


def _one(metric: Metric, value: float | timedelta, who: Tags, **more: str) -> Measurement:
    known = {**who, **more}
    tags = {name: known[name] for name in metric.tags if known.get(name)}
    return Measurement(metric=metric, value=value, tags=tags)
