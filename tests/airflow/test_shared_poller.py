"""The poller that all waiting triggers of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from airflow_orchestration.triggers import poller as module
from airflow_orchestration.triggers.poller import LOOK_SECONDS, REST_SECONDS, Poller, shared
from tests.airflow.quick_loop import run_quickly


def now() -> float:
    return asyncio.get_running_loop().time()


class Looks:
    """Answers every number with its double, and remembers when it was asked what."""

    def __init__(
        self, seconds: float = 0.0, refuse: Callable[[int], Exception | None] = lambda _: None
    ) -> None:
        self.seconds = seconds
        self.refuse = refuse
        self.asked: list[tuple[float, frozenset[int]]] = []

    async def __call__(self, questions: frozenset[int]) -> Mapping[int, int]:
        self.asked.append((now(), questions))
        await asyncio.sleep(self.seconds)
        for question in questions:
            if error := self.refuse(question):
                raise error
        return {question: 2 * question for question in questions if question >= 0}


async def watch(poller: Poller[int, int], question: int, times: int) -> None:
    for _ in range(times):
        assert 2 * question == await poller.answer(question)


def test_a_thousand_ask_and_one_look_answers() -> None:
    """The number of looks does not depend on the number of those who wait."""

    async def play() -> Looks:
        looks = Looks()
        poller = Poller(looks)
        await asyncio.gather(*(watch(poller, number, times=3) for number in range(1000)))
        return looks

    assert [1000, 1000, 1000] == [len(questions) for _, questions in run_quickly(play()).asked]


def test_an_answer_is_never_older_than_its_question() -> None:
    """A question that comes during a look is answered by the next one."""

    async def play() -> tuple[float, Looks]:
        looks = Looks(seconds=4)
        poller = Poller(looks)
        first = asyncio.create_task(poller.answer(1))
        await asyncio.sleep(1)
        asked_at = now()
        await asyncio.gather(first, poller.answer(2))
        return asked_at, looks

    asked_at, looks = run_quickly(play())
    answering = next(began for began, questions in looks.asked if 2 in questions)
    assert asked_at <= answering


@pytest.mark.parametrize("seconds", [0.0, 0.1, 3.0])
def test_a_poller_rests_for_as_long_as_it_works(seconds: float) -> None:
    """A look takes at most half of the time, and two looks are never closer than the least rest."""

    async def play() -> Looks:
        looks = Looks(seconds=seconds)
        await watch(Poller(looks), 1, times=4)
        return looks

    began = [moment for moment, _ in run_quickly(play()).asked]
    expected = seconds + max(seconds, REST_SECONDS)
    assert pytest.approx([expected] * 3) == [later - earlier for earlier, later in pairwise(began)]


def test_who_is_cancelled_is_asked_for_no_more() -> None:
    """A gate that is killed leaves nothing behind, and takes nobody with it."""

    async def play() -> Looks:
        looks = Looks()
        poller = Poller(looks)
        killed = asyncio.create_task(watch(poller, 1, times=10**6))
        other = asyncio.create_task(watch(poller, 2, times=6))
        await asyncio.sleep(1.2)
        killed.cancel()
        await other
        return looks

    asked = [questions for _, questions in run_quickly(play()).asked]
    assert frozenset({1, 2}) == asked[0]
    assert frozenset({2}) == asked[-1]


def test_a_poller_that_nobody_asks_does_nothing() -> None:
    """When the last one is answered the poller stops, and the next question starts it again."""

    async def play() -> tuple[int, int]:
        looks = Looks()
        poller = Poller(looks)
        await poller.answer(1)
        await asyncio.sleep(1000)
        idle = len(looks.asked)
        await poller.answer(1)
        return idle, len(looks.asked)

    assert (1, 2) == run_quickly(play())


@pytest.mark.parametrize("kind", [ValueError, TypeError])
def test_nonsense_fails_only_the_one_who_asked_it(kind: type[Exception]) -> None:
    """A question that can't be read spoils no other answer of the same look."""

    async def play() -> list[Any]:
        poller = Poller(Looks(refuse=lambda number: kind("what?") if number == 3 else None))
        return await asyncio.gather(*(poller.answer(number) for number in range(5)), return_exceptions=True)

    found = run_quickly(play())
    assert [0, 2, 4, 8] == [answer for answer in found if not isinstance(answer, Exception)]
    assert isinstance(found[3], kind)


