"""Which processes are ours, and how do they end?

A pid alone proves nothing: it is used again. A process is ours only when it also began at the moment we noted.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil  # type: ignore[import-untyped,unused-ignore]  # carries no annotations of its own

T = TypeVar("T")

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedProcess:
    """A process that we started: its pid and its birth."""

    name: str
    pid: int
    born: float

    @classmethod
    def of(cls, name: str, pid: int) -> OwnedProcess | None:
        """Note the living process `pid`; None when it is already gone."""
        born = birth(pid)
        return None if born is None else cls(name=name, pid=pid, born=born)

    def is_alive(self) -> bool:
        return birth(self.pid) == self.born

    def send(self, signal_number: int) -> None:
        """Signal the process if it is still the one that we started."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)


def birth(pid: int) -> float | None:
    """When the process began: clock ticks since boot, which no change of the clock moves; None for the dead."""
    if sys.platform != "linux":
        return _birth_by_clock(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else float(fields[18])


def _birth_by_clock(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def family(leader: OwnedProcess, folder: Path) -> set[OwnedProcess]:
    """The leader of a session, what descends from it, and what outlived it in its session and `folder`."""
    if birth(leader.pid) not in (None, leader.born):
        return set()  # the pid is in use again, so nothing of the old session is left
    members = [process for process in psutil.process_iter() if _is_member(process, leader, folder)]
    pids = {process.pid for member in members for process in _with_children(member)}
    return {owned for pid in pids if (owned := OwnedProcess.of(leader.name, pid))}


def _is_member(process: psutil.Process, leader: OwnedProcess, folder: Path) -> bool:
    try:
        return process.pid == leader.pid or (
            os.getsid(process.pid) == leader.pid and Path(process.cwd()) == folder
        )
    except (psutil.Error, OSError):
        return False


def _with_children(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    with suppress(psutil.Error):
        yield from process.children(recursive=True)


def end(processes: Iterable[OwnedProcess], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn to those still alive, and give them its seconds to go."""
    everyone = list(processes)
    for signal_number, seconds in steps:
        for process in everyone:
            process.send(signal_number)
        if wait_until(lambda: not any(process.is_alive() for process in everyone), seconds):
            return


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = POLL_SECONDS) -> bool:
    """Ask again and again; False when the time was over first."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return met


def shielded(work: Callable[[], T]) -> T:
    """Do the work to its end even if Ctrl-C comes; the interrupt is raised afterwards. For the main thread."""
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return work()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            raise KeyboardInterrupt
