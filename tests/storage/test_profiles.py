"""What a store remembers of how feeds looked."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.profile import ColumnProfile, FeedProfile
from airflow_orchestration.domain.statistics import Share
from airflow_orchestration.policies.drift import RECENT_PROFILES
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey, RunState, Store
from tests.storage.builders import RUN, claimed, decision, failed, outcome
from tests.storage.conftest import Connect

PUBLISHED, DEGRADED, NOTHING = RunState.PUBLISHED, RunState.PUBLISHED_DEGRADED, RunState.NOT_PUBLISHED


def profile(rows: int) -> FeedProfile:
    whole = Share(part=rows, whole=rows)
    column = ColumnProfile(name="a", rows=rows, filled=rows, sampled=rows, distinct=rows, mean=1.5)
    return FeedProfile(
        rows=rows, completeness=whole, validity=whole, uniqueness=whole, columns=(column,), age_seconds=60.0
    )


def profiled(rows: int, feed_id: str = "a", round_number: int = 1) -> FeedOutcome:
    return replace(outcome(feed_id, round_number), profile=profile(rows))


def a_run(store: Store, run_id: str, *outcomes: FeedOutcome, state: RunState | None = PUBLISHED) -> RunKey:
    run = replace(RUN, run_id=run_id)
    plan = claimed(store, run=run)
    store.save_run(plan, {}, decision())
    for number, registered in enumerate(outcomes):
        store.register(claimed(store, f"branch:{number}", registered.round, run=run), registered)
    if state is not None:
        store.finish(plan, state, {})
    return run


def known(store: Store, feed_id: str = "a", before: datetime | None = None) -> list[int]:
    later = store.run(a_run(store, f"now-{os.urandom(4).hex()}", state=None)).started_at
    return [one.rows for one in store.profiles(RUN.dag_id, feed_id, before or later)]


def test_published_runs_are_remembered_newest_first(store: Store) -> None:
    """Whole or degraded; a run that published nothing, or has not ended, is no example."""
    for number, state in enumerate([PUBLISHED, DEGRADED, NOTHING, None, PUBLISHED], start=1):
        a_run(store, str(number), profiled(number), state=state)

    assert [5, 2, 1] == known(store)


def test_a_profile_comes_back_whole(store: Store) -> None:
    """Every figure of it."""
    a_run(store, "1", profiled(7))
    later = store.run(a_run(store, "2", state=None)).started_at

    assert [profile(7)] == list(store.profiles(RUN.dag_id, "a", later))


def test_of_each_run_the_last_round_counts(store: Store) -> None:
    """A feed that was run again is remembered as it was at last."""
    a_run(store, "1", profiled(1), profiled(2, round_number=2))

    assert [2] == known(store)


def test_later_runs_and_other_feeds_do_not_count(store: Store) -> None:
    """A run that is done again, long afterwards, is compared with what was known then."""
    a_run(store, "1", profiled(1))
    second = a_run(store, "2", profiled(2), profiled(9, "b"))
    then = store.run(second).started_at

    assert [1] == [one.rows for one in store.profiles(RUN.dag_id, "a", then)]
    assert [] == list(store.profiles("others", "a", then + timedelta(days=1)))
    assert [9] == known(store, "b")


def test_what_failed_afterwards_is_forgotten(store: Store) -> None:
    """A newer execution's word counts: it has no rows."""
    run = a_run(store, "1", profiled(1), state=None)
    fence = claimed(store, "branch:0", 1, try_number=2, run=run)
    store.register(fence, failed("a"))
    store.finish(claimed(store, run=run, try_number=2), PUBLISHED, {})

    assert [] == known(store)


def test_old_runs_are_forgotten(store: Store) -> None:
    """The last thirty are enough."""
    for number in range(RECENT_PROFILES + 2):
        a_run(store, str(number), profiled(number))

    assert list(range(RECENT_PROFILES + 1, 1, -1)) == known(store)


def test_what_is_unusual_comes_back_with_the_outcome(store: Store) -> None:
    """The merge and the manifest read it; the profile itself is kept apart."""
    evidence = {"feed": "a", "signals": [{"signal": "volume", "column": None, "z": -5.5}]}
    run = a_run(store, "1", replace(profiled(1), drift=evidence))
    (found,) = store.outcomes(run)

    assert (evidence, None) == (found.drift, found.profile)


def test_a_forked_process_has_a_connection_of_its_own(connect: Connect) -> None:
    """What it reads does not get mixed with what its parent reads, and its end leaves the parent's open."""
    with PostgresStore(connect) as store:
        run = a_run(store, "1", profiled(1))
        own = backend(store)
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if len(store.outcomes(run)) == 1 and backend(store) != own else 1)
            finally:
                os._exit(2)

        assert (child, 0) == os.waitpid(child, 0)
        assert (1, own) == (len(store.outcomes(run)), backend(store))


def backend(store: PostgresStore) -> int:
    assert store._connection is not None
    return store._connection.info.backend_pid


def test_a_run_that_no_one_analyzed_has_no_profile(store: Store) -> None:
    """Without a start it is in nobody's past."""
    run = replace(RUN, run_id="1")
    store.register(claimed(store, "branch:0", 1, run=run), profiled(1))

    assert [] == known(store)
