"""One look for everybody who waits in a triggerer, however many they are.

Whoever waits asks a question and gets the answer of the next look that begins. A poller takes all the
questions that have come in, looks once for all of them, and rests for at least as long as the look took:
so it works at most half of the time, and looks less often when there is more to see. Who is cancelled is
not answered any more; nothing has to be unsubscribed, and nothing is kept that a restart could lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from pydantic import ValidationError

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")
Shared = TypeVar("Shared")

REST_SECONDS = 0.5
"""The least time between two looks."""
LOOK_SECONDS = 30.0
"""A look that takes longer has failed."""
ANSWERS_AT_ONCE = 50
"""After so many answers the other work of the triggerer gets its turn."""


class Poller(Generic[Question, Answer]):
    """Answers the questions of many in one look after another.

    :param look: answers a set of questions at once. An answer that is an exception is raised by who asked.
        When the look itself raises nonsense, the questions are asked again one by one, so that only the
        one which is nonsense fails.
    """

    def __init__(self, look: Callable[[frozenset[Question]], Awaitable[Mapping[Question, Answer]]]) -> None:
        self._look = look
        self._asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._work: asyncio.Task[None] | None = None

    async def answer(self, question: Question) -> Answer:
        """Return the answer of the next look, or raise what that look raised."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answered))
        if self._work is None or self._work.done():
            # In a context of its own: what it logs is not about the trigger that happened to be first.
            self._work = asyncio.create_task(self._answer_all(), context=Context())
        return await answered

    async def _answer_all(self) -> None:
        clock = asyncio.get_running_loop().time
        asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        try:
            while asked := [one for one in self._asked if not one[1].done()]:
                self._asked = []
                began = clock()
                seen = await self._answer(asked)
                await asyncio.sleep(max(REST_SECONDS, clock() - began) if seen else REST_SECONDS)
        finally:  # a triggerer that loses Airflow cancels what is under way: nobody may wait for ever
            for _, answered in (*asked, *self._asked):
                answered.cancel()
            self._asked = []

    async def _answer(self, asked: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> bool:
        """Look and tell; false when the look failed."""
        questions = frozenset(question for question, _ in asked)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                answers = await self._look(questions)
        except Exception as error:  # noqa: BLE001  # it is raised by everybody who asked
            if is_nonsense(error) and len(questions) > 1:
                for one in asked:
                    await self._answer([one])
            else:
                _tell([answered for _, answered in asked], error)
            return False
        for number, (question, answered) in enumerate(asked, start=1):
            if not answered.done():
                _tell([answered], answers.get(question, _unanswered(question)))
            if number % ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return True


def is_nonsense(error: Exception) -> bool:
    """Whether it was wrong to ask, and stays so; an answer that can't be read is a fault that passes."""
    return isinstance(error, TypeError | ValueError) and not isinstance(error, ValidationError)


def _unanswered(question: object) -> LookupError:
    return LookupError(f"nothing is known of {question}")


def _tell(waiting: Sequence[asyncio.Future[Any]], answer: object) -> None:
    for answered in waiting:
        if answered.done():
            continue
        if isinstance(answer, Exception):
            answered.set_exception(answer)
        else:
            answered.set_result(answer)


_shared: WeakKeyDictionary[Any, WeakValueDictionary[Hashable, Any]] = WeakKeyDictionary()


def shared(key: Hashable, make: Callable[[], Shared]) -> Shared:
    """Return what all triggers of this event loop share under a key; it lives as long as anybody uses it."""
    known = _shared.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found: Shared | None = known.get(key)
    if found is None:
        found = known[key] = make()
    return found
