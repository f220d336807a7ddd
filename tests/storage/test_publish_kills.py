"""Publishing by processes that are killed, in every mode."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Event
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.exceptions import OrchestrationError
from airflow_orchestration.storage.publishing import Publication, Publisher
from tests.storage.builders import RUN
from tests.storage.publications import CONTRACT, TABLE, Content, csv, publication, row

KILLS = {PublishMode.UPSERT: 24, PublishMode.APPEND: 8, PublishMode.REPLACE: 16, PublishMode.PARTITION: 12}
DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")
ROWS = 4_000
PIECES = 20
SCRATCH = (
    "SELECT count(*) FROM pg_class WHERE relnamespace = 'orchestration_scratch'::regnamespace "
    "OR relname ~ '^[opqt]_[0-9]+_'"
)


@dataclass
class Delivery:
    """One publication, retried with a new epoch until an execution of it lives to the end."""

    database: str
    number: int
    mode: PublishMode = PublishMode.UPSERT
    rows: Content = field(init=False)
    pieces: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        first = self.number * ROWS // 2
        merged = [row(f"c{code:08}", f"name {self.number:03}", code) for code in range(first, first + ROWS)]
        for cells in merged:
            cells[5] = DAYS[self.number % len(DAYS)]
        self.rows = Content(
            merged, [["heavy", "heavy.csv", n, "type", "name", "odd", "raw"] for n in range(50)]
        )
        size = ROWS // PIECES
        self.pieces = [csv(merged[start : start + size]) for start in range(0, ROWS, size)]

    def described(self, epoch: int) -> Publication:
        changes: dict[str, Any] = {"mode": self.mode, "run": replace(RUN, run_id=str(self.number))}
        if self.mode is PublishMode.PARTITION:
            keyed = Contract(name="airports", key=("code", "since"), columns=CONTRACT.columns)
            changes |= {"partition_by": "since", "contract": keyed}
        key = f"key-{self.number}"
        return publication(self.rows, epoch, f"sha-{self.number}", publication_key=key, **changes)

    def publish(self, epoch: int) -> None:
        publisher = Publisher(lambda: psycopg.connect(self.database))
        publisher.publish(self.described(epoch), iter(self.pieces), iter([csv(self.rows.quarantined)]))


def executed(delivery: Delivery, epoch: int, kill_after: float | None) -> bool:
    """Run one execution in a process of its own; was it killed?"""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(delivery, epoch))
    process.start()
    process.join(kill_after)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


def _child(delivery: Delivery, epoch: int) -> None:
    try:
        delivery.publish(epoch)
    except (OrchestrationError, psycopg.Error):
        os._exit(1)
    os._exit(0)


def deliver(database: str, mode: PublishMode, kills: int, dice: random.Random) -> int:
    """Publish one content after the other until so many executions were killed; return how many contents."""
    started = time.monotonic()
    executed(Delivery(database, 0, mode), 1, None)
    usual = time.monotonic() - started
    killed_ones, number, epoch = 0, 0, 1
    while killed_ones < kills:
        number += 1
        delivery, killed = Delivery(database, number, mode), True
        while killed:
            epoch += 1
            patience = dice.uniform(0.0, usual) if killed_ones < kills else None
            killed = executed(delivery, epoch, patience)
            killed_ones += killed
    return number + 1


@pytest.mark.parametrize("mode", KILLS)
def test_a_first_publication_that_is_killed_leaves_nothing(
    migrated: str, connect: Any, mode: PublishMode
) -> None:
    """An execution killed amid the first rows of a table leaves nothing once another one has published them."""
    delivery = Delivery(migrated, 0, mode)
    process = multiprocessing.get_context("fork").Process(target=_die_amid, args=(delivery,))
    process.start()
    process.join()
    assert -signal.SIGKILL == process.exitcode
    with connect() as target:
        assert (0,) != target.execute(SCRATCH).fetchone()
    delivery.publish(epoch=2)
    with connect() as target:
        _check(target, 1, mode)


def _die_amid(delivery: Delivery) -> None:
    def pieces() -> Iterator[bytes]:
        yield delivery.pieces[0]
        os.kill(os.getpid(), signal.SIGKILL)

    Publisher(lambda: psycopg.connect(delivery.database)).publish(delivery.described(1), pieces(), ())


@pytest.mark.parametrize("mode", KILLS)
def test_killed_publishers_publish_exactly_once(migrated: str, connect: Any, mode: PublishMode) -> None:
    """Processes killed at random moments and tried again publish every row once, and the ledger adds up."""
    context = multiprocessing.get_context("fork")
    done = context.Event()
    watcher = context.Process(target=_watch, args=(migrated, mode, done))
    watcher.start()
    publications = deliver(migrated, mode, KILLS[mode], random.Random(20261122))
    done.set()
    watcher.join()
    assert 0 == watcher.exitcode
    with connect() as target:
        _check(target, publications, mode)


def _watch(database: str, mode: PublishMode, done: Event) -> None:
    """Read all the while: whoever reads sees whole publications, at every moment; else end with 1."""
    with psycopg.connect(database, autocommit=True) as reader:
        while not done.is_set():
            try:
                query = f"SELECT name, count(*) FROM {TABLE} GROUP BY name"
                seen: dict[str, int] = {name: rows for name, rows in reader.execute(query)}  # noqa: C416
            except psycopg.errors.UndefinedTable:
                time.sleep(0.01)
                continue
            most = {PublishMode.REPLACE: 1, PublishMode.PARTITION: len(DAYS)}.get(mode)
            if (
                not seen
                or max(seen.values()) > ROWS
                or (most and (len(seen) > most or {*seen.values()} != {ROWS}))
            ):
                os._exit(1)


def _expected(publications: int, mode: PublishMode) -> tuple[int, int]:
    """The rows of the table, and those that were inserted in all."""
    union = (publications + 1) * ROWS // 2
    return {
        PublishMode.UPSERT: (union, union),
        PublishMode.APPEND: (publications * ROWS, publications * ROWS),
        PublishMode.REPLACE: (ROWS, publications * ROWS),
        PublishMode.PARTITION: (min(publications, len(DAYS)) * ROWS, publications * ROWS),
    }[mode]


def _check(target: psycopg.Connection[Any], publications: int, mode: PublishMode) -> None:
    expected, inserted = _expected(publications, mode)
    apart = f"SELECT count(*), count(DISTINCT (code, since, _run_id)), max(name) FROM {TABLE}"
    assert (expected, expected, f"name {publications - 1:03}") == target.execute(apart).fetchone()
    ledger = "SELECT count(*), sum(rows_published), sum(rows_inserted), sum(rows_quarantined) FROM "
    assert (publications, publications * ROWS, inserted, publications * 50) == target.execute(
        ledger + "orchestration.publish_ledger"
    ).fetchone()
    assert (publications * 50,) == target.execute(
        "SELECT count(*) FROM orchestration.quarantined_row"
    ).fetchone()
    assert (0,) == target.execute(SCRATCH).fetchone()
