"""Every way to break a running stack, each by its name in `STRIKES`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import psycopg

from demo.processes import OwnedProcess, end
from demo.stack import API_SERVER
from tests.torture.stack_machine import POSTGRES, SCHEDULER, SECOND_TRIGGERER, TRIGGERER, TorturedStack
from tests.torture.stack_processes import Worker, beneath, busy_workers, is_idle, left_in_session

TAKEN_OVER_SECONDS = 120.0
"""Nobody stays stopped longer, whether another attempt has begun or not."""
TRIGGERS_TAKEN_OVER_SECONDS = (18.0, 30.0)
"""Longer than a triggerer is believed alive."""
SILENCE_SECONDS = (2.0, 25.0)
DOWN_SECONDS = (0.5, 4.0)
FROZEN_SECONDS = (2.0, 12.0)
"""A stop that no client waits to its end, and one that outlasts a lock timeout of 10 s."""
SCHEDULER_FROZEN_SECONDS = (5.0, 25.0)
"""Shorter and longer than a scheduler is believed alive."""
AMBUSH_SECONDS, LOOK_SECONDS = 1.5, 0.005
"""How long, and how often, somebody looks for a connection that publishes."""
PUBLISHING_TASKS = "SELECT 1 AS found FROM task_instance WHERE state = 'running' AND task_id IN ('publish', 'reconcile') LIMIT 1"
PUBLISHERS = """
SELECT pid, application_name AS name FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^orchestration publish ' AND pid <> pg_backend_pid()"""
CONNECTIONS = """
SELECT pid, application_name AS name, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
ONE_CONNECTION = """
WITH chosen AS MATERIALIZED (
    SELECT pid, application_name AS name FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ORDER BY md5(pid::text || %s) LIMIT 1)
SELECT pid, name, pg_terminate_backend(pid) FROM chosen"""
SUCCEEDED = """
SELECT 1 AS found FROM task_instance_history AS mine JOIN task_instance AS newest USING (dag_id, run_id, task_id, map_index)
WHERE mine.task_instance_id = %s::uuid AND newest.try_number > mine.try_number
  AND (newest.try_number > mine.try_number + 1
       OR newest.state IN ('running', 'deferred', 'success', 'failed', 'skipped'))"""
"""Whether another attempt has begun, by the id of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """What was done: to whom, for how long, and what makes it good again, if anything has to."""

    to: str
    processes: tuple[OwnedProcess, ...] = ()
    ti_id: str | None = None
    task: OwnedProcess | None = None
    """The process that works, of an attempt that was stopped."""
    seconds: float = 0.0
    heal: Callable[[], None] | None = None
    is_due: Callable[[], bool] | None = None
    """Whether it may be made good before its time."""


Strike = Callable[[TorturedStack, Random], Blow | None]
"""Breaks something; None when there is nothing of that kind to break now."""


def was_succeeded(ask: Callable[..., list[dict[str, Any]] | None], ti_id: str | None) -> bool:
    """Whether another attempt has begun in the place of one."""
    return ti_id is not None and bool(ask(SUCCEEDED, ti_id))


def kill_task(machine: TorturedStack, dice: Random) -> Blow | None:
    """Let the process of a task end as the kernel ends it when memory is short."""
    worker = _any_worker(machine, dice)
    return worker and _killed("a task", [worker.task, *worker.beneath], worker)


def kill_worker(machine: TorturedStack, dice: Random) -> Blow | None:
    """Kill a task's supervisor: the task is an orphan that nobody hears.

    Never one that waits for its next task: it holds the lock of the queue, which nobody else would ever get.
    """
    worker = _any_worker(machine, dice)
    if worker is None:
        return None
    worker.supervisor.send(SIGSTOP)
    if is_idle(worker.supervisor):
        worker.supervisor.send(SIGCONT)
        return None
    return _killed("a supervisor", [worker.supervisor], worker)


