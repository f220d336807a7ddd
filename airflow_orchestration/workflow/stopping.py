"""Stops a batch that is still being processed when the gate of its round has decided, if the pipeline says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import Event, Thread

from airflow_orchestration.domain.pipeline import Stragglers
from airflow_orchestration.engine.stopping import Stop, stoppable
from airflow_orchestration.storage.store import RunKey, Store
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

BRANCH_STOPPED = "branch_stopped"
"""The line of the timeline about a batch that was stopped."""
LOOK_SECONDS = 2.0
"""How often the watch looks for a verdict."""
AGAIN_SECONDS = 0.5
"""How often a batch is told to stop until it has."""
LEAVE_SECONDS = 5.0
"""How long a batch waits for its watch, which may hang in a lost connection, to notice that it is done."""

Watch = Callable[[], AbstractContextManager[None]]
"""Makes a block that is stopped with a `StoppedError` when the time has come; `nullcontext` never stops."""
OpenStore = Callable[[], AbstractContextManager[Store]]


def straggler_watch(step: Step, open_store: OpenStore) -> Watch:
    """Return what watches over each batch of a step. `open_store` opens a store for another thread."""
    if step.spec.pipeline.sync.stragglers is Stragglers.LEAVE:
        return nullcontext
    return partial(stopped_at_verdict, step.run_key, step.round, open_store)


@contextmanager
def stopped_at_verdict(
    run: RunKey, round_number: int, open_store: OpenStore, *, look_every: float = LOOK_SECONDS
) -> Iterator[None]:
    """Raise `StoppedError` in the block, within seconds, once the gate of the round has decided.

    A block that ends sooner than `look_every` seconds opens no store. A store that can't be read stops
    nothing: the block goes on, and the watch tries again.
    """
    stop, done = Stop(), Event()

    def decided() -> bool:
        with open_store() as store:
            while store.rounds(run)[round_number - 1].verdict is None:
                if done.wait(look_every):
                    return False
        return True

    watch = Thread(target=_watch, args=(decided, stop, done, look_every), name="straggler-watch", daemon=True)
    watch.start()
    try:
        with stoppable(stop):
            yield
    finally:
        done.set()
        watch.join(LEAVE_SECONDS)


def _watch(decided: Callable[[], bool], stop: Stop, done: Event, look_every: float) -> None:
    while not done.wait(look_every):
        try:
            over = decided()
        except Exception:  # whatever is wrong with the store, the batch's own writes will say so
            log.warning("The verdict can't be read; looking again in %g s", look_every, exc_info=True)
            continue
        if over:
            log.info("The gate has decided: stopping what is still being processed")
            stop.request()
            while not done.wait(AGAIN_SECONDS):
                stop.request()
            return
