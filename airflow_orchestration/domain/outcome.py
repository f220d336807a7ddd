"""What came out of one feed: a staged file with its measures, or an error (SEED 11, 12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow_orchestration.domain.profile import FeedProfile
from airflow_orchestration.domain.stream import StreamRange
from airflow_orchestration.exceptions import FeedCode


class OutcomeStatus(StrEnum):
    """How a feed ended in a round. A late feed is neither: it has no outcome yet."""

    SUCCESS = "success"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A file in the staging area, as it was registered."""

    uri: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMeasures:
    """Shares in 0..1 over the rows in scope: filled cells of mapped columns, valid rows, rows with a key of their own."""

    completeness: float
    validity: float
    uniqueness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedOutcome:
    """The record of one feed in one round.

    `rows_in = rows_staged + rows_quarantined` always. `rows_out_of_scope` is the part of the
    quarantine that was put aside by the author's rule, or superseded in a stream, and does not count against quality.
    `rejects` counts quarantined rows by rule. A failed feed has these too when its rows were looked at. `ranges` is what was read of a stream; None of anything else.
    """

    feed_id: str
    round: int
    branch_id: str
    status: OutcomeStatus
    elapsed: timedelta
    cluster_utilization: float = 0.0
    rows_in: int = 0
    rows_staged: int = 0
    rows_quarantined: int = 0
    rows_out_of_scope: int = 0
    staged: StagedFile | None = None
    quarantine: StagedFile | None = None
    measures: QualityMeasures | None = None
    quality_score: float = 0.0
    rejects: Mapping[str, int] | None = None
    error: str | None = None
    error_code: FeedCode | None = None
    """What kind of error. It is told in the timeline, and outcomes are given back without."""
    ranges: tuple[StreamRange, ...] | None = None
    profile: FeedProfile | None = None
    """What the rows look like. A store keeps it apart, for the runs to come, and gives outcomes back without."""
    rules: tuple[Mapping[str, Any], ...] | None = None
    """What came of the contract's rules about many rows and of other quality tools: `RuleResult`s as plain data."""
    drift: Mapping[str, Any] | None = None
    """The evidence of what is unusual about them; None where nothing is."""

    aggregated: Mapping[str, FeedProfile] | None = None
    """What the feeds look like that it aggregates, on the secondary lane. It is told in the timeline, never stored."""

    peak_memory_mb: float | None = None
    """What its process took at most, in MiB. It is told to those who work on it, never stored."""

    @property
    def throughput(self) -> float:
        """Rows per second, 0 when no time was measured (SEED 11)."""
        seconds = self.elapsed.total_seconds()
        return self.rows_in / seconds if seconds > 0 else 0.0
