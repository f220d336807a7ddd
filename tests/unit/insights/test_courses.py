from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.insights.courses import Change, Course, Ending, Rules, Unknown, play
from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate, together
from tests.unit.insights.builders import seconds

ENDS = st.sampled_from([MemberState.ARRIVED, MemberState.FAILED])
TICKS = st.integers(0, 12)


@st.composite
def gates(draw: st.DrawFn) -> QuorumGate:
    grace = draw(st.none() | st.integers(0, 5))
    return QuorumGate(
        deadline=seconds(draw(st.integers(1, 12))),
        floor=draw(st.sampled_from([0.3, 0.5, 0.75, 1])),
        grace_period=None if grace is None else seconds(grace),
    )


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    """Up to five members, a gate over all and perhaps one over some."""
    names = "abcde"[: draw(st.integers(1, 5))]
    members = {
        name: Member(
            id=name, weight=draw(st.sampled_from([1, 2, 0.1])), required=draw(st.integers(0, 5)) == 0
        )
        for name in names
    }
    chosen, points = {ALL_FEEDS: draw(gates())}, {ALL_FEEDS: tuple(names)}
    if draw(st.booleans()):
        points["core"] = tuple(sorted(draw(st.sets(st.sampled_from(names), min_size=1))))
        gate = draw(gates())
        chosen["core"] = replace(gate, deadline=min(gate.deadline, chosen[ALL_FEEDS].deadline))
    return Rules(members=members, gates=chosen, points=points)


def changes(draw: st.DrawFn) -> tuple[Change, ...]:
    if draw(st.integers(0, 4)) == 0:
        return ()
    return (Change(at=seconds(draw(TICKS)), state=draw(ENDS)),)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Rules, dict[str, Course]]:
    made = draw(rules())
    return made, {name: Course(changes=changes(draw)) for name in made.members}


def ticking(made: Rules, courses: dict[str, Course]) -> Ending:
    """A gate that looks every second, with what is true in that second."""
    floors: dict[str, int] = {}
    for now in range(20):
        members = {
            name: replace(
                member,
                state=next(
                    (one.state for one in courses[name].changes if one.at <= seconds(now)), member.state
                ),
            )
            for name, member in made.members.items()
        }
        found = {}
        for point, gate in made.gates.items():
            facts = GateFacts(
                members=tuple(members[name] for name in made.points[point]),
                elapsed=seconds(now),
                since_floor=seconds(now - floors[point]) if point in floors else None,
            )
            found[point] = gate.evaluate(facts)
            if found[point].floor_reached:
                floors.setdefault(point, now)
        decision = together(found.pop(ALL_FEEDS), found)
        if decision.is_settled:
            arrived = {name for name, member in members.items() if member.state is MemberState.ARRIVED}
            share = decision.evidence["progress"]
            assert isinstance(share, float)
            return Ending(
                action=decision.action,
                reason=decision.reason.value,
                after=seconds(now),
                arrived=frozenset(arrived),
                weight_share=share,
            )
    raise AssertionError("a gate decides by its deadline")


@settings(max_examples=500)
@given(rounds())
def test_no_moment_is_missed(played: tuple[Rules, dict[str, Course]]) -> None:
    """Asked only when something can change, the gate decides as one that looks all the time."""
    made, courses = played

    assert ticking(made, courses) == play(made, courses)


@given(rounds(), st.data())
def test_what_is_said_of_unsure_moments_holds_for_each(
    played: tuple[Rules, dict[str, Course]], data: st.DataObject
) -> None:
    """Where an answer is given although moments are unknown, every possible moment gives that answer."""
    made, courses = played
    names = data.draw(st.sets(st.sampled_from(sorted(courses))))
    unsure = {name: Course(by=Change(at=seconds(data.draw(TICKS)), state=data.draw(ENDS))) for name in names}
    told = play(made, courses | unsure)
    possible = {
        name: Course(changes=(replace(course.by, at=data.draw(st.integers(0, 12)) / 12 * course.by.at),))
        for name, course in unsure.items()
        if course.by
    }

    assert told == play(made, courses | possible) or isinstance(told, Unknown)


@given(rounds(), TICKS, st.data())
def test_what_is_said_without_the_unseen_holds_whatever_they_do(
    played: tuple[Rules, dict[str, Course]], until: int, data: st.DataObject
) -> None:
    """Where an answer is given although nobody looked for a member any more, it can come whenever it likes."""
    made, courses = played
    name = data.draw(st.sampled_from(sorted(courses)))
    told = play(made, courses | {name: Course(seen_until=seconds(until))})
    came = Course(changes=(Change(at=seconds(until + data.draw(st.integers(1, 9))), state=data.draw(ENDS)),))

    assert told == play(made, courses | {name: came}) or told == Unknown(members=(name,))
