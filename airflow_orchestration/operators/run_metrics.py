"""Metrics of runs by Airflow's own `stats`. Whatever goes wrong with them is told in the log, and stops no task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_orchestration.operators.agent_metrics import AirflowMeter
from airflow_orchestration.storage.store import StoredRound, StoredRun
from airflow_orchestration.workflow.run_metrics import Measurement, of_refused, of_run, of_versions, tell
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)


def measure_run(step: Step, manifest: Mapping[str, Any]) -> Sequence[Measurement]:
    """Return what is measured of a run that has ended, for `tell_metrics` once nothing can be tried again."""
    found: list[Measurement] = []
    store, key = step.store, step.run_key
    _harmlessly(
        lambda: found.extend(of_run(step.run, store.rounds(key), store.decisions(key), manifest)),
    )
    return found


def tell_metrics(measurements: Iterable[Measurement]) -> None:
    """Hand measurements to the client that Airflow has set up in this task."""
    _harmlessly(lambda: tell(AirflowMeter(), measurements))


def tell_refused(dag_id: str) -> None:
    """Tell that a run was refused before it began."""
    tell_metrics(of_refused(dag_id))


def tell_versions(
    run: StoredRun, last_round: StoredRound, manifest: Mapping[str, Any], *, after: int
) -> None:
    """Tell which versions late feeds have brought about since version `after`."""
    tell_metrics(of_versions(run, last_round, manifest, after=after))


def _harmlessly(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception:  # whatever is wrong with a number or its collector, the work is done
        log.warning("Metrics of this run were not sent", exc_info=True)
