"""Runs that ended long ago go, whole; nothing goes on which anything rests that is kept."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.profile import FeedProfile
from airflow_orchestration.domain.statistics import Share
from airflow_orchestration.domain.stream import StreamRange
from airflow_orchestration.exceptions import FencedError, PrunedRunError
from airflow_orchestration.storage import pruning
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, Fence, RunKey, RunState, Store, WorkUnit
from airflow_orchestration.storage.trust_history import Taught
from tests.prune.conftest import LONG_AGO, Kept
from tests.rewriting import REWRITING
from tests.storage.builders import TERMS, claimed, decision, delivered, plan

NEXT = RunKey(dag_id="own", run_id="next")


def test_of_a_pruned_run_nothing_is_left_but_that_it_was(two_old: Kept) -> None:
    """No row in any table that knows runs, no staged file; the ledger and a line that says what was deleted stay."""
    before, newest = two_old.rows(), two_old.of(two_old.world.key(2))
    old = [two_old.world.key(number) for number in (0, 1)]
    assert all(two_old.of(run).keys() > {"run", "round", "timeline", "decision", "claim"} for run in old)
    pruned = two_old.prune()
    assert old == list(pruned.runs)
    for run in old:
        assert {"pruned_run": 1, "publish_ledger": 1} == two_old.of(run)
    after = two_old.rows()
    for table in ("publish_ledger", "publish_ledger_feed", "publish_claim", "quarantined_row"):
        assert before[table] == after[table]
    assert newest == two_old.of(two_old.world.key(2))
    assert [] == [file for file in two_old.files() if not file.startswith("things/")]
    assert ["r1/grey", "r1/merged"] == sorted(
        file.split("/", 2)[2].rpartition("/")[0] for file in two_old.files()
    )


def test_a_rehearsal_tells_what_is_deleted_and_deletes_nothing(two_old: Kept) -> None:
    """Runs, rows by table, files and bytes: the same that are deleted afterwards, and then there is nothing left to do."""
    rows, files = two_old.rows(), two_old.files()
    rehearsed = two_old.prune(rehearse=True)
    assert (rows, files) == (two_old.rows(), two_old.files())
    assert rehearsed == two_old.prune()
    assert sum(map(len, rows.values())) + 2 == sum(map(len, two_old.rows().values())) + sum(
        rehearsed.rows.values()
    )
    assert len(files) == len(two_old.files()) + rehearsed.swept.files
    assert rehearsed.swept.bytes > 0
    again = two_old.prune()
    assert ((), 0, 0) == (again.runs, sum(again.rows.values()), again.swept.files)


def test_only_runs_of_the_named_dag_are_pruned(two_old: Kept) -> None:
    """Another Dag's runs and files stay."""
    assert () == two_old.prune(dag_id="others").runs
    assert two_old.of(two_old.world.key(0))["run"]
    assert 2 == len(two_old.prune(dag_id="things").runs)


def test_what_was_worked_on_lately_is_kept(two_old: Kept) -> None:
    """Somebody has begun to repair it."""
    first, second = two_old.world.key(0), two_old.world.key(1)
    claimed(two_old.store, "reconcile", 1, try_number=99, run=second)
    before = two_old.of(second)
    assert (first,) == two_old.prune().runs
    assert before == two_old.of(second)


MANY_EVENTS = """
    INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, event, detail, at)
    SELECT dag_id, run_id, round, unit, event, detail, at FROM orchestration.timeline, generate_series(1, 20);
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER DELETE ON orchestration.timeline FOR EACH ROW EXECUTE FUNCTION slow()"""
ALIVE = {
    "work": "UPDATE orchestration.claim SET claimed_at = now() - interval '8 days' WHERE run_id = %s AND unit = 'plan'",
    "an event": "UPDATE orchestration.timeline SET at = now() - interval '8 days' WHERE id = "
    "(SELECT max(id) FROM orchestration.timeline WHERE run_id = %s)",
    "a deadline": "UPDATE orchestration.sync_point SET deadline_at = now() + interval '1 day' WHERE run_id = %s",
    "its beginning": "UPDATE orchestration.run SET started_at = now() - interval '8 days' WHERE run_id = %s",
}


def test_a_run_that_never_ended_goes_when_nobody_has_worked_on_it(two_old: Kept) -> None:
    """Airflow was switched off in its midst: with all that is of it, once there is no sign of life so long."""
    run = two_old.world.key(1)
    unend(two_old, run)
    for sign, statement in ALIVE.items():
        rewrite(two_old, statement, run)
        cut = two_old.store.pruning.cut(timedelta(days=30))
        assert (sign, [two_old.world.key(0)]) == (sign, two_old.store.pruning.expired(cut))
        two_old.age(run, 60)
    assert run in two_old.prune(age=timedelta(days=30)).runs
    assert {"pruned_run": 1, "publish_ledger": 1} == two_old.of(run)
    assert ["r1/grey", "r1/merged"] == sorted(
        file.split("/", 2)[2].rpartition("/")[0] for file in two_old.files()
    )


