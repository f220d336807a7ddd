"""Readers that die, readers that come back from the dead, runs that publish nothing: every record is published once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest

from airflow_orchestration.domain.source import Kafka, MicroBatch, Outbox
from airflow_orchestration.domain.stream import StreamMarks
from airflow_orchestration.exceptions import FencedError, StreamTakenError
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.kafka import read_kafka
from airflow_orchestration.sources.outbox import read_outbox
from airflow_orchestration.storage import postgres, streams_postgres
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from tests.sources.brokers import apache_kafka
from tests.sources.test_outbox import CREATE, INDEX
from tests.storage.builders import delivered

FEED = "events"
RECORDS = 3000
BATCH = MicroBatch(records=250)
TABLES = """CREATE TABLE staged (run_id text, epoch bigint, n integer);
            CREATE TABLE published (run_id text, n integer)"""

Read = Callable[[StreamMarks, Path], Fetched]


@dataclass(frozen=True, kw_only=True)
class World:
    """A store, a target beside it, and a stream with all its records."""

    database: str
    read: Read
    folder: Path

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database)

    def one(self, query: str, *values: object) -> Any:
        with self.connect() as connection:
            row = connection.execute(query.encode(), values).fetchone()
        return row[0] if row else None


@pytest.fixture(params=["outbox", "kafka"])
def world(request: pytest.FixtureRequest, migrated: str, tmp_path: Path) -> Iterator[World]:
    """The same crashes over both kinds of streams."""
    with psycopg.connect(migrated) as connection:
        connection.execute(TABLES)
    if request.param == "outbox":
        with psycopg.connect(migrated) as connection:
            connection.execute(CREATE)
            connection.execute(INDEX)
            for number in range(RECORDS):
                connection.execute("INSERT INTO outbox (payload) VALUES (%s)", [json.dumps({"n": number})])
                if number % 7 == 0:
                    connection.commit()
        outbox = Outbox(conn_id="app", table="public.outbox", batch=BATCH)
        yield World(
            database=migrated,
            folder=tmp_path,
            read=lambda marks, folder: read_outbox(
                FEED, outbox, marks, connect=lambda: psycopg.connect(migrated), scratch=folder
            ),
        )
        return
    with apache_kafka() as broker:
        kafka = Kafka(topic=broker.topic(partitions=3), batch=BATCH)
        for partition in range(3):
            records = (json.dumps({"n": number}).encode() for number in range(partition, RECORDS, 3))
            broker.produce(kafka.topic, records, partition)
        yield World(
            database=migrated,
            folder=tmp_path,
            read=lambda marks, folder: read_kafka(FEED, kafka, marks, config=broker.config, scratch=folder),
        )


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def begin(world: World, run: RunKey, try_number: int, fate: str) -> int:
    """Start an attempt in a process of its own; one of `late` fate registers when it is told to go on."""
    child = os.fork()
    if child:
        return child
    try:
        work(world, run, try_number, fate)
    except (FencedError, StreamTakenError):
        os._exit(3)
    except BaseException:  # noqa: BLE001  # a child of a test must never return into pytest
        os._exit(4)
    os._exit(0)


def tell_register_to_die_after(hold: Callable[..., None]) -> None:
    """End the process inside the registering transaction, when all is written and nothing committed."""

    def held_and_killed(*arguments: Any) -> None:
        hold(*arguments)
        die()

    setattr(postgres, hold.__name__, held_and_killed)


def work(world: World, run: RunKey, try_number: int, fate: str) -> None:
    """What a branch does: claim, ask for the marks, read, stage, register."""
    folder = world.folder / f"{run.run_id}-{try_number}"
    folder.mkdir()
    with PostgresStore(world.connect) as store:
        unit = WorkUnit(run=run, round=1, unit="branch:alpha:b1")
        fence = store.claim(
            unit, Attempt(try_number=try_number, ti_id=str(try_number), process=str(os.getpid()))
        )
        fetched = world.read(store.streams.marks(run, FEED), folder)
        lines = [
            json.loads(line)["n"] for file in fetched.files for line in file.path.read_bytes().splitlines()
        ]
        with world.connect() as staging, staging.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO staged VALUES (%s, %s, %s)", [(run.run_id, fence.epoch, n) for n in lines]
            )
        if fate == "late":
            (folder / "read").touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        if fate == "before":
            die()
        if fate == "inside":
            tell_register_to_die_after(streams_postgres.hold)
        store.register(fence, replace(delivered(FEED, len(lines)), ranges=fetched.ranges))
        if fate == "after":
            die()


def ended(child: int) -> int:
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in {0, 3, -signal.SIGKILL}
    return os.waitstatus_to_exitcode(status)


def stopped(child: int) -> None:
    """Wait until an attempt has read and staged, and sleeps before it registers."""
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def attempt(world: World, run: RunKey, try_number: int, fate: str) -> int:
    """Execute an attempt; `late` is a zombie that wakes up beside its retry. Returns how many tries it took."""
    zombie = begin(world, run, try_number, fate)
    if fate != "late":
        ended(zombie)
        return 1
    stopped(zombie)
    retry = begin(world, run, try_number + 1, "late")
    stopped(retry)
    os.kill(zombie, signal.SIGCONT)
    os.kill(retry, signal.SIGCONT)
    assert (3, 0) == (ended(zombie), ended(retry))
    return 2


def registered(world: World, run: RunKey) -> int | None:
    """The epoch of the registered result, if there is one."""
    query = "SELECT epoch FROM orchestration.feed_outcome WHERE run_id = %s"
    found: int | None = world.one(query, run.run_id)
    return found


def close(world: World, run: RunKey, epoch: int, how: str) -> None:
    """Publish a run's rows, or give them back; `after_all` gives them back first and then changes its mind."""
    with PostgresStore(world.connect) as store:
        unit = WorkUnit(run=run, round=0, unit="close_out")
        fence = store.claim(unit, Attempt(try_number=1, ti_id="1", process="here"))
        if how != "published":
            store.streams.give_back(fence, [FEED])
        if how == "after_all":
            (outcome,) = store.outcomes(run)
            store.streams.take_again(fence, {FEED: outcome.ranges or ()})
        if how != "given_back":
            with world.connect() as target:
                target.execute(
                    "INSERT INTO published SELECT run_id, n FROM staged WHERE run_id = %s AND epoch = %s",
                    [run.run_id, epoch],
                )