def test_an_answer_that_is_an_error_is_raised_by_who_asked() -> None:
    """What is wrong with one question, whatever it is, is no news to the others of the same look."""

    async def look(questions: frozenset[int]) -> Mapping[int, Any]:
        return {number: KeyError("gone") if number == 3 else number for number in questions}

    async def play() -> list[Any]:
        poller = Poller(look)
        return await asyncio.gather(*(poller.answer(number) for number in range(5)), return_exceptions=True)

    found = run_quickly(play())
    assert [0, 1, 2, 4] == [answer for answer in found if not isinstance(answer, Exception)]
    assert isinstance(found[3], KeyError)


def test_a_look_that_failed_is_followed_by_a_short_rest() -> None:
    """A look that took its whole time to fail does not keep the gates waiting for as long again."""

    async def play() -> tuple[float, Looks]:
        looks = Looks(seconds=10**6)
        poller = Poller(looks)
        with pytest.raises(TimeoutError):
            await poller.answer(1)
        failed_at, looks.seconds = now(), 0
        await poller.answer(2)
        return failed_at, looks

    failed_at, looks = run_quickly(play())
    assert pytest.approx(failed_at + REST_SECONDS) == looks.asked[-1][0]


def test_a_fault_is_told_to_all_and_passes() -> None:
    """A look that fails for everybody fails once for each, is not repeated one by one, and may be asked again."""

    async def play() -> tuple[list[Any], int, int]:
        looks = Looks(refuse=lambda _: ConnectionError("down"))
        poller = Poller(looks)
        told = await asyncio.gather(*(poller.answer(n) for n in range(5)), return_exceptions=True)
        faulty = len(looks.asked)
        looks.refuse = lambda _: None
        return told, faulty, await poller.answer(7)

    told, faulty, answer = run_quickly(play())
    assert [ConnectionError] * 5 == [type(error) for error in told]
    assert (1, 14) == (faulty, answer)


def test_what_is_not_known_is_said_to_be_so() -> None:
    """A question that a look leaves out is not waited for in silence."""

    async def play() -> int:
        return await Poller(Looks()).answer(-1)

    with pytest.raises(LookupError, match="nothing is known of -1"):
        run_quickly(play())


def test_a_group_that_hangs_holds_up_no_other() -> None:
    """A look that never ends fails after its time; meanwhile other groups get their answers."""

    async def play() -> tuple[float, float]:
        slow, quick = Poller(Looks(seconds=10**6)), Poller(Looks())
        hanging = asyncio.create_task(slow.answer(1))
        await watch(quick, 1, times=3)
        quick_at = now()
        with pytest.raises(TimeoutError):
            await hanging
        return quick_at, now()

    quick_at, slow_at = run_quickly(play())
    assert pytest.approx(2 * REST_SECONDS) == quick_at
    assert pytest.approx(LOOK_SECONDS) == slow_at


def test_nobody_waits_for_a_look_that_was_cancelled() -> None:
    """When the triggerer ends what is under way, those who wait are ended with it."""

    async def play() -> list[Any]:
        async def look(_: frozenset[int]) -> Mapping[int, int]:
            raise asyncio.CancelledError

        poller = Poller(look)
        return await asyncio.gather(*(poller.answer(n) for n in range(3)), return_exceptions=True)

    assert [asyncio.CancelledError] * 3 == [type(error) for error in run_quickly(play())]


def test_answers_leave_room_for_other_work() -> None:
    """While thousands are told their answers, whatever else runs in the triggerer gets its turns."""

    async def play() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        poller = Poller(Looks())
        answers = [asyncio.create_task(poller.answer(number)) for number in range(1000)]
        await asyncio.sleep(0)
        running = asyncio.create_task(other())
        await asyncio.gather(*answers)
        running.cancel()
        return turns

    assert run_quickly(play()) >= 1000 // module.ANSWERS_AT_ONCE


def test_one_poller_serves_all_of_a_loop_and_is_forgotten_with_its_work() -> None:
    """Who asks under the same key shares a poller, a new loop has its own, and none is kept for ever."""

    async def play() -> tuple[bool, bool, int]:
        first = shared("a", lambda: Poller(Looks()))
        same = first is shared("a", lambda: Poller(Looks()))
        other = first is shared("b", lambda: Poller(Looks()))
        del first
        return same, other, len(module._shared[asyncio.get_running_loop()])

    assert (True, False, 0) == run_quickly(play())
