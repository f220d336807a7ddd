"""Every order in which a small run can go, through the real gate, its facts and a store in memory.

Feeds arrive, fail or die without a word; the clock ticks; two gates look side by side, and each may crash
before, while or after it writes what it saw. A gate's look has three steps, between which anything else can
happen: it reads the tasks' states, then the store, then it decides and records. All states that can be reached
are visited once, depth first. A model beside it keeps the few facts that matter, and answers by the rule of
`tests.property.oracle`.

`pytest -s` prints the number of states. Within seconds only the first gate can be disturbed between the states
and the store; with GATE_STORIES=all the second one can be, too, and two longer stories are added: many minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, cast

import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import ALL_FEEDS, Pipeline
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, Fence, GateSnapshot, RunKey, Store, WorkUnit
from airflow_orchestration.workflow.gate import decide_gate, gate_terms
from tests.property.oracle import ANSWERS, Answer, expected

RUN = RunKey(dag_id="small", run_id="1")
START = datetime(2026, 11, 22, tzinfo=UTC)
LANES = {"beta": "lane"}
SUCCESS, FAILED, DIED = "success", "failed", "died"
"""How a feed ends: registered either way, or its task is over and nothing was registered."""
RULE_FILE = Contract(
    name="thing", key=("code",), columns=(Column(name="code", type=ColumnType.STRING, required=True),)
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run: what its feeds are and how each may end, and the terms of its gate; times are ticks."""

    name: str
    endings: Mapping[str, tuple[str, ...]]
    feeds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sync: Mapping[str, Any]
    before: Mapping[str, str] = field(default_factory=dict)
    """How feeds ended in round 1, when the story is that of round 2."""
    again: tuple[str, ...] | None = None
    """The feeds of the round, when it doesn't run all of them."""

    @property
    def round(self) -> int:
        return 2 if self.before else 1

    @property
    def planned(self) -> tuple[str, ...]:
        return tuple(self.endings) if self.again is None else self.again

    def spec(self) -> RunSpec:
        declared = [
            {
                "id": name,
                "uri": f"in/{name}.csv",
                "format": "csv",
                "columns": {"code": "code"},
                **self.feeds.get(name, {}),
            }
            for name in self.endings
        ]
        pipeline = {
            "id": "small",
            "roots": {"in": "/in"},
            "staging": "/staging",
            "contract": "unused",
            "publish": {"table": "public.thing"},
            "feeds": declared,
            "sync": self.sync,
        }
        return RunSpec(
            pipeline=Pipeline.model_validate(pipeline), contracts=(RULE_FILE,), run_date=date(2026, 11, 22)
        )


STORIES = [
    Story(
        name="weights, one required, a grace period",
        endings={"a": (SUCCESS, FAILED), "b": (SUCCESS, DIED), "c": (SUCCESS,)},
        feeds={"a": {"weight": 0.2, "required": True}, "b": {"weight": 0.1}, "c": {"weight": 0.1}},
        sync={"deadline": 2, "floor": 0.75, "grace_period": 1},
    ),
    Story(
        name="heads, held to the deadline",
        endings={"a": (SUCCESS, FAILED), "b": (SUCCESS, DIED), "c": (SUCCESS,)},
        sync={"deadline": 1, "floor": 0.6},
    ),
    Story(
        name="no patience, and a feed with a deadline of its own",
        endings={"a": (SUCCESS, FAILED), "b": (SUCCESS,), "c": (SUCCESS,)},
        feeds={"b": {"weight": 2}, "c": {"deadline": 1}},
        sync={"deadline": 2, "floor": 0.75, "grace_period": 0},
    ),
    Story(
        name="two sync points that share a feed",
        endings={"a": (SUCCESS,), "b": (SUCCESS,), "c": (SUCCESS,)},
        feeds={"a": {"required": True}},
        sync={
            "deadline": 2,
            "floor": 0.3,
            "grace_period": 0,
            "points": {
                "early": {"feeds": ["a", "b"], "floor": 0.5, "deadline": 1},
                "late": {"feeds": ["b", "c"], "floor": 1, "deadline": 9, "grace_period": 1},
            },
        },
    ),
    Story(
        name="a second round that runs some feeds again",
        endings={"a": (), "b": (SUCCESS, DIED), "c": (SUCCESS, FAILED)},
        before={"a": SUCCESS, "b": FAILED, "c": SUCCESS},
        again=("b", "c"),
        sync={"deadline": 2, "floor": 0.6, "grace_period": 1},
    ),
]
LONG_STORIES = [
    Story(
        name="three feeds that end in any way",
        endings=dict.fromkeys(("a", "b", "c"), (SUCCESS, FAILED, DIED)),
        feeds={"a": {"weight": 0.2, "required": True}, "b": {"weight": 0.1}, "c": {"weight": 0.1}},
        sync={"deadline": 3, "floor": 0.75, "grace_period": 1},
    ),
    Story(
        name="four feeds",
        endings={"a": (SUCCESS, FAILED), "b": (SUCCESS, DIED), "c": (SUCCESS, FAILED), "d": (SUCCESS,)},
        feeds={"a": {"weight": 3, "required": True}, "b": {"weight": 2}},
        sync={"deadline": 2, "floor": 0.75, "grace_period": 1},
    ),
]
ALL = os.environ.get("GATE_STORIES") == "all"
CHOSEN = [*STORIES, *LONG_STORIES] if ALL else STORIES


