"""Has the work on a batch done in a process of its own, within its bounds, and stops it when they are reached.

A file may take for ever, or more memory than there is, or crash the engine that reads it; then the process ends and
the worker goes on with the next batch. Some of that can't be stopped from inside: an engine's memory limit counts
its buffers and not all of its texts, a thread can't be ended, and DuckDB 2.0 may hang in an interrupted statement.

It is a fork, which Python 3.12 and newer warn of when other threads run: a lock that one of them holds, such as that of an
import, stays held in the child. A task has such threads where it reads an object store: fsspec's loop, and the name
lookups that the loop asks for. The loop is kept still while the task forks, a lookup under way is not, and a child that
hangs all the same is ended by its bounds. A fresh process instead would import everything for every file, and could not be handed an open step.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Event
from typing import Any

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Stragglers
from airflow_orchestration.exceptions import FeedCode, FeedError, OrchestrationError
from airflow_orchestration.policies.allocation import process_memory_mb
from airflow_orchestration.sources.outside import NoAnswerError
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

BRANCH_STOPPED = "branch_stopped"
"""The line of the timeline about a batch that was stopped."""
LOOK_SECONDS = 2.0
"""How often the verdict is looked for."""
WATCH_SECONDS = 0.1
"""How often the memory and the time of the work are looked at: twenty microseconds each."""
STILL_SECONDS = 1.0
"""Ours: how long a fork waits for a thread at most, and the thread for the fork; both take less than a millisecond."""
KIB_IN_MIB = 1024
PR_SET_PDEATHSIG = 1
ADDRESS_SPACE_MB = 1024
"""What a process may ask for beyond twice its memory: what it reserves and never touches."""
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""How a process ends that met a fault of its own; the same file would end it again."""

