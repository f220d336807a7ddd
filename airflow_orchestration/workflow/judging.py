"""What a feed's rows are worth: its measures, the rules of its contract, and what another quality tool says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from airflow_orchestration.domain.external_quality import read_external
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.quality_rule import RuleResult
from airflow_orchestration.engine.ingest import Ingested
from airflow_orchestration.policies.quality import QualityScore
from airflow_orchestration.workflow.step import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The score of a feed, and the results of all rules as plain data."""

    score: float
    rules: tuple[Mapping[str, Any], ...]


def judged(step: Step, feed: Feed, ingested: Ingested) -> Judged:
    """Judge what was ingested; raises `FeedError` when the result of the feed's `quality_task` can't be read."""
    results: list[RuleResult] = [*ingested.rules]
    ceiling = None
    if feed.quality_task is not None:
        external = read_external(step.quality_results.get(feed.id), feed_id=feed.id, task=feed.quality_task)
        ceiling = external.score
        results.append(external.as_result(feed.quality_task))
    return Judged(
        score=QualityScore().score(ingested.measures, rules=results, external=ceiling),
        rules=tuple(result.model_dump(mode="json", exclude_none=True) for result in results),
    )


def as_of(step: Step) -> datetime:
    """The moment at which a run's rows are fresh or not: its start, or the end of its date if that was before."""
    day_is_over = datetime.combine(step.spec.run_date + timedelta(days=1), time(), UTC)
    return min(step.run.started_at, day_is_over)
