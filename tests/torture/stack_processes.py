"""Which processes of a stack do what? By their parents, sessions and titles."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from demo.processes import OwnedProcess

WORKER_TITLE = re.compile(r"airflow worker -- LocalExecutor[^:]*: ")
IDLE = "<idle>"
TASK_TITLE = re.compile(r"airflow worker -- ([0-9a-f]{8}-[0-9a-f-]{27})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker of the executor with a task at work: it supervises the task's own process."""

    supervisor: OwnedProcess
    task: OwnedProcess
    beneath: tuple[OwnedProcess, ...]
    """What the task has started itself."""
    ti_id: str | None
    """The task instance's id at Airflow; None while the task is still starting."""

    @property
    def everybody(self) -> tuple[OwnedProcess, ...]:
        """All of its processes, the supervisor first."""
        return (self.supervisor, self.task, *self.beneath)


def busy_workers(leader: OwnedProcess) -> list[Worker]:
    """Return the workers of a scheduler, dead or alive, that have a task at work."""
    return [worker for process in _session(leader) if (worker := _busy(process))]


def is_idle(supervisor: OwnedProcess) -> bool:
    """Whether a worker waits for its next task by now, if it lives."""
    with suppress(psutil.Error):
        return _title(psutil.Process(supervisor.pid)).endswith(IDLE)
    return True


def idle_workers(leader: OwnedProcess) -> list[OwnedProcess]:
    """Return the workers of a scheduler that wait for a task."""
    idle = [process for process in _session(leader) if _is_worker(process) and _title(process).endswith(IDLE)]
    return [owned for process in idle if (owned := OwnedProcess.of("idle worker", process.pid))]


def left_in_session(leader: OwnedProcess) -> list[OwnedProcess]:
    """Return what lives in the session that a process leads, or led."""
    return [owned for process in _session(leader) if (owned := OwnedProcess.of(leader.name, process.pid))]


def beneath(leader: OwnedProcess) -> list[OwnedProcess]:
    """Return the children of a process, and theirs."""
    with suppress(psutil.Error):
        return list(_owned(psutil.Process(leader.pid).children(recursive=True), leader.name))
    return []


def anonymous_mb(processes: Iterable[OwnedProcess]) -> float:
    """The memory of processes that is no file and no shared segment, in MiB: PostgreSQL's buffers fill, and don't grow."""
    total = 0
    for process in processes:
        with suppress(OSError):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return total / 1024


def _session(leader: OwnedProcess) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader.pid:
                yield process


def _busy(process: psutil.Process) -> Worker | None:
    with suppress(psutil.Error):
        if not _is_worker(process) or _title(process).endswith(IDLE):
            return None
        supervisor = OwnedProcess.of("supervisor", process.pid)
        for child in process.children():
            task = OwnedProcess.of("task", child.pid)
            if supervisor and task:
                found = TASK_TITLE.search(_title(child))
                below = tuple(_owned(child.children(recursive=True), "work"))
                return Worker(
                    supervisor=supervisor, task=task, beneath=below, ti_id=found[1] if found else None
                )
    return None


def _is_worker(process: psutil.Process) -> bool:
    """A task has its worker's title for a moment after it was forked."""
    if not WORKER_TITLE.match(_title(process)):
        return False
    with suppress(psutil.Error):
        parent = process.parent()
        return parent is None or not WORKER_TITLE.match(_title(parent))
    return True


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def _owned(processes: Iterable[psutil.Process], name: str) -> Iterator[OwnedProcess]:
    for process in processes:
        if owned := OwnedProcess.of(name, process.pid):
            yield owned