Work = Callable[[], FeedOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the work on a feed may take: seconds, and the engine's memory in MiB."""

    feed_id: str
    seconds: float
    memory_mb: int

    @property
    def resident_mb(self) -> float:
        """What its process may hold at most, in MiB, beyond what it began with."""
        return process_memory_mb(self.memory_mb)


Worker = Callable[[Work, Bounds], FeedOutcome]
"""Has the work on a batch done within its bounds, and returns what came of it."""


class StoppedError(OrchestrationError):
    """The work was stopped before it was done; nothing of it is kept."""


class WorkFaultError(RuntimeError):
    """The work met a fault that may pass, in its own process: `OSError: No space left on device`.

    `kept` are the words for it that may be kept, see `kept_words`.
    """

    def __init__(self, fault: str, kept: str) -> None:
        super().__init__(fault)
        self.kept = kept


class WorkEndedError(ChildProcessError):
    """The process of the work ended without a word, and not by a fault of its own."""


def kept_words(fault: Exception) -> str:
    """The words for a fault that may be kept with the run: those of others may hold data of rows."""
    if isinstance(fault, WorkFaultError):
        return fault.kept
    if isinstance(fault, WorkEndedError | NoAnswerError):
        return str(fault)
    if isinstance(fault, OSError) and fault.strerror:
        return f"{type(fault).__name__}, {fault.strerror}"
    return type(fault).__name__


def here(work: Work, _: Bounds) -> FeedOutcome:
    """Do the work in this process, to its end, without any bounds."""
    return work()


def apart(step: Step) -> Worker:
    """Return who works on the batches of a step: a process each, stopped by the gate where that is wanted."""
    return partial(until, partial(verdict_stops, step))


def until(
    over: Callable[[], bool], work: Work, bounds: Bounds, *, look_every: float = LOOK_SECONDS
) -> FeedOutcome:
    """Have the work done by a process of its own, and end the process whatever happens.

    Raises `StoppedError` once it is `over`, and `FeedError` when the work goes beyond its bounds or crashes.
    """
    receiving, sending = Pipe(duplex=False)
    before = _resident_mb(os.getpid())
    with _still():
        child = os.fork()
        if child == 0:
            _work_and_exit(work, sending, bounds)
    sending.close()
    word: tuple[Callable[..., Any], *tuple[Any, ...]] | None = None
    try:
        _watch(receiving, child, over, bounds, before=before, look_every=look_every)
        word = receiving.recv()
    except EOFError:
        log.warning("The process that worked on feed %s ended without a word", bounds.feed_id)
    finally:
        receiving.close()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if word is None:
        raise _end_of(status, bounds)
    kind, *told = word
    if kind is not FeedOutcome:
        raise kind(*told)
    outcome: FeedOutcome = told[0]
    return outcome


@contextmanager
def _still() -> Iterator[None]:
    """Keep fsspec's thread, where there is one, at a place where it holds no lock."""
    loaded = sys.modules.get("fsspec.asyn")
    loop = loaded.loop[0] if loaded else None
    if loop is None:
        yield
        return
    reached, over = Event(), Event()

    def wait() -> None:
        reached.set()
        over.wait(STILL_SECONDS)

    loop.call_soon_threadsafe(wait)
    reached.wait(STILL_SECONDS)
    try:
        yield
    finally:
        over.set()


def _watch(
    receiving: Connection[Any, Any],
    child: int,
    over: Callable[[], bool],
    bounds: Bounds,
    *,
    before: float,
    look_every: float,
) -> None:
    """Return when there is a word from the child."""
    started = looked = time.monotonic()
    while not receiving.poll(min(WATCH_SECONDS, look_every)):
        now = time.monotonic()
        if now - started > bounds.seconds:
            raise FeedError(
                f"{bounds.feed_id}: was still being worked on after {bounds.seconds:g} s and was stopped; deliver "
                "less, or raise its limits.seconds.",
                code=FeedCode.TOO_LONG,
            )
        if _resident_mb(child) - before > bounds.resident_mb:
            raise _too_large(bounds)
        if now - looked >= look_every:
            looked = now
            if over():
                raise StoppedError


def _failed(message: str, code: str) -> FeedError:
    return FeedError(message, code=FeedCode(code))


def _too_large(bounds: Bounds) -> FeedError:
    return FeedError(
        f"{bounds.feed_id}: takes more memory than its branch has ({bounds.resident_mb:.0f} MiB) and was stopped; "
        "deliver it in several files, or raise the pipeline's capacity.memory_mb.",
        code=FeedCode.MEMORY,
    )


def _end_of(status: int, bounds: Bounds) -> Exception:
    """What the end of a process means that sent no word: a crash is the file's, anything else may pass."""
    code = os.waitstatus_to_exitcode(status)
    ended = signal.Signals(-code) if code < 0 else None
    if ended in CRASHES:
        return FeedError(
            f"{bounds.feed_id}: reading it crashed the engine ({ended.name}); look for what is unusual in the file, "
            "and deliver it in another format.",
            code=FeedCode.CRASHED,
        )
    how = f"by {ended.name}, perhaps for want of memory," if ended else f"with exit code {code}"
    return WorkEndedError(f"{bounds.feed_id}: the process that worked on it ended {how} without a word")


def _resident_mb(process: int) -> float:
    """The memory that a process holds, in MiB; 0 where Linux doesn't say."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent: an orphan would work on beside its successor."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def bound_memory(bounds: Bounds) -> None:
    """Refuse this process more memory than it can need: one piece of four gigabytes is faster than any watch."""
    if sys.platform == "linux":
        data = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        most = data + int((2 * bounds.resident_mb + ADDRESS_SPACE_MB) * 2**20)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


def never() -> bool:
    """It is never over: the work may end in its own time."""
    return False


def verdict_stops(step: Step) -> bool:
    """Whether the gate has decided, where that is to stop the work; a store that can't be read stops nothing."""
    if step.spec.pipeline.sync.stragglers is not Stragglers.STOP:
        return False
    try:
        return step.store.rounds(step.run_key)[step.round - 1].verdict is not None
    except Exception:  # whatever is wrong with the store, the batch's own writes will say so
        log.warning("The verdict can't be read; looking again in %g s", LOOK_SECONDS, exc_info=True)
        return False


def _work_and_exit(work: Work, sending: Connection[Any, Any], bounds: Bounds) -> None:
    """Tell what came of the work, and end at once: connections and folders of the parent stay as they are."""
    begun = _resident_mb(os.getpid())
    try:
        die_with_parent()
        bound_memory(bounds)
        try:
            outcome = work()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_IN_MIB - begun
            sending.send((FeedOutcome, replace(outcome, peak_memory_mb=max(0.0, peak))))
        except FeedError as error:
            sending.send((_failed, str(error), error.code))
        except MemoryError:
            too_large = _too_large(bounds)
            sending.send((_failed, str(too_large), too_large.code))
        except Exception as fault:
            log.exception("The work on a feed met a fault")
            sending.send((WorkFaultError, f"{type(fault).__name__}: {fault}", kept_words(fault)))
    finally:
        os._exit(0)
