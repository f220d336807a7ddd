"""What faults excuse, and that every kind of them is dealt."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.torture.monkey import KINDS as DEALT
from tests.torture.monkey import Deck
from tests.torture.stack import Campaign
from tests.torture.stack_faults import (
    KINDS,
    LATENESS_SECONDS,
    Fault,
    failures,
    latest_verdict,
    wants_to_fail,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HIT, OTHER = "01a209f9-749d-79f5-a793-3d4f74522242", "01a209f9-74a4-7520-9a38-f87b7f34575a"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_try(
    number: int, *, task_id: str = "round_1.merge", ti_id: str = OTHER, **named: object
) -> dict[str, Any]:
    """A try takes ten seconds, and the next one begins after a minute."""
    began = at(60 * (number - 1))
    line = {
        "id": ti_id,
        "task_id": task_id,
        "map_index": -1,
        "branch": "",
        "try_number": number,
        "max_tries": 1,
    }
    return {**line, "pid": 100 + number, "began": began, "ended": began + timedelta(seconds=10), **named}


def fault(kind: str, began: float, seconds: float = 0.0, **named: Any) -> Fault:
    return Fault(kind=kind, began=at(began), ended=at(began + seconds), **named)


def judged(
    faults: list[Fault], *, task_id: str = "round_1.merge", ti_id: str = OTHER
) -> tuple[list[str], bool]:
    """Judge a task that failed in both its tries."""
    tries = [a_try(number, task_id=task_id, ti_id=ti_id) for number in (1, 2)]
    wanted = wants_to_fail(is_broken=True)
    return failures(tries[1:], tries[:1], faults, is_demanded=wanted, is_published=False)


def test_a_task_may_fail_when_each_try_had_its_fault() -> None:
    """A server that was away in either try has used them up."""
    assert ([], True) == judged([fault("crash_postgres", 1), fault("kill_api_server", 61)])


def test_one_try_without_a_fault_is_one_too_many() -> None:
    """What happened in the second try is no reason for the first."""
    problems, is_used_up = judged([fault("crash_postgres", 61)])

    assert (1, False) == (len(problems), is_used_up)
    assert "failed in try 1" in problems[0]


def test_in_a_calm_time_nothing_may_fail() -> None:
    """Without a fault every try is one too many."""
    assert 2 == len(judged([])[0])


def test_a_fault_shows_for_a_while_and_no_longer() -> None:
    """A connection that was cut before is an excuse within the time that it takes to recover."""
    recovery = KINDS["cut"].recovery.total_seconds()

    assert ([], True) == judged([fault("cut", -recovery + 1), fault("cut", 61)])
    assert 1 == len(judged([fault("cut", -recovery - 1), fault("cut", 61)])[0])


@pytest.mark.parametrize(
    ("kind", "task_id", "excused"),
    [
        ("kill_task", "round_1.merge", False),
        ("kill_triggerer", "round_1.merge", False),
        ("kill_triggerer", "round_1.gate", True),
        ("terminate_publishers", "round_1.merge", False),
        ("terminate_publishers", "publish", True),
        ("kill_dag_processor", "publish", False),
        ("silence", "round_1.merge", True),
    ],
)
def test_a_fault_excuses_those_whom_it_can_reach(kind: str, task_id: str, excused: bool) -> None:
    """The time is not enough: a triggerer runs no merge, and a task that was killed is another's."""
    faults = [fault(kind, 1), fault(kind, 61)]

    assert excused == judged(faults, task_id=task_id)[1]


def test_a_task_that_was_hit_is_known_by_its_id_or_its_processes() -> None:
    """Attempts have ids of their own, and one that has told none yet has its pid."""
    by_id = fault("kill_task", 1, ti_id=HIT)
    by_pid = fault("kill_task", 61, pids=frozenset({102}))

    assert ([], True) == judged([by_id, fault("kill_worker", 61, ti_id=HIT)], ti_id=HIT)
    assert 1 == len(judged([by_pid])[0])


def test_no_task_fails_with_tries_left() -> None:
    """Faults use up tries; they are no reason to give up at once."""
    line = a_try(1)
    faults = [fault("crash_postgres", 1)]
    problems, _ = failures([line], [], faults, is_demanded=wants_to_fail(is_broken=True), is_published=False)

    assert "with tries left" in problems[0]


def test_the_branch_of_a_broken_feed_fails_and_others_do_not() -> None:
    """By the name of the branch: a feed whose name only contains the word is another one."""
    wanted, calm = wants_to_fail(is_broken=True), wants_to_fail(is_broken=False)
    lines = [{"branch": text} for text in ("b1: main, broken", "specialist: broken", "b2: unbroken", "")]

    assert [True, True, False, False] == [wanted(line) for line in lines]
    assert not any(calm(line) for line in lines)


def test_a_gate_without_a_fault_decides_at_its_deadline() -> None:
    """It has the time of a look and two seconds."""
    assert at(LATENESS_SECONDS) == latest_verdict(NOON, [fault("kill_task", -1), fault("cut", 60)])


def test_a_gate_waits_for_the_faults_of_its_time() -> None:
    """One after the other, when the second came before the first was over."""
    first, second = fault("kill_triggerer", -5), fault("crash_postgres", 20, 3)
    expected = at(23 + LATENESS_SECONDS) + KINDS["crash_postgres"].recovery

    assert expected == latest_verdict(NOON, [second, first])


def test_every_kind_is_known_to_the_judge() -> None:
    """What is done and what is excused are the same list."""
    assert set(DEALT) == KINDS.keys()


def test_each_kind_is_dealt_once_before_any_is_dealt_again() -> None:
    """A rare one comes as surely as the others, in an order that the seed draws."""
    kinds = [f"kind {number}" for number in range(20)]
    deck, dealt = Deck(kinds, Random(7)), []
    for _ in range(40):
        dealt.append(next(deck.cards()))
        deck.done(dealt[-1])

    assert sorted(kinds) == sorted(dealt[:20]) == sorted(dealt[20:])
    assert kinds != dealt[:20]


def test_what_can_not_be_done_now_is_owed() -> None:
    """A card that missed stays on top, also when all the others have been dealt."""
    deck = Deck(["never", "always"], Random(7))
    dealt = []
    for _ in range(5):
        for card in deck.cards():
            if card == "always":
                deck.done(card)
                dealt.append(card)
                break
            deck.owed.add(card)

    assert ["always"] * 5 == dealt
    assert {"never"} == deck.owed
    assert "never" == next(deck.cards())


def test_a_monkey_that_does_nothing_misses_its_goals(tmp_path: Path) -> None:
    """In ten runs each kind has to be done once, and one attempt has to be a zombie."""
    options = Namespace(runs=10, seed=1, at_once=4, only=None, diary=None, home=None)
    campaign = Campaign(options, tmp_path)
    campaign.machine.door.folder.rmdir()
    missed = {name for name, _, _, met in campaign._faults() if not met}

    assert {"faults", *(f"faults: {kind}" for kind in DEALT)} < missed
    assert len(DEALT) + 2 == len(missed)
    assert 1 == campaign.report()
