"""What runs taught about the reliability of feeds: promises that both stores keep."""

from __future__ import annotations

import pytest

from airflow_orchestration.exceptions import FencedError
from airflow_orchestration.storage.store import RunKey, Store
from airflow_orchestration.storage.trust_history import Taught
from tests.storage.builders import claimed, decision

RUNS = tuple(RunKey(dag_id="airports", run_id=day) for day in ("mon", "tue", "wed"))


@pytest.fixture
def saved_runs(store: Store) -> Store:
    """A store with three runs of one Dag, in their order."""
    for run in RUNS:
        store.save_run(claimed(store, "analyze", 0, run=run), {"pipeline": {}}, decision())
    return store


def taught(right: float, feed_id: str = "vega") -> Taught:
    return Taught(attribute="name", feed_id=feed_id, right=right, total=10.0, accuracy=right / 10)


def teach(store: Store, run: RunKey, *lines: Taught, dataset: str = "airport") -> None:
    store.trust.teach(claimed(store, "close_out", 0, run=run), dataset, "both", lines)


def test_runs_come_back_in_their_order(saved_runs: Store) -> None:
    """History is by the start of the runs, whoever taught first."""
    for run, right in zip(reversed(RUNS), (7.0, 8.0, 9.0), strict=True):
        teach(saved_runs, run, taught(right))
    found = saved_runs.trust.history("airports", "airport", runs=2)
    assert [("tue", (taught(8.0),)), ("wed", (taught(7.0),))] == [(run.run_id, run.taught) for run in found]


def test_a_run_that_teaches_again_counts_once(saved_runs: Store) -> None:
    """A repeated close replaces what the run taught, also the feeds that are in it no more."""
    teach(saved_runs, RUNS[0], taught(9.0), taught(5.0, "late"))
    teach(saved_runs, RUNS[0], taught(8.0))
    assert [(taught(8.0),)] == [run.taught for run in saved_runs.trust.history("airports", "airport", runs=9)]


def test_a_run_does_not_hear_itself(saved_runs: Store) -> None:
    """With a moment, only runs that had started before it are heard."""
    for run in RUNS:
        teach(saved_runs, run, taught(9.0))
    before = saved_runs.run(RUNS[1]).started_at
    found = saved_runs.trust.history("airports", "airport", runs=9, before=before)
    assert ["mon"] == [run.run_id for run in found]


def test_dags_and_datasets_learn_apart(saved_runs: Store) -> None:
    """Nobody learns from another Dag's runs, nor from another dataset's."""
    teach(saved_runs, RUNS[0], taught(9.0))
    others = (("heliports", "airport"), ("airports", "runway"))
    assert [[], []] == [list(saved_runs.trust.history(*other, runs=9)) for other in others]


def test_who_was_taken_over_teaches_nothing(saved_runs: Store) -> None:
    """A superseded execution can't write trust."""
    old = claimed(saved_runs, "close_out", 0, run=RUNS[0])
    claimed(saved_runs, "close_out", 0, 2, run=RUNS[0])
    with pytest.raises(FencedError):
        saved_runs.trust.teach(old, "airport", "both", [taught(9.0)])