Moment = tuple[int, tuple[tuple[str, str], ...], tuple[tuple[str, int], ...]]
"""The ticks, how feeds have ended, and when each floor was first recorded."""


@dataclass(frozen=True)
class View:
    """What a gate holds between its steps: which tasks were over, then also a snapshot, and when that was."""

    over: frozenset[str]
    snapshot: GateSnapshot | None = None
    seen: Moment | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells two views apart."""
        return tuple(sorted(self.over)), self.seen or ()


class CrashError(Exception):
    """The gate dies before its verdict is written."""


class OldEyes:
    """The store, as a gate sees it that has read its snapshot some time ago."""

    def __init__(self, store: MemoryStore, snapshot: GateSnapshot, *, crashes: bool = False) -> None:
        self._store, self._snapshot, self._crashes = store, snapshot, crashes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def gate_snapshot(self, key: RunKey, round_number: int) -> GateSnapshot:
        return self._snapshot

    def record_verdict(self, *arguments: Any) -> Any:
        if self._crashes:
            raise CrashError
        return self._store.record_verdict(*arguments)


class World:
    """One state of a run: the store, the clock, how feeds ended, and what each gate holds in its hands."""

    def __init__(self, story: Story) -> None:
        self.story, self.spec = story, story.spec()
        self.ticks = 0
        self.ended: dict[str, str] = {}
        self.floor_at: dict[str, int] = {}
        self.gates: tuple[View | None, ...] = (None, None)
        self.store = MemoryStore(self.now)
        self.fences: dict[str, Fence] = {}
        self.known_answers: dict[object, dict[str, Answer]] = {}
        self.recorded: tuple[View, Mapping[str, Answer]] | None = None
        self._open()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.ticks)

    def _open(self) -> None:
        for name, how in self.story.before.items():
            self.store.register(self._claim(f"branch:beta:{name}", 1), outcome(name, 1, how))
        branches = tuple(
            Branch(branch_id=name, batches=(PlannedBatch(feed_id=name, lane=Lane.BETA, cost=1.0),))
            for name in self.story.planned
        )
        plan = Plan(round=self.story.round, branches=branches)
        self.store.open_round(self._claim("plan", self.story.round), plan, gate_terms(self.spec, START))
        self.fences = {
            name: self._claim(f"branch:beta:{name}", self.story.round) for name in self.story.planned
        }

    def _claim(self, unit: str, round_number: int) -> Fence:
        attempt = Attempt(try_number=1, ti_id="1", process="1")
        return self.store.claim(WorkUnit(run=RUN, round=round_number, unit=unit), attempt)

    def copy(self) -> World:
        """A world of its own, equal to this one."""
        other = copy(self)
        other.ended, other.floor_at = dict(self.ended), dict(self.floor_at)
        other.store = MemoryStore(other.now)
        other.store._claims = self.store._claims
        for key, run in self.store._runs.items():
            parts = {part.name: copy(getattr(run, part.name)) for part in fields(run)}
            other.store._runs[key] = replace(run, **parts)
        return other

    @property
    def key(self) -> tuple[object, ...]:
        """What tells two worlds apart; the two gates are alike."""
        return *self.moment, *sorted((view.key for view in self.gates if view), key=hash)

    @property
    def end_key(self) -> tuple[object, ...]:
        """What tells two ends apart: what the gate that ended it had seen, and what the other one holds."""
        assert self.recorded is not None
        return self.recorded[0].key, *(view.key for view in self.gates if view)

    @property
    def moment(self) -> Moment:
        return self.ticks, tuple(sorted(self.ended.items())), tuple(sorted(self.floor_at.items()))

    @property
    def deadline(self) -> float:
        """The ticks at which the gate decides with what is there."""
        return float(self.spec.pipeline.sync.deadline)

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        return self.store.rounds(RUN)[-1].verdict

    # What can happen next

    def successors(self) -> Iterator[World]:
        """Every world that is one event away."""
        if self.ticks < self.deadline:
            yield self._after(lambda world: world.tick())
        for name, endings in self.story.endings.items():
            for how in endings if name not in self.ended else ():
                yield self._after(lambda world, name=name, how=how: world.end(name, how))
        for number, view in self._gates_that_differ():
            if view is None or view.snapshot is None:
                yield self._after(lambda world, number=number: world.read(number))
            else:
                yield from self._recorded(number)

    def _recorded(self, number: int) -> Iterator[World]:
        recorded = self._after(lambda world: world.record(number))
        check_recorded(recorded)
        yield recorded
        if recorded.verdict is not None:
            yield self._after(lambda world: world.record(number, crashes=True))

    def _gates_that_differ(self) -> Iterator[tuple[int, View | None]]:
        """Of two gates that hold the same, it doesn't matter which goes on."""
        held: list[object] = []
        for number, view in enumerate(self.gates):
            if view is None or view.key not in held:
                yield number, view
            held.append(view and view.key)

    def _after(self, event: Any) -> World:
        world = self.copy()
        event(world)
        return world

    def tick(self) -> None:
        self.ticks += 1

    def end(self, name: str, how: str) -> None:
        """A feed's task registers how it ended, or dies without."""
        self.ended[name] = how
        if how != DIED:
            self.store.register(self.fences[name], outcome(name, self.story.round, how))

    def read(self, number: int) -> None:
        """A gate asks Airflow which tasks are over; when it knows, it reads the store."""
        view = self.gates[number]
        if view is not None:
            self._read_store(number, view)
            return
        self._hold(number, View(over=frozenset(self.ended)))
        if number and not ALL:
            self.read(number)

    def _read_store(self, number: int, view: View) -> None:
        snapshot = self.store.gate_snapshot(RUN, self.story.round)
        ticks, ended, floors = self.moment
        registered = tuple((name, how) for name, how in ended if how != DIED)
        self._hold(number, replace(view, snapshot=snapshot, seen=(ticks, registered, floors)))

    def record(self, number: int, *, crashes: bool = False) -> None:
        """A gate decides with what it has read, and writes it down, all of it or not the verdict."""
        view = self.gates[number]
        assert view is not None
        assert view.snapshot is not None
        answers = self.answers(view)
        for name, (_, status, _) in answers.items():
            if status in {"completed", "waiting_final"}:
                self.floor_at.setdefault(name, self.ticks)
        eyes = cast("Store", OldEyes(self.store, view.snapshot, crashes=crashes))
        with suppress(CrashError):
            decide_gate(eyes, RUN, self.spec, self.story.round, LANES, self._states(view.over))
        self._hold(number, None)
        self.recorded = view, answers

    def look(self) -> None:
        """A gate looks without being disturbed."""
        self._hold(0, None)
        self.read(0)
        self.read(0)
        self.record(0)

    def _hold(self, number: int, view: View | None) -> None:
        self.gates = tuple(view if at == number else old for at, old in enumerate(self.gates))

    def _states(self, over: frozenset[str]) -> dict[str, str | None]:
        how = {SUCCESS: "success", FAILED: "success", DIED: "failed"}
        return {
            f"lane_{index}": how[self.ended[name]] if name in over else "running"
            for index, name in enumerate(self.story.planned)
        }

    # The model: what a gate should make of it

    def points(self) -> dict[str, Any]:
        """The terms of each sync point."""
        sync = self.spec.pipeline.sync
        return {ALL_FEEDS: sync, **sync.points}

    def gate(self, name: str) -> QuorumGate:
        terms = self.points()[name]
        grace = None if terms.grace_period is None else timedelta(seconds=terms.grace_period)
        deadline = min(float(terms.deadline or self.deadline), self.deadline)
        return QuorumGate(deadline=timedelta(seconds=deadline), floor=terms.floor, grace_period=grace)

    def answers(self, view: View) -> dict[str, Answer]:
        """What the rule says to what a gate has seen, for each sync point."""
        if view.key not in self.known_answers:
            self.known_answers[view.key] = {
                name: expected(self.gate(name), facts) for name, facts in self.facts(view).items()
            }
        return self.known_answers[view.key]

    def facts(self, view: View) -> dict[str, GateFacts]:
        """What was true when a gate read the store, if the tasks in `over` were over before."""
        assert view.seen is not None
        ticks, _, floors = view.seen
        members = {
            name: Member(id=name, weight=feed.weight, required=feed.required, state=self.state(name, view))
            for name, feed in self.spec.feeds.items()
        }
        since = {name: timedelta(seconds=ticks - at) for name, at in floors}
        return {
            point: GateFacts(
                members=tuple(members[name] for name in getattr(terms, "feeds", members)),
                elapsed=timedelta(seconds=ticks),
                since_floor=since.get(point),
            )
            for point, terms in self.points().items()
        }

    def state(self, name: str, view: View) -> MemberState:
        assert view.seen is not None
        ticks, ended, _ = view.seen
        known = dict(ended) if name in self.story.planned else self.story.before
        deadline = self.spec.feeds[name].deadline
        too_late = deadline is not None and ticks >= float(deadline)
        if known.get(name) == SUCCESS:
            return MemberState.ARRIVED
        given_up = known.get(name) == FAILED or name in view.over or too_late
        return MemberState.FAILED if given_up else MemberState.PENDING