def test_a_run_that_never_ended_is_left_alone_for_two_weeks(two_old: Kept) -> None:
    """However young the runs are that may go."""
    run = two_old.world.key(2)
    unend(two_old, run)
    two_old.age(run, 13)
    assert run not in two_old.prune(age=timedelta(0)).runs
    two_old.age(run, 2)
    assert (run,) == two_old.prune(age=timedelta(0)).runs


def rewrite(kept: Kept, statement: str, run: RunKey) -> None:
    """Change what the store knows of a run, by hand."""
    with kept.connect() as connection:
        connection.execute(REWRITING)
        connection.execute(statement, (run.run_id,))  # type: ignore[call-overload]


def unend(kept: Kept, run: RunKey) -> None:
    """Let a run never have ended."""
    rewrite(
        kept,
        "UPDATE orchestration.run SET state = NULL, manifest = NULL, finished_at = NULL WHERE run_id = %s",
        run,
    )


def test_a_run_of_any_number_of_events_is_pruned(two_old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that takes longer than is granted deletes nothing: so each deletes a bounded number of lines."""
    monkeypatch.setattr(pruning, "LINES_AT_ONCE", 5)
    run = two_old.world.key(0)
    with two_old.connect() as it:
        it.execute(MANY_EVENTS)
    lines = two_old.of(run)["timeline"]
    assert lines > 50  # at 20 ms each, all of them take longer than is granted
    with PostgresStore(two_old.connect, statement_limit=timedelta(seconds=0.6)) as store:
        deleted = [rows for _, rows in store.pruning.delete_runs([run], store.pruning.cut(LONG_AGO))]
        assert [1] == [rows["run"] for rows in deleted]
        told = list(store.pruning.delete_lines([run]))
    assert lines == sum(rows["timeline"] for rows in told)
    assert 5 == max(rows["timeline"] for rows in told)
    assert {"pruned_run": 1, "publish_ledger": 1} == two_old.of(run)


def test_work_without_a_run_goes_with_its_age(kept: Kept) -> None:
    """Agents of a Dag of one's own, and executions that died before their run was recorded, leave claims and lines."""
    old, young = RunKey(dag_id="own", run_id="old"), RunKey(dag_id="own", run_id="young")
    for run in (old, young):
        kept.store.add_event(claimed(kept.store, run=run), "counted", {})
    kept.age(old)
    assert (old,) == kept.prune().runs
    assert {"pruned_run": 1} == kept.of(old)
    assert {"claim": 1, "timeline": 1} == kept.of(young)


def test_an_execution_of_a_pruned_run_that_lives_is_shut_out(kept: Kept) -> None:
    """Its claim is gone with the run, so it writes nothing."""
    zombie = ended_run(kept, "one", 100)
    ended_run(kept, "other_feeds", 1, feeds=("b",))
    assert 1 == len(kept.prune().runs)
    with pytest.raises(FencedError):
        kept.store.add_event(zombie, "counted", {})
    assert {"pruned_run": 1} == kept.of(zombie.unit.run)


@pytest.mark.parametrize("unit", ["analyze", "publish", "reconcile"])
def test_a_pruned_run_can_not_begin_anew(two_old: Kept, unit: str) -> None:
    """Somebody clears its tasks: it would read on in its streams, and what it reads then would never be published."""
    run = two_old.world.key(1)
    two_old.prune()
    before = two_old.rows()
    with pytest.raises(
        PrunedRunError, match=rf"{run.run_id} was pruned on \d{{4}}-\d\d-\d\d .*trigger a new run"
    ):
        claimed(two_old.store, unit, 0, try_number=99, run=run)
    assert before == two_old.rows()


def test_a_run_that_is_cleared_while_it_is_pruned_does_not_begin(
    two_old: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim waits for who prunes, and looks only then."""
    run, asked = two_old.world.key(1), WorkUnit(run=two_old.world.key(1), round=0, unit="analyze")
    with ThreadPoolExecutor(1) as others, PostgresStore(two_old.connect) as store:
        store.decisions(run)  # so that it is connected
        begun: list[Future[Fence]] = []

        def delete(cursor: Any, runs: Sequence[RunKey], cut: datetime) -> Any:
            done = delete_really(cursor, runs, cut)
            begun.append(
                others.submit(store.claim, asked, Attempt(try_number=99, ti_id="cleared", process="p"))
            )
            with pytest.raises(TimeoutError):
                begun[0].result(0.3)
            return done

        delete_really = pruning._delete
        monkeypatch.setattr(pruning, "_delete", delete)
        assert run in two_old.prune().runs
        with pytest.raises(PrunedRunError):
            begun[0].result(30)
    assert {"pruned_run": 1, "publish_ledger": 1} == two_old.of(run)


def test_no_line_of_an_audit_goes_without_its_whole_run(two_old: Kept) -> None:
    """Timeline and decisions refuse whoever deletes lines of a run that is not written down as pruned, or newer ones."""
    run = two_old.world.key(0)
    for table in ("timeline", "decision"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="is append-only"),
            two_old.connect() as it,
        ):
            it.execute(f"DELETE FROM orchestration.{table} WHERE run_id = %s", (run.run_id,))  # type: ignore[arg-type]
    two_old.prune()
    with two_old.connect() as it:
        it.execute(
            "INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, event, detail)"
            " VALUES (%s, %s, 0, 'by hand', 'again', '{}')",
            (run.dag_id, run.run_id),
        )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is append-only"), two_old.connect() as it:
        it.execute("DELETE FROM orchestration.timeline WHERE run_id = %s", (run.run_id,))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is append-only"), two_old.connect() as it:
        it.execute("DELETE FROM orchestration.pruned_run")


def test_a_run_that_has_not_ended_can_not_be_written_down_as_pruned(kept: Kept) -> None:
    """So that nobody gets at its audit that way."""
    fence = claimed(kept.store, run=RunKey(dag_id="own", run_id="open"))
    kept.store.save_run(fence, {}, decision())
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="has not ended"), kept.connect() as it:
        it.execute("INSERT INTO orchestration.pruned_run (dag_id, run_id) VALUES ('own', 'open')")


def test_no_estimate_moves_when_runs_are_pruned(kept: Kept) -> None:
    """Usual rows and seconds, profiles, and what feeds were found to be right in: of a run that begins afterwards."""
    dice = random.Random(7)
    for number in range(60):
        ended_run(kept, f"run_{number:02}", 200 - number, number, delivers=dice.random() < 0.7, teaches=True)
    before = estimates(kept.store)
    assert before["rows"]
    assert 30 == len(before["profiles"])
    pruned = kept.prune(age=timedelta(days=30))
    assert 5 <= len(pruned.runs) <= 30
    assert before == estimates(kept.store)


def test_what_a_run_that_may_be_repaired_needs_is_kept(kept: Kept) -> None:
    """A late feed changes only keys that no later run has written: so the later runs' rows must be there."""
    kept.world.land([arrival for arrival in kept.world.files if arrival != (0, "blue")])
    for number in (0, 1):
        kept.world.run(number)
    kept.age(kept.world.key(1), 95)
    kept.age(kept.world.key(0), 96)
    with kept.connect() as connection:  # it was repaired a little the other day, by hand
        connection.execute(REWRITING)
        connection.execute(
            "UPDATE orchestration.run SET finished_at = clock_timestamp() - interval '9 days' WHERE run_id = %s",
            (kept.world.key(0).run_id,),
        )
    kept.world.feeds = {"grey": 1.0}
    kept.world.run(2)
    assert () == kept.prune().runs
    kept.world.feeds = {"red": 2.0, "blue": 1.0}
    kept.world.land([(0, "blue")])
    manifest = kept.world.reconcile(0)
    assert manifest is not None
    assert "published" == manifest["state"]
    assert [("a", 2.0), ("c", 4.0), ("e", 5.0)] == [row[:2] for row in kept.world.rows()]


def test_a_run_that_holds_records_which_nobody_published_is_kept(kept: Kept) -> None:
    """They would be skipped in silence. What is short of rows is published with those that it has."""
    for name, state in (("held", RunState.NOT_PUBLISHED), ("done", RunState.PUBLISHED)):
        ended_run(kept, name, 100, 1 if name == "held" else 2, state=state, reads=True)
    degraded = RunState.PUBLISHED_DEGRADED
    ended_run(kept, "late", 99, 3, state=degraded, reads=True, missing=["a"])
    ended_run(kept, "short", 98, 4, state=degraded, reads=True, missing=["a"], missing_as="short")
    unend(kept, ended_run(kept, "lost", 97, 5, reads=True).unit.run)
    unend(kept, ended_run(kept, "lost_too", 96).unit.run)
    ended_run(kept, "other_feeds", 1, feeds=("b",))
    gone = [RunKey(dag_id="own", run_id=name) for name in ("done", "short", "lost_too")]
    assert gone == list(kept.prune().runs)


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_is_read_on_from_where_it_was(kept: Kept, seed: int) -> None:
    """Whatever was held, given back, read again and pruned: the next run reads the same, and others keep theirs."""
    dice, runs = random.Random(seed), [RunKey(dag_id="own", run_id=f"run_{number}") for number in range(12)]
    for run in runs:
        read_some(kept, run, dice)
    ended_run(kept, "other_feeds", 1, feeds=("b",))
    others = [run for run in runs if dice.random() < 0.2]
    for run in others:
        claimed(kept.store, "reconcile", 1, run=run)
    before = {run: kept.store.streams.marks(run, "a") for run in (*others, NEXT)}
    ranges = len(kept.rows()["stream_range"])
    pruned = kept.prune()
    assert before == {run: kept.store.streams.marks(run, "a") for run in (*others, NEXT)}
    assert ranges == len(kept.rows()["stream_range"]) + pruned.rows.get("stream_range", 0)


def read_some(kept: Kept, run: RunKey, dice: random.Random) -> None:
    """A run of long ago that reads on in two partitions, or not; now and then it gives back what it read, or never ends."""
    fence, marks = claimed(kept.store, run=run), kept.store.streams.marks(run, "a").marks
    kept.store.save_run(fence, {}, decision())
    reads = []
    for partition in ("p", "q"):
        mark = marks.get(partition)
        start = (dice.randint(0, 3),) if mark is None else mark.start
        stop = (start[0] + dice.randint(1, 5),)
        if mark is not None and mark.before is not None:
            stop = min(stop, mark.before)
        if dice.random() < 0.8:
            reads.append(StreamRange(partition=partition, start=start, stop=stop))
    kept.store.register(
        claimed(kept.store, "branch", 1, run=run), replace(delivered("a", 1), ranges=tuple(reads))
    )
    gives_back = dice.random() < 0.3
    if gives_back:
        kept.store.streams.give_back(fence, ["a"])
    if dice.random() < 0.9:
        state = RunState.NOT_PUBLISHED if gives_back else RunState.PUBLISHED
        kept.store.finish(fence, state, {"feeds": []})
    kept.age(run)


def test_the_beginning_of_a_stream_is_forgotten_in_the_end(kept: Kept) -> None:
    """Of a hundred runs that are gone the last range is enough."""
    for number in range(5):
        ended_run(kept, f"run_{number}", 100, number, reads=True)
    ended_run(kept, "other_feeds", 1, feeds=("b",))
    assert 4 == kept.prune().rows["stream_range"]
    assert [([4], [5])] == [row[3:5] for row in kept.rows()["stream_range"]]


def ended_run(
    kept: Kept,
    name: str,
    days: int,
    number: int = 0,
    *,
    feeds: tuple[str, ...] = ("a",),
    state: RunState = RunState.PUBLISHED,
    delivers: bool = True,
    teaches: bool = False,
    reads: bool = False,
    missing: list[str] | None = None,
    missing_as: str = "late",
) -> Fence:
    """A run as the store knows it, that ended so many days ago; its numbers tell which it is."""
    run, store = RunKey(dag_id="own", run_id=name), kept.store
    fence = claimed(store, run=run)
    store.save_run(fence, {"pipeline": {"feeds": [{"id": feed} for feed in feeds]}}, decision())
    store.open_round(claimed(store, "plan", 1, run=run), plan(feeds=feeds), TERMS)
    for feed in feeds if delivers else ():
        looks = FeedProfile(
            rows=number,
            completeness=Share(part=1, whole=1),
            validity=Share(part=1, whole=1),
            uniqueness=Share(part=1, whole=1),
            columns=(),
        )
        outcome = replace(delivered(feed, number, seconds=1.0 + number), profile=looks)
        if reads:
            outcome = replace(
                outcome, ranges=(StreamRange(partition="p", start=(number,), stop=(number + 1,)),)
            )
        store.register(claimed(store, f"branch:{feed}", 1, run=run), outcome)
    if teaches:
        taught = Taught(attribute="size", feed_id="a", right=number, total=100.0, accuracy=0.5)
        store.trust.teach(fence, "things", "weighing", [taught])
    told = [{"feed": feed, "state": missing_as if feed in (missing or ()) else "in"} for feed in feeds]
    store.finish(fence, state, {"feeds": told})
    kept.age(run, days)
    return fence


def estimates(store: Store) -> dict[str, object]:
    """All that is estimated from earlier runs."""
    fence = claimed(store, run=RunKey(dag_id="own", run_id="afterwards"))
    store.save_run(fence, {"pipeline": {"feeds": [{"id": "a"}]}}, decision())
    moment = store.run(fence.unit.run).started_at
    return {
        "rows": store.usual_rows("own", ["a"], moment),
        "seconds": store.observed_seconds("own", ["a"]),
        "profiles": store.profiles("own", "a", moment),
        "taught": store.trust.history("own", "things", runs=1000, before=moment),
    }
