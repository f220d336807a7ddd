"""Who read which records of a stream: promises that both stores keep."""

from __future__ import annotations

from dataclasses import replace
from threading import Barrier, Thread
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.stream import Span, StreamMark, StreamRange, marks_of
from airflow_orchestration.exceptions import FencedError, StreamTakenError
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Fence, RunKey, RunState, Store
from tests.storage.builders import attempt, claimed, decision, delivered, failed, unit
from tests.storage.conftest import Connect

FEED = "departures"
MONDAY, TUESDAY, WEDNESDAY = (RunKey(dag_id="flights", run_id=day) for day in ("mon", "tue", "wed"))


def span(start: int, stop: int, partition: str = "t[0]") -> StreamRange:
    return StreamRange(partition=partition, start=(start,), stop=(stop,))


def branch(store: Store, run: RunKey, round_number: int = 1, try_number: int = 1) -> Fence:
    return claimed(store, "branch:alpha:b1", round_number, try_number, run=run)


def register(store: Store, fence: Fence, *ranges: StreamRange, feed_id: str = FEED) -> None:
    outcome = delivered(feed_id, 1, round_number=fence.unit.round)
    store.register(fence, replace(outcome, ranges=ranges))


def close(store: Store, run: RunKey) -> Fence:
    return claimed(store, "close_out", 0, run=run)


def starts(store: Store, run: RunKey, feed_id: str = FEED) -> dict[str, StreamMark]:
    return dict(store.streams.marks(run, feed_id).marks)


def test_a_stream_that_nobody_has_read_has_no_marks(store: Store) -> None:
    """Where nothing was read there is nothing to go on from."""
    assert ({}, ()) == (starts(store, MONDAY), store.streams.marks(MONDAY, FEED).again)


def test_the_next_run_begins_where_the_last_one_ended(store: Store) -> None:
    """After a registration each partition is read on from its stop."""
    register(store, branch(store, MONDAY), span(0, 10), span(3, 5, "t[1]"))
    assert {"t[0]": StreamMark(start=(10,)), "t[1]": StreamMark(start=(5,))} == starts(store, TUESDAY)


def test_positions_of_several_numbers_are_kept(store: Store) -> None:
    """An outbox has positions of a transaction and an id, compared in that order."""
    lowest = -(2**63)
    read = StreamRange(partition="public.outbox", start=(0, lowest), stop=(748, 10))
    register(store, branch(store, MONDAY), read)
    assert {"public.outbox": StreamMark(start=(748, 10))} == starts(store, TUESDAY)
    assert (read,) == store.streams.marks(MONDAY, FEED).again


def test_a_run_reads_the_same_ranges_again(store: Store) -> None:
    """In a later round a run is told what it holds, and may register exactly that again."""
    register(store, branch(store, MONDAY), span(0, 10), span(3, 5, "t[1]"))
    marks = store.streams.marks(MONDAY, FEED)
    assert (
        Span(partition="t[0]", start=(0,), before=(10,), exact=True),
        Span(partition="t[1]", start=(3,), before=(5,), exact=True),
    ) == marks.spans(["t[0]", "t[1]", "t[2]"])
    register(store, branch(store, MONDAY, 2), *marks.again)
    assert marks == store.streams.marks(MONDAY, FEED)


@pytest.mark.parametrize("other", [(span(0, 12),), (span(0, 10), span(0, 1, "t[1]")), ()])
def test_a_run_holds_one_set_of_ranges(store: Store, other: tuple[StreamRange, ...]) -> None:
    """Whoever read something else for the same run is told to read again, and nothing is registered."""
    register(store, branch(store, MONDAY), span(0, 10))
    with pytest.raises(StreamTakenError, match=r"this run itself has registered t\[0\] from 0 before 10"):
        register(store, branch(store, MONDAY, 2), *other)
    assert [1] == [outcome.round for outcome in store.outcomes(MONDAY)]
    assert (span(0, 10),) == store.streams.marks(MONDAY, FEED).again


