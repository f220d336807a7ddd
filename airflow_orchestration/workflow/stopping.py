"""Stops a batch that is still being processed when the gate of its round has decided, if the pipeline says so.

Such a batch is worked on in a process of its own, which can be ended at any moment. A thread can't be, and
DuckDB 2.0 may hang for ever in a statement that is interrupted.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, Pipe
from typing import Any

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Stragglers
from airflow_orchestration.exceptions import FeedError, OrchestrationError
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

BRANCH_STOPPED = "branch_stopped"
"""The line of the timeline about a batch that was stopped."""
LOOK_SECONDS = 2.0
"""How often the verdict is looked for."""
PR_SET_PDEATHSIG = 1

Work = Callable[[], FeedOutcome]
Worker = Callable[[Work], FeedOutcome]
"""Has the work on a batch done, and returns what came of it."""


class StoppedError(OrchestrationError):
    """The work was stopped before it was done; nothing of it is kept."""


def here(work: Work) -> FeedOutcome:
    """Do the work in this process, to its end."""
    return work()


def straggler_worker(step: Step) -> Worker:
    """Return who works on the batches of a step: somebody who can be stopped only where that is wanted."""
    if step.spec.pipeline.sync.stragglers is Stragglers.LEAVE:
        return here
    return partial(until, partial(_has_decided, step))


def until(over: Callable[[], bool], work: Work, *, look_every: float = LOOK_SECONDS) -> FeedOutcome:
    """Have the work done by a process of its own; raise `StoppedError` once it is over, and end the process."""
    receiving, sending = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        _work_and_exit(work, sending)
    sending.close()
    try:
        while not receiving.poll(look_every):
            if over():
                raise StoppedError
        kind, ended = receiving.recv()
    except EOFError:
        raise ChildProcessError("the process that worked on the feed ended without a word") from None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        receiving.close()
    if kind is not FeedOutcome:
        raise kind(ended)
    outcome: FeedOutcome = ended
    return outcome


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent: an orphan would work on beside its successor."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _has_decided(step: Step) -> bool:
    """Whether the gate has decided; a store that can't be read stops nothing."""
    try:
        return step.store.rounds(step.run_key)[step.round - 1].verdict is not None
    except Exception:  # whatever is wrong with the store, the batch's own writes will say so
        log.warning("The verdict can't be read; looking again in %g s", LOOK_SECONDS, exc_info=True)
        return False


def _work_and_exit(work: Work, sending: Connection[Any, Any]) -> None:
    """Tell what came of the work, and end at once: connections and folders of the parent stay as they are."""
    try:
        die_with_parent()
        try:
            sending.send((FeedOutcome, work()))
        except FeedError as error:
            sending.send((FeedError, str(error)))
        except Exception as fault:
            log.exception("The work on a feed met a fault")
            sending.send((RuntimeError, f"{type(fault).__name__}: {fault}"))
    finally:
        os._exit(0)