def stop_worker(machine: TorturedStack, dice: Random) -> Blow | None:
    """Stop a task and its supervisor until another attempt has begun, and let them go on."""
    worker = _any_worker(machine, dice)
    return worker and _until_succeeded("a task and its supervisor", machine, worker, worker.everybody)


def stop_supervisor(machine: TorturedStack, dice: Random) -> Blow | None:
    """Stop a task's supervisor alone: the task works on, beside the next attempt."""
    worker = _any_worker(machine, dice)
    return worker and _until_succeeded("a supervisor", machine, worker, (worker.supervisor,))


def kill_triggerer(machine: TorturedStack, dice: Random) -> Blow:
    """Kill a triggerer with all that it has started."""
    leader = machine.leader(dice.choice((TRIGGERER, SECOND_TRIGGERER)))
    return _killed(leader.name, left_in_session(leader))


def kill_trigger_runner(machine: TorturedStack, dice: Random) -> Blow | None:
    """Kill the process in which triggers run, and leave the triggerer."""
    leader = machine.leader(dice.choice((TRIGGERER, SECOND_TRIGGERER)))
    runners = beneath(leader)
    return _killed(f"the runner of {leader.name}", runners) if runners else None


def stop_triggerer(machine: TorturedStack, dice: Random) -> Blow:
    """Stop a triggerer until another has its triggers, and let it go on: both may report."""
    leader = machine.leader(dice.choice((TRIGGERER, SECOND_TRIGGERER)))
    return _stopped(leader.name, left_in_session(leader), dice.uniform(*TRIGGERS_TAKEN_OVER_SECONDS))


def kill_scheduler(machine: TorturedStack, _: Random) -> Blow:
    """Kill the scheduler alone: its workers and their tasks are orphans."""
    return _killed("the scheduler", [machine.leader(SCHEDULER)])


def kill_scheduler_group(machine: TorturedStack, _: Random) -> Blow:
    """Kill the scheduler with its workers and their tasks, as when its container dies."""
    return _killed("the scheduler and its workers", left_in_session(machine.leader(SCHEDULER)))


def kill_dag_processor(machine: TorturedStack, _: Random) -> Blow:
    """Kill what reads Dag files."""
    leader = machine.leader("dag-processor")
    return _killed(leader.name, left_in_session(leader))


def kill_api_server(machine: TorturedStack, _: Random) -> Blow:
    """Kill what tasks tell their states to."""
    leader = machine.leader("api-server")
    return _killed(leader.name, left_in_session(leader))


def crash_postgres(machine: TorturedStack, dice: Random) -> Blow:
    """Let the database server crash, for a moment or for seconds."""
    seconds = dice.uniform(*DOWN_SECONDS)
    machine.crash_postgres(seconds)
    return Blow(to=f"PostgreSQL, down for {seconds:.1f} s", seconds=seconds)


def stop_scheduler(machine: TorturedStack, dice: Random) -> Blow:
    """Stop the scheduler, and let it go on: its workers and their tasks go on meanwhile."""
    return _stopped("the scheduler", [machine.leader(SCHEDULER)], dice.uniform(*SCHEDULER_FROZEN_SECONDS))


def stop_api_server(machine: TorturedStack, dice: Random) -> Blow:
    """Cut workers off from the server that they report to: it takes connections, and answers nobody."""
    return _frozen(machine, API_SERVER, dice)


def stop_postgres(machine: TorturedStack, dice: Random) -> Blow:
    """Stop PostgreSQL with all its backends: connections stand, nobody is answered, locks are kept."""
    return _frozen(machine, POSTGRES, dice)