def outcome(name: str, round_number: int, how: str) -> FeedOutcome:
    status = OutcomeStatus.SUCCESS if how == SUCCESS else OutcomeStatus.FAILED
    return FeedOutcome(
        feed_id=name, round=round_number, branch_id=name, status=status, elapsed=timedelta(seconds=1)
    )


def strictest(answers: Mapping[str, Answer]) -> str:
    """All sync points together: given up as soon as one is, open when none waits."""
    actions = {action for action, _, _ in answers.values()}
    order = ("timeout_recovery", "continue_waiting", "conditional_proceed", "proceed_to_data_merge")
    return next(action for action in order if action in actions)


def check_floors(world: World) -> None:
    """The moment of a floor is the one at which it was first recorded, whoever crashed or came second."""
    points = world.store.rounds(RUN)[-1].points
    kept = {name: point.floor_reached_at for name, point in points.items() if point.floor_reached_at}
    assert kept == {name: START + timedelta(seconds=at) for name, at in world.floor_at.items()}


def check_recorded(world: World) -> None:
    """A gate that does not crash writes a verdict exactly when the rule has one."""
    assert world.recorded is not None
    _, answers = world.recorded

    assert (strictest(answers) == "continue_waiting") == (world.verdict is None)


def check_verdict(world: World) -> None:
    """The verdict is the rule's for what its gate had seen, and names everybody who had arrived then."""
    assert world.recorded is not None
    view, answers = world.recorded
    verdict = world.verdict
    assert verdict is not None
    evidence, members = verdict["evidence"], world.facts(view)[ALL_FEEDS].members
    by_state = {state: [one.id for one in members if one.state is state] for state in MemberState}

    assert strictest(answers) == verdict["action"] != "continue_waiting"
    assert (*ANSWERS[verdict["reason"]], verdict["reason"]) in answers.values()
    assert ANSWERS[verdict["reason"]] == (verdict["action"], evidence["status"])
    assert by_state[MemberState.ARRIVED] == evidence["arrived_ids"]
    assert by_state[MemberState.FAILED] == evidence["failed_ids"]
    assert by_state[MemberState.PENDING] == evidence["missing_ids"]
    if verdict["action"] in {"conditional_proceed", "proceed_to_data_merge"}:
        check_open(world, set(evidence["arrived_ids"]))


