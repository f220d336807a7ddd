"""What runs taught about the reliability of feeds, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from airflow_orchestration.storage.store import Fence, RunKey, StoredRun
from airflow_orchestration.storage.trust_history import Taught, TaughtRun


class MemoryTrust:
    """Keeps what runs taught. `fenced` holds a claim, `run` reads a run."""

    def __init__(
        self, fenced: Callable[[Fence], AbstractContextManager[object]], run: Callable[[RunKey], StoredRun]
    ) -> None:
        self._fenced = fenced
        self._run = run
        self._taught: dict[tuple[str, str], dict[str, TaughtRun]] = {}

    def teach(self, fence: Fence, dataset: str, method: str, taught: Sequence[Taught]) -> None:
        """Keep what the fence's run teaches, instead of what it taught before."""
        key = fence.unit.run
        with self._fenced(fence):
            runs = self._taught.setdefault((key.dag_id, dataset), {})
            ordered = tuple(sorted(taught, key=lambda one: (one.attribute, one.feed_id)))
            runs[key.run_id] = TaughtRun(
                run_id=key.run_id, started_at=self._run(key).started_at, method=method, taught=ordered
            )

    def history(
        self, dag_id: str, dataset: str, *, runs: int, before: datetime | None = None
    ) -> Sequence[TaughtRun]:
        """What the newest runs taught, oldest first."""
        known = list(self._taught.get((dag_id, dataset), {}).values())
        found = [run for run in known if run.taught and (before is None or run.started_at < before)]
        return sorted(found, key=lambda run: (run.started_at, run.run_id))[-runs:]