def terminate_publishers(machine: TorturedStack, dice: Random) -> Blow | None:
    """Lie in wait for a connection that publishes, and end it a moment after it has begun."""
    if not machine.metadata(PUBLISHING_TASKS):
        return None
    until = time.monotonic() + AMBUSH_SECONDS
    with machine.warehouse_session() as connection:
        while connection is not None and time.monotonic() < until:
            if found := connection.execute(PUBLISHERS).fetchall():
                time.sleep(dice.uniform(0.0, 0.15))
                return _terminated("publishing", _ended(connection, [line["pid"] for line in found]))
            time.sleep(LOOK_SECONDS)
    return None


def _ended(connection: psycopg.Connection[dict[str, Any]], pids: Sequence[int]) -> list[dict[str, Any]]:
    """Those whom it still hit."""
    query = "SELECT pid FROM unnest(%s::integer[]) AS pid WHERE pg_terminate_backend(pid)"
    return connection.execute(query, [pids]).fetchall()


def terminate_store(machine: TorturedStack, _: Random) -> Blow | None:
    """End every connection to the store."""
    return _terminated("to the store", machine.warehouse(CONNECTIONS))


def terminate_metadata(machine: TorturedStack, dice: Random) -> Blow | None:
    """End one connection to Airflow's own database."""
    return _terminated("to Airflow's database", machine.metadata(ONE_CONNECTION, str(dice.random())))


def cut(machine: TorturedStack, _: Random) -> Blow | None:
    """Cut every connection to store and target, without a word to either side."""
    cut_off = machine.door.slam()
    return Blow(to=f"{cut_off} connections to the store") if cut_off else None


def silence(machine: TorturedStack, dice: Random) -> Blow:
    """Let nothing pass between store and tasks for a while."""
    machine.door.hold()
    return Blow(to="the store", seconds=dice.uniform(*SILENCE_SECONDS), heal=machine.door.release)


STRIKES: Mapping[str, Strike] = {
    strike.__name__: strike
    for strike in (
        kill_task, kill_worker, stop_worker, stop_supervisor, kill_triggerer, kill_trigger_runner, stop_triggerer,
        kill_scheduler, kill_scheduler_group, stop_scheduler, kill_dag_processor, kill_api_server, stop_api_server,
        crash_postgres, stop_postgres, terminate_publishers, terminate_store, terminate_metadata, cut, silence,
    )
}  # fmt: skip


def _any_worker(machine: TorturedStack, dice: Random) -> Worker | None:
    workers = [worker for leader in machine.schedulers() for worker in busy_workers(leader)]
    return dice.choice(workers) if workers else None


def _killed(to: str, processes: Sequence[OwnedProcess], worker: Worker | None = None) -> Blow:
    end(processes, [(SIGKILL, 5.0)])
    told = worker.everybody if worker else tuple(processes)
    return Blow(to=to, processes=told, ti_id=worker.ti_id if worker else None)


def _stopped(to: str, processes: Sequence[OwnedProcess], seconds: float) -> Blow:
    for process in processes:
        process.send(SIGSTOP)

    def go_on() -> None:
        for process in reversed(processes):
            process.send(SIGCONT)

    return Blow(to=to, processes=tuple(processes), seconds=seconds, heal=go_on)


def _until_succeeded(
    to: str, machine: TorturedStack, worker: Worker, stopped: Sequence[OwnedProcess]
) -> Blow:
    """Stop a part of an attempt until another has begun in its place: then it is a zombie."""
    blow = _stopped(to, stopped, TAKEN_OVER_SECONDS)
    return replace(
        blow,
        processes=worker.everybody,
        ti_id=worker.ti_id,
        task=worker.task,
        is_due=lambda: was_succeeded(machine.metadata, worker.ti_id),
    )


def _frozen(machine: TorturedStack, part: str, dice: Random) -> Blow:
    machine.freeze(part)
    return Blow(to=part, seconds=dice.uniform(*FROZEN_SECONDS), heal=lambda: machine.thaw(part))


def _terminated(which: str, ended: list[dict[str, Any]] | None) -> Blow | None:
    return Blow(to=f"{len(ended)} connections {which}") if ended else None