@pytest.mark.parametrize("read", [span(0, 10), span(5, 6), span(9, 20), span(0, 1)])
def test_two_runs_never_hold_the_same_record(store: Store, read: StreamRange) -> None:
    """A registration whose records another run holds is refused whole."""
    register(store, branch(store, MONDAY), span(0, 10))
    with pytest.raises(StreamTakenError, match=r"run mon has registered t\[0\] from 0 before 10"):
        register(store, branch(store, TUESDAY), span(0, 3, "t[1]"), read)
    assert [] == store.outcomes(TUESDAY)
    assert [] == store.timeline(TUESDAY)
    assert {"t[0]": StreamMark(start=(10,))} == starts(store, TUESDAY)


def test_feeds_and_dags_have_marks_of_their_own(store: Store) -> None:
    """The same topic may be read by several feeds and Dags, each with its own position."""
    other = RunKey(dag_id="other", run_id="mon")
    register(store, branch(store, MONDAY), span(0, 10))
    register(store, branch(store, TUESDAY), span(0, 4), feed_id="copies")
    register(store, branch(store, other), span(0, 6))
    assert (4,) == starts(store, MONDAY, "copies")["t[0]"].start
    assert (6,) == starts(store, other)["t[0]"].start


def test_a_fenced_execution_holds_nothing(store: Store) -> None:
    """A zombie's ranges are not held: its retry has them."""
    zombie = branch(store, MONDAY)
    retry = branch(store, MONDAY, try_number=2)
    register(store, retry, span(0, 10))
    with pytest.raises(FencedError):
        register(store, zombie, span(0, 4))
    assert (span(0, 10),) == store.streams.marks(MONDAY, FEED).again


def test_a_failure_holds_nothing(store: Store) -> None:
    """A feed that failed has read nothing, as far as the next run is concerned."""
    store.register(branch(store, MONDAY), failed(FEED))
    assert {} == starts(store, TUESDAY)


def test_a_success_that_stays_keeps_its_ranges(store: Store) -> None:
    """A registration that gives way to a success is not asked about its ranges."""
    register(store, branch(store, MONDAY), span(0, 10))
    late = replace(delivered(FEED, 2), ranges=(span(0, 12),))
    store.register(claimed(store, "reconcile", 1, run=MONDAY), late, keep_success=True)
    assert {"t[0]": StreamMark(start=(10,))} == starts(store, TUESDAY)


def test_what_was_given_back_is_read_next(store: Store) -> None:
    """The next run reads the gap that a run left, and stops before what a later run holds."""
    register(store, branch(store, MONDAY), span(0, 10))
    register(store, branch(store, TUESDAY), span(10, 30))
    store.streams.give_back(close(store, MONDAY), [FEED])
    assert {"t[0]": StreamMark(start=(0,), before=(10,))} == starts(store, WEDNESDAY)
    register(store, branch(store, WEDNESDAY), span(0, 10))
    assert {"t[0]": StreamMark(start=(30,))} == starts(store, MONDAY)


def test_giving_back_twice_tells_it_once(store: Store) -> None:
    """A close-out that is repeated finds nothing to give back."""
    register(store, branch(store, MONDAY), span(0, 10))
    for _ in range(2):
        store.streams.give_back(close(store, MONDAY), [FEED, "none"])
    told = [event.detail for event in store.timeline(MONDAY) if event.event == "stream_returned"]
    assert [{"feed": FEED, "ranges": ["t[0] from 0 before 10"]}] == told


def test_a_straggler_of_a_closed_run_holds_nothing(store: Store) -> None:
    """What is registered after the run ended without the feed is free for the next run at once."""
    straggler = branch(store, MONDAY)
    store.streams.give_back(close(store, MONDAY), [FEED])
    register(store, straggler, span(0, 10))
    assert {"t[0]": StreamMark(start=(0,))} == starts(store, TUESDAY)
    register(store, branch(store, TUESDAY), span(0, 10))


