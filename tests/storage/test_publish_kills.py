"""Publishing by processes that are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from airflow_orchestration.exceptions import OrchestrationError
from airflow_orchestration.storage.publishing import Publication, Publisher
from tests.storage.publications import TABLE, Content, csv, publication, row

KILLS = 24
ROWS = 4_000
PIECES = 20


@dataclass
class Delivery:
    """One publication, retried with a new epoch until an execution of it lives to the end."""

    database: str
    number: int
    rows: Content = field(init=False)
    pieces: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        first = self.number * ROWS // 2
        merged = [row(f"c{code:08}", f"name {self.number:03}", code) for code in range(first, first + ROWS)]
        self.rows = Content(merged, [["heavy", n, "type", "name", "odd", "raw"] for n in range(50)])
        size = ROWS // PIECES
        self.pieces = [csv(merged[start : start + size]) for start in range(0, ROWS, size)]

    def described(self, epoch: int) -> Publication:
        key = f"key-{self.number}"
        return publication(self.rows, epoch, f"sha-{self.number}", publication_key=key)

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


def test_killed_publishers_publish_exactly_once(database: str, connect: Any) -> None:
    """Processes killed at random moments and tried again publish every row once, and the ledger adds up."""
    dice = random.Random(20261122)
    started = time.monotonic()
    executed(Delivery(database, 0), 1, None)
    usual = time.monotonic() - started
    kills, number, epoch = 0, 0, 1
    while kills < KILLS:
        number += 1
        delivery, killed = Delivery(database, number), True
        while killed:
            epoch += 1
            patience = dice.uniform(0.0, usual) if kills < KILLS else None
            killed = executed(delivery, epoch, patience)
            kills += killed
    with connect() as target:
        _check(target, number + 1)


def _check(target: psycopg.Connection[Any], publications: int) -> None:
    rows = f"SELECT count(*), count(DISTINCT code), max(name) FROM {TABLE}"
    newest = f"name {publications - 1:03}"
    expected = (publications + 1) * ROWS // 2
    assert (expected, expected, newest) == target.execute(rows).fetchone()
    ledger = "SELECT count(*), sum(rows_published), sum(rows_inserted), sum(rows_quarantined) FROM "
    assert (publications, publications * ROWS, expected, publications * 50) == target.execute(
        ledger + "orchestration.publish_ledger"
    ).fetchone()
    assert (publications * 50,) == target.execute(
        "SELECT count(*) FROM orchestration.quarantined_row"
    ).fetchone()
    scratch = "SELECT count(*) FROM pg_class WHERE relnamespace = 'orchestration_scratch'::regnamespace"
    assert (0,) == target.execute(scratch).fetchone()