def check_open(world: World, arrived: set[str]) -> None:
    """An open gate has its floor and every required member, counted once more in fractions."""
    for terms in world.points().values():
        members = getattr(terms, "feeds", tuple(world.spec.feeds))
        weight = {name: Fraction(str(world.spec.feeds[name].weight)) for name in members}
        there = sum(weight[name] for name in members if name in arrived)

        assert there >= Fraction(str(terms.floor)) * sum(weight.values())
        assert arrived >= {name for name in members if world.spec.feeds[name].required}


def check_end(world: World) -> None:
    """A verdict is the last word: no look, stale gate, late feed or later hour changes it, and nobody is lost."""
    first, decided_at = world.verdict, world.store.rounds(RUN)[-1].decided_at
    later = world.copy()
    for number, view in enumerate(later.gates):
        if view and view.snapshot:
            eyes = cast("Store", OldEyes(later.store, view.snapshot))
            decide_gate(eyes, RUN, later.spec, later.story.round, LANES, later._states(view.over))
        later._hold(number, None)
    later.tick()
    for name, endings in later.story.endings.items():
        if name not in later.ended and endings:
            later.end(name, endings[0])
    over = frozenset(later.ended)
    decide_gate(later.store, RUN, later.spec, later.story.round, LANES, later._states(over))
    kept = {one.feed_id for one in later.store.outcomes(RUN) if one.round == later.story.round}

    assert first == later.verdict
    assert decided_at == later.store.rounds(RUN)[-1].decided_at
    assert {name for name, how in later.ended.items() if how != DIED} == kept