def test_a_run_may_take_again_what_nobody_read_since(store: Store) -> None:
    """A run that publishes after all holds its ranges again, and goes on registering as before."""
    register(store, branch(store, MONDAY), span(0, 10))
    store.streams.give_back(close(store, MONDAY), [FEED])
    store.streams.take_again(claimed(store, "publish", run=MONDAY), {FEED: [span(0, 10)]})
    assert {"t[0]": StreamMark(start=(10,))} == starts(store, TUESDAY)
    register(store, branch(store, MONDAY, 2), span(0, 10))
    assert (span(0, 10),) == store.streams.marks(MONDAY, FEED).again


def test_a_run_can_not_take_again_what_was_read_since(store: Store) -> None:
    """A run whose records the next run has is refused; its records stay with the next run."""
    register(store, branch(store, MONDAY), span(0, 10))
    store.streams.give_back(close(store, MONDAY), [FEED])
    register(store, branch(store, TUESDAY), span(0, 3))
    with pytest.raises(StreamTakenError, match="run tue has registered"):
        store.streams.take_again(claimed(store, "publish", run=MONDAY), {FEED: [span(0, 10)]})
    assert {"t[0]": StreamMark(start=(3,))} == starts(store, WEDNESDAY)


def test_reading_again_after_giving_back_is_kept_once(store: Store) -> None:
    """A closed run that registers the same ranges again, and takes them again, holds each once."""
    register(store, branch(store, MONDAY), span(0, 10))
    store.streams.give_back(close(store, MONDAY), [FEED])
    register(store, branch(store, MONDAY, 2), span(0, 10))
    store.streams.take_again(claimed(store, "publish", run=MONDAY), {FEED: [span(0, 10)]})
    assert (span(0, 10),) == store.streams.marks(MONDAY, FEED).again


def test_a_run_takes_again_only_what_it_publishes(store: Store) -> None:
    """A closed run that read on behind its first records, and publishes the later ones, does not hold the first."""
    register(store, branch(store, MONDAY), span(0, 10))
    store.streams.give_back(close(store, MONDAY), [FEED])
    register(store, branch(store, TUESDAY), span(0, 10))
    register(store, branch(store, MONDAY, 2), span(10, 20))
    store.streams.give_back(close(store, TUESDAY), [FEED])
    store.streams.take_again(claimed(store, "publish", run=MONDAY), {FEED: [span(10, 20)]})
    assert (span(10, 20),) == store.streams.marks(MONDAY, FEED).again
    assert {"t[0]": StreamMark(start=(0,), before=(10,))} == starts(store, WEDNESDAY)


def begin(store: Store, run: RunKey) -> Fence:
    """Record a run, and return who did."""
    fence = claimed(store, "analyze", 0, run=run)
    store.save_run(fence, {}, decision())
    return fence


def test_earlier_runs_that_never_ended_are_known_to_hold_records(store: Store) -> None:
    """Those that began before and have not published, oldest first; not those that published, hold nothing, or came later."""
    days = [RunKey(dag_id="flights", run_id=day) for day in ("9", "8", "7", "6", "5", "4")]
    for day in [*days, RunKey(dag_id="other", run_id="9")]:
        begin(store, day)
    first, second, published, empty, this, later = days
    for number, run in enumerate((first, second, published, this, later)):
        register(store, branch(store, run), span(number, number + 1))
    register(store, branch(store, empty))
    store.finish(close(store, second), RunState.NOT_PUBLISHED, {})
    store.finish(close(store, published), RunState.PUBLISHED, {})
    assert [first, second] == store.streams.holders(this)


def test_a_run_gives_back_what_another_one_left(store: Store) -> None:
    """The other run's records are free, what it may still register too, and its timeline says so."""
    register(store, branch(store, MONDAY), span(0, 10))
    store.streams.give_back(claimed(store, "analyze", 0, run=TUESDAY), [FEED], of=MONDAY)
    register(store, branch(store, MONDAY, 2), span(0, 10))
    assert {"t[0]": StreamMark(start=(0,))} == starts(store, WEDNESDAY)
    told = [
        [event.detail for event in store.timeline(run) if event.event == "stream_returned"]
        for run in (MONDAY, TUESDAY)
    ]
    assert [[{"feed": FEED, "ranges": ["t[0] from 0 before 10"]}], []] == told


