"""Prune may be killed anywhere, run twice at once, and run beside runs that go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.workflow.pruning import Pruned, Terms, prune
from tests.prune.conftest import LONG_AGO, Kept

SQL = statements("pruning.sql")
FORK = multiprocessing.get_context("fork")


class Mortal(psycopg.Cursor[Any]):
    """A cursor whose process is killed before it executes a certain statement."""

    last = ""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if query == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(query, *args, **kwargs)


class MortalArea(StagingArea):
    """A staging area whose process is killed after it has deleted the first file."""

    def discard_all(self, keys: Any) -> None:
        super().discard_all(list(keys)[:1])
        os.kill(os.getpid(), signal.SIGKILL)


def open_area(root: str) -> StagingArea:
    return StagingArea(Path(root))


def open_mortal_area(root: str) -> StagingArea:
    return MortalArea(Path(root))


def prune_until_killed(dsn: str, statement: str) -> None:
    """Prune until a statement is due, or without one until the first file is deleted."""
    Mortal.last = statement

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(dsn, cursor_factory=Mortal)

    with PostgresStore(connect) as store:
        prune(store, open_area if statement else open_mortal_area, Terms(age=LONG_AGO))


def killed(dsn: str, statement: str) -> bool:
    process = FORK.Process(target=prune_until_killed, args=(dsn, statement))
    process.start()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


def test_a_prune_that_was_killed_is_ended_by_the_next_one(two_old: Kept) -> None:
    """Killed among statements, and among files: what is left then is what one prune leaves."""
    with two_old.connect() as connection:
        dsn = connection.info.dsn
    whole = two_old.rows()
    for name in ("lock_runs", "note_pruned", "prune_merge", "prune_claim"):
        assert killed(dsn, SQL[name])
    assert whole == two_old.rows()
    for name in ("runs_with_lines", "prune_decision", "streams"):
        assert killed(dsn, SQL[name])
    assert killed(dsn, "")
    interrupted = two_old.prune()
    assert interrupted.swept.files > 0
    assert 0 == two_old.prune().swept.files
    kept = two_old.rows()
    assert {"run": 1, "round": 1, "pruned_run": 2} == {
        name: len(kept[name]) for name in ("run", "round", "pruned_run")
    }
    only = two_old.world.key(2)
    for table in ("timeline", "decision"):
        assert {only.run_id} == {row[2] for row in kept[table]}
    assert {only.run_id} == {row[1] for row in kept["claim"]}
    assert {"r1"} == {file.split("/")[2] for file in two_old.files()}


def test_two_at_once_do_it_once(two_old: Kept) -> None:
    """Each run goes once, whoever comes first, and nobody fails."""
    done: list[Pruned] = []

    def work() -> None:
        with PostgresStore(two_old.connect) as store:
            done.append(prune(store, open_area, Terms(age=LONG_AGO)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 3 == len(done)
    assert [two_old.world.key(number).run_id for number in (0, 1)] == sorted(
        run.run_id for pruned in done for run in pruned.runs
    )
    assert 2 == len(two_old.rows()["pruned_run"])


@pytest.mark.parametrize("when", ["started", "worked", "decided"])
def test_a_run_that_goes_on_is_not_harmed(two_old: Kept, when: str) -> None:
    """Prune between its steps, with an age of nothing: it is published as if nothing had been."""
    world = two_old.world
    world.feeds = {"red": 2.0, "blue": 1.0}
    expected = [("a", 2.0), ("c", 4.0), ("e", 5.0)]
    world.table = "public.others"
    world.start(1)
    if when != "started":
        world.work(1)
    if when == "decided":
        world.decide(1, {"alpha": "success", "beta": "success", "gamma": "success"})
    two_old.prune(age=LONG_AGO * 0, quiet=LONG_AGO * 0)
    if when == "started":
        world.work(1)
    if when != "decided":
        world.decide(1, {"alpha": "success", "beta": "success", "gamma": "success"})
    assert "published" == world.publish(1)["state"]
    assert expected[:2] == [row[:2] for row in world.rows()]
