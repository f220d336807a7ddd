"""Leases of processes that are killed: never more is lent than there is, and all of it can be lent again."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import accumulate
from multiprocessing.process import BaseProcess
from typing import Any

import psycopg

from airflow_orchestration.domain.agent import NO_TENANT, ResourceRequirements
from airflow_orchestration.storage.leases import EVERYBODY, LeaseRequest
from airflow_orchestration.storage.leases_postgres import PostgresLeases
from airflow_orchestration.storage.postgres import PostgresStore
from demo.processes import wait_until

HOLDERS = 20
KILLS = 25
KILL_EVERY_SECONDS = 0.1
LEASE_SECONDS = 1.0
CAPACITY = ResourceRequirements(cpu_millicores=1000, memory_mb=1000, connections=10)
HOLDS_PER_PROCESS = 200
IMPATIENCE = 0.8
"""How often one who has to wait leaves the queue: who stands in it is seen by all, who has just come by few."""
FORK = multiprocessing.get_context("fork")
HELD = """SELECT coalesce(sum(cpu_millicores), 0), coalesce(sum(memory_mb), 0), coalesce(sum(connections), 0)
          FROM orchestration.lease WHERE granted_at IS NOT NULL AND expires_at > clock_timestamp()"""
LEFT = "SELECT max(expires_at) - clock_timestamp() FROM orchestration.lease"


class Holder:
    """A process that asks, holds, renews and gives back, and writes down when it might use what.

    Its notes are `[from, until, millicores, MB, connections]`, in memory that outlives it, by a clock that all
    processes share: until its own lease must have ended, or earlier when it has given it back.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], number: int) -> None:
        self.connect = connect
        self.number = number
        self.notes = FORK.RawArray("d", HOLDS_PER_PROCESS * 5)
        self.dice = random.Random(number)

    def start(self) -> BaseProcess:
        process = FORK.Process(target=self._live)
        process.start()
        return process

    def held(self) -> Iterator[tuple[float, float, tuple[int, ...]]]:
        for place in range(0, len(self.notes), 5):
            begun, until, *amounts = self.notes[place : place + 5]
            if begun:
                yield begun, until, tuple(map(int, amounts))

    def _live(self) -> None:
        with PostgresStore(self.connect) as store:
            leases = PostgresLeases(store._transaction, lease_time=timedelta(seconds=LEASE_SECONDS))
            for turn in range(HOLDS_PER_PROCESS):
                self._hold(leases, turn)
        os._exit(0)

    def _hold(self, leases: PostgresLeases, turn: int) -> None:
        holder, dice = f"holder {self.number}, turn {turn}", self.dice
        needed = ResourceRequirements(
            cpu_millicores=dice.randint(50, 400),
            memory_mb=dice.choice([50, 300]),
            connections=dice.randint(0, 4),
        )
        tenant = f"tenant_{self.number % 4}"
        request = LeaseRequest(holder=holder, tenant=tenant, needed=needed, epoch=1)
        asked = time.monotonic()
        while leases.ask(request).action.value != "grant":
            if dice.random() < IMPATIENCE:
                leases.release(holder, 1)
            time.sleep(dice.uniform(0.0, 0.05))
            asked = time.monotonic()
        place = turn * 5
        self.notes[place + 1 : place + 5] = [asked + LEASE_SECONDS, *needed.model_dump().values()]
        self.notes[place] = time.monotonic()
        for _ in range(dice.randint(0, 3)):
            time.sleep(dice.uniform(0.0, LEASE_SECONDS / 10))
            renewing = time.monotonic()
            if not leases.renew(holder, 1):
                return
            self.notes[place + 1] = renewing + LEASE_SECONDS
        self.notes[place + 1] = min(self.notes[place + 1], time.monotonic())
        leases.release(holder, 1)


def most_held(holders: list[Holder]) -> tuple[int, ...]:
    """The most of each resource that was in use at any moment, by what the holders wrote down."""
    steps: list[tuple[float, tuple[int, ...]]] = []
    for begun, until, amounts in (hold for holder in holders for hold in holder.held()):
        steps += [(begun, amounts), (max(begun, until), tuple(-amount for amount in amounts))]
    ordered = [amounts for _, amounts in sorted(steps)]
    return tuple(max(accumulate(column)) for column in zip(*ordered, strict=True))


def samples_while_killing(connect: Any, holders: list[Holder]) -> Iterator[tuple[int, ...]]:
    """Start the holders, kill one after the other, start another one for each, and in the end kill all."""
    dice = random.Random(20261122)
    living = [holder.start() for holder in holders]
    with closing(connect()) as looking:
        looking.autocommit = True
        for _ in range(KILLS):
            until = time.monotonic() + KILL_EVERY_SECONDS
            while time.monotonic() < until:
                yield looking.execute(HELD).fetchone()
                time.sleep(0.005)
            victim = dice.randrange(HOLDERS)
            living[victim].kill()
            holders.append(Holder(connect, len(holders)))
            living[victim] = holders[-1].start()
    for process in living:
        process.kill()
        process.join()


def time_left(connect: Any) -> timedelta:
    """How long the newest lease or place still counts, by the clock that decides it."""
    with closing(connect()) as looking:
        (left,) = looking.execute(LEFT).fetchone()
    return timedelta(0) if left is None else left


def test_killed_holders_never_use_more_than_there_is(connect: Any) -> None:
    """Twenty holders, one killed every moment: what is used and what is lent stays within the capacity.

    When the last is dead, everything can be lent again after the time of one lease.
    """
    most = tuple(CAPACITY.model_dump().values())
    holders = [Holder(connect, number) for number in range(HOLDERS)]
    with PostgresStore(connect) as store:
        store.leases.set_capacity(EVERYBODY, CAPACITY)
        samples = list(samples_while_killing(connect, holders))
        left = time_left(connect)
        assert wait_until(lambda: time_left(connect) <= timedelta(0), 10, every=0.02)
        everything = LeaseRequest(holder="the last", tenant=NO_TENANT, needed=CAPACITY, epoch=1)
        assert "grant" == store.leases.ask(everything).action.value

    assert HOLDERS < sum(1 for holder in holders for _ in holder.held())
    assert all(lent <= there for sample in samples for lent, there in zip(sample, most, strict=True))
    assert all(used <= there for used, there in zip(most_held(holders), most, strict=True))
    assert timedelta(seconds=LEASE_SECONDS) >= left
