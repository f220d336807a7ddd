"""Has inputs judged by processes that may hang or crash, and says what became of each."""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

from airflow_orchestration.workflow.stopping import die_with_parent
from tests.fuzz.inputs import Made
from tests.fuzz.judging import MOST_SECONDS, Told, Verdict, judged
from tests.fuzz.kinds import LOOKS, made_for
from tests.fuzz.shrinking import shrunk

MEMORY = 4 * 1024**3
"""Bytes that a judge may ask for: a file that lies about its size must not take the machine's."""
PATIENCE = MOST_SECONDS + 10.0
"""Seconds without a word after which a judge is taken to hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of the input of a number; `failing` is a violation's input, shrunk."""

    number: int
    kind: str
    told: Told
    failing: Made | None = None


@dataclass(slots=True, kw_only=True)
class _Judge:
    """A process that works through numbers."""

    process: int
    words: Connection[Any, Any]
    left: list[int]
    apart: bool
    since: float = field(default_factory=time.monotonic)


def run(seed: int, numbers: Sequence[int], wanted: tuple[str, ...], workers: int) -> Iterator[Ended]:
    """Judge the inputs of some numbers, in any order, and yield what became of each."""
    judges = [
        _started(seed, list(numbers[at::workers]), wanted) for at in range(workers) if numbers[at::workers]
    ]
    try:
        while judges:
            ready = wait([judge.words for judge in judges], timeout=1.0)
            for judge in list(judges):
                if judge.words in ready or time.monotonic() - judge.since > PATIENCE:
                    ended, following = _heard(judge, seed, wanted, is_word=judge.words in ready)
                    judges.remove(judge)
                    judges += following
                    yield from ended
    finally:
        for judge in judges:
            _stop(judge)


def _heard(
    judge: _Judge, seed: int, wanted: tuple[str, ...], *, is_word: bool
) -> tuple[list[Ended], list[_Judge]]:
    """What a judge says, or that it says nothing any more; and who goes on."""
    word: Ended | None = None
    if is_word:
        try:
            word = judge.words.recv()
        except EOFError:
            is_word = False
    if is_word:
        if word is None:
            _stop(judge)
            return [], []
        judge.left.remove(word.number)
        judge.since = time.monotonic()
        return [word], [judge]
    return _fallen(judge, seed, wanted)


def _fallen(judge: _Judge, seed: int, wanted: tuple[str, ...]) -> tuple[list[Ended], list[_Judge]]:
    """A judge that fell over a feed in its own process: the product has processes for that, so it is asked once more."""
    hung = time.monotonic() - judge.since > MOST_SECONDS
    if hung:
        _say_where(judge)
    code = _stop(judge)
    if not judge.left:
        return [], []
    number, rest = judge.left[0], judge.left[1:]
    made = made_for(seed, number, wanted)
    if made.terms.get("apart") is False and not judge.apart:
        return [], [_started(seed, judge.left, wanted, apart=True)]
    why = "was not done after 30 s" if hung else f"ended the process with {code}"
    told = Told(verdict=Verdict.VIOLATION, why=why)
    following = [_started(seed, rest, wanted)] if rest else []
    return [Ended(number=number, kind=made.kind, told=told, failing=made)], following


def _say_where(judge: _Judge) -> None:
    """Have a process that hangs print where: the input alone may well be judged at once."""
    os.kill(judge.process, signal.SIGUSR1)
    time.sleep(0.5)


def _stop(judge: _Judge) -> int:
    os.kill(judge.process, signal.SIGKILL)
    _, status = os.waitpid(judge.process, 0)
    judge.words.close()
    return os.waitstatus_to_exitcode(status)


def _started(seed: int, left: list[int], wanted: tuple[str, ...], *, apart: bool = False) -> _Judge:
    receiving, sending = Pipe(duplex=False)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        receiving.close()
        _work_and_exit(sending, seed, left, wanted, apart)
    sending.close()
    return _Judge(process=process, words=receiving, left=list(left), apart=apart)


def _work_and_exit(
    sending: Connection[Any, Any], seed: int, left: list[int], wanted: tuple[str, ...], apart: bool
) -> NoReturn:
    """Judge inputs until all are; the first one `apart`, where this process would fall over it."""
    try:
        die_with_parent()
        faulthandler.register(signal.SIGUSR1, file=2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        logging.disable(logging.CRITICAL)
        for number in left:
            sending.send(ended_of(number, made_for(seed, number, wanted), apart=apart and number == left[0]))
        sending.send(None)
        time.sleep(PATIENCE)  # until it is stopped: what is still in the pipe must not be lost
    finally:
        os._exit(1)


def ended_of(number: int, made: Made, *, apart: bool = False) -> Ended:
    """Judge one input in this process."""
    if apart:
        made = replace(made, terms={**made.terms, "apart": True})
    told = judged(made, LOOKS)
    failing = None
    if told.verdict is Verdict.VIOLATION:
        failing = shrunk(made, told.why, _failure)
    return Ended(number=number, kind=made.kind, told=told, failing=failing)


def _failure(made: Made) -> str | None:
    told = judged(made, LOOKS)
    return told.why if told.verdict is Verdict.VIOLATION else None