def check_liveness(world: World) -> None:
    """One undisturbed look ends the round at its deadline, and as soon as nobody can come any more.

    A gate that holds something can always crash, so this is asked where none does.
    """
    nobody_comes = set(world.story.planned) == set(world.ended)
    if world.ticks >= world.deadline or nobody_comes:
        after = world.copy()
        after.look()
        assert after.verdict is not None


def check_resume(world: World) -> None:
    """A gate that crashed before its verdict was written comes to the same one when it looks again at once."""
    crashed, calm = world.copy(), world.copy()
    crashed.read(0)
    crashed.read(0)
    crashed.record(0, crashes=True)
    crashed.look()
    calm.look()
    calm_verdict, again = calm.verdict, crashed.verdict
    if calm_verdict is not None:
        assert again is not None
        assert [calm_verdict[name] for name in ("action", "reason")] == [
            again[name] for name in ("action", "reason")
        ]


def explore(story: Story) -> tuple[int, int, set[str]]:
    """Visit every state once; returns their number, the number of ends, and the reasons that occurred."""
    start = World(story)
    known, waiting = {start.key}, [start]
    ends: set[object] = set()
    found = set()
    while waiting:
        world = waiting.pop()
        if not any(world.gates):
            check_liveness(world)
            check_resume(world)
        for after in world.successors():
            check_floors(after)
            if after.verdict is None:
                waiting.extend([after] if after.key not in known else [])
                known.add(after.key)
            elif after.end_key not in ends:
                ends.add(after.end_key)
                found.add(str(after.verdict["reason"]))
                check_verdict(after)
                check_end(after)
    return len(known), len(ends), found


@pytest.mark.parametrize("story", CHOSEN, ids=lambda story: story.name)
def test_every_interleaving_of_a_small_run_ends_as_the_rule_says(story: Story) -> None:
    """Nothing opens below the floor, nobody who arrived is lost, every run ends, and its verdict is its last."""
    states, ends, found = explore(story)
    print(f"{story.name}: {states:,} states, {ends:,} ends, with {', '.join(sorted(found))}")

    assert len(found) > 2
