"""What an agent is handed, one batch at a time, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.agent import QueuedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkResult:
    """What came of a batch: how many records it was, and how good they are, 0..1."""

    records: int
    quality_score: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One batch that an agent is to work on."""

    batch_id: str
    kind: str
    """The type of the batch."""
    folder: Path
    """For files that nobody needs afterwards."""
    process: Callable[[], WorkResult]
    """Does to the batch what its lane does: reads, checks and stages it. A batch of a queue has no lane: there
    it raises `AgentWorkError`, and a template's own `run` does the work."""
    batch: QueuedBatch | None = None
    """The batch as it stood in the queue; None for a batch of a pipeline."""
    progress: Callable[[int, int], None] = lambda done, of: None  # noqa: ARG005  # nobody listens
    """Tell how far the work on a batch of a queue is: so much done, of so much.

    On a batch of a round it says nothing: `run` is called in a process of its own there, which has no store."""