def test_every_record_is_published_once(world: World) -> None:
    """Kills before, inside and after the registering transaction, zombies beside their retries, runs that give back: N records, N distinct."""
    fates = cycle(
        ["before", "good", "inside", "late", "after", "good", "before", "late", "inside", "good", "after"]
    )
    ends = cycle(["published", "given_back", "published", "after_all", "given_back"])
    kills, given_back = 0, 0
    for number in range(100):
        run, tries = RunKey(dag_id="flights", run_id=f"run_{number}"), 1
        while (epoch := registered(world, run)) is None:
            fate = next(fates)
            kills += fate in {"before", "inside", "after"}
            tries += attempt(world, run, tries, fate)
        how = next(ends)
        given_back += how == "given_back"
        close(world, run, epoch, how)
        if world.one("SELECT count(*) FROM published") >= RECORDS:
            break
    assert (RECORDS, RECORDS) == (
        world.one("SELECT count(*) FROM published"),
        world.one("SELECT count(DISTINCT n) FROM published"),
    )
    assert kills >= 9
    assert given_back >= 4
    assert 0 == world.one("SELECT count(*) FROM orchestration.stream_range WHERE held AND start = stop")


def test_runs_side_by_side_read_different_records(world: World) -> None:
    """Two runs that read at once: one registers the records, the other is refused and then reads those behind them."""
    first, second = (RunKey(dag_id="flights", run_id=name) for name in ("first", "second"))
    children = [begin(world, run, 1, "late") for run in (first, second)]
    for child in children:
        stopped(child)
    for child in children:
        os.kill(child, signal.SIGCONT)
    codes = sorted(ended(child) for child in children)
    losers = [run for run in (first, second) if registered(world, run) is None]
    assert [0] * (2 - len(losers)) + [3] * len(losers) == codes
    partitions = world.one("SELECT count(DISTINCT partition) FROM orchestration.stream_range")
    assert len(losers) == 1 or partitions > 1  # of several, the two may have begun with different ones
    for loser in losers:
        assert 1 == attempt(world, loser, 2, "good")
    for run in (first, second):
        epoch = registered(world, run)
        assert epoch is not None
        close(world, run, epoch, "published")
    assert (500, 500) == (
        world.one("SELECT count(*) FROM published"),
        world.one("SELECT count(DISTINCT n) FROM published"),
    )