def test_an_empty_batch_is_registered(store: Store) -> None:
    """A stream without news is a success that holds nothing."""
    register(store, branch(store, MONDAY))
    assert [()] == [outcome.ranges for outcome in store.outcomes(MONDAY)]
    assert {} == starts(store, TUESDAY)


STEPS = st.lists(
    st.tuples(st.integers(min_value=1, max_value=4), st.integers(min_value=1, max_value=9), st.booleans()),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_record_belongs_to_one_run_in_the_end(
    connect: Connect, steps: list[tuple[int, int, bool]]
) -> None:
    """However many runs give back, in whatever order, the marks are those of the plain rule, and no record is held twice or skipped."""
    with PostgresStore(connect) as store, connect() as looking:
        looking.autocommit = True
        looking.execute("TRUNCATE orchestration.stream_range, orchestration.stream_closed")
        held: dict[RunKey, StreamRange] = {}
        returned: list[StreamRange] = []
        for number, (most, who, gives_back) in enumerate(steps):
            run = RunKey(dag_id="flights", run_id=f"{looking.info.backend_pid}-{number}")
            mark = starts(store, run).get("t[0]", StreamMark(start=(0,)))
            stop = mark.start[0] + most
            read = span(mark.start[0], min(stop, mark.before[0]) if mark.before else stop)
            register(store, branch(store, run), read)
            held[run] = read
            if gives_back:
                giving = list(held)[who % len(held)]
                store.streams.give_back(close(store, giving), [FEED])
                returned.append(held.pop(giving))
            assert marks_of(held.values(), returned) == starts(store, MONDAY)
        covered = [n for one in held.values() for n in range(one.start[0], one.stop[0])]
        assert len(covered) == len(set(covered))


def test_of_simultaneous_readers_one_has_the_records(connect: Connect) -> None:
    """Of eight runs that read the same records, one registers them; the others change nothing."""
    ended: list[str] = []
    together = Barrier(8)

    def work(number: int) -> None:
        with PostgresStore(connect) as store:
            fence = branch(store, RunKey(dag_id="flights", run_id=f"run {number}"))
            together.wait()
            try:
                register(store, fence, span(number % 3, 10))
            except StreamTakenError:
                ended.append("refused")
            else:
                ended.append("registered")

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ["refused"] * 7 + ["registered"] == sorted(ended)


def test_the_marks_of_many_runs_are_found_quickly(connect: Connect, target: psycopg.Connection[Any]) -> None:
    """Ten years of hourly runs: the marks come from the indexes, in less than a second."""
    target.execute(
        """INSERT INTO orchestration.stream_range
               (dag_id, feed_id, partition, start, stop, run_id, round, epoch, held)
           SELECT 'flights', 'departures', 't[0]', ARRAY[n * 10], ARRAY[n * 10 + 10], n::text, 1, n, n % 10000 <> 7
           FROM generate_series(0, 87600) AS n"""
    )
    target.execute("ANALYZE orchestration.stream_range")
    target.execute("SET statement_timeout = '1s'")
    with PostgresStore(connect) as store:
        assert {"t[0]": StreamMark(start=(70,), before=(80,))} == starts(store, MONDAY)


def test_giving_back_and_taking_again_need_the_claim(store: Store) -> None:
    """Both are refused to an execution that was taken over."""
    old = store.claim(unit("close_out", 0, MONDAY), attempt(1))
    store.claim(unit("close_out", 0, MONDAY), attempt(2))
    with pytest.raises(FencedError):
        store.streams.give_back(old, [FEED])
    with pytest.raises(FencedError):
        store.streams.take_again(old, {FEED: [span(0, 10)]})
