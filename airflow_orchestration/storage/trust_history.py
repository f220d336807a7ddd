"""What runs taught about the reliability of feeds, and the promises that every store keeps about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from airflow_orchestration.storage.store import Fence

MOST_TAUGHT = 1_000
"""Ours: runs whose lessons are ever read; older ones weigh nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """How often a feed was right in an attribute in one run, and the accuracy that it was believed to have."""

    attribute: str
    feed_id: str
    right: float
    total: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtRun:
    """What one run taught about a dataset. `method` is how its own merge had learned."""

    run_id: str
    started_at: datetime
    method: str
    taught: tuple[Taught, ...]


class TrustHistory(Protocol):
    """Keeps what runs taught, by Dag and dataset: no Dag learns from another one's runs."""

    def teach(self, fence: Fence, dataset: str, method: str, taught: Sequence[Taught]) -> None:
        """Keep what the fence's run teaches; it replaces what the run taught about the dataset before."""
        ...

    def history(
        self, dag_id: str, dataset: str, *, runs: int, before: datetime | None = None
    ) -> Sequence[TaughtRun]:
        """What the newest `runs` runs taught, oldest first; with `before` those that had started before it."""
        ...
