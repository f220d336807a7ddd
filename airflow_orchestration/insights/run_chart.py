"""When did each part of a run begin and end? Bars for a chart of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_orchestration.insights.run_branches import OPEN, FeedState, began_at
from airflow_orchestration.insights.run_facts import FIRST, RoundFacts, iso
from airflow_orchestration.insights.run_rounds import GateState
from airflow_orchestration.storage.readings import RunRead
from airflow_orchestration.storage.store import StoredRound

MOST_BARS = 2_000
"""Ours: more can't be told apart in a picture."""
GOING_ON, DONE, UNANSWERED = "going_on", "done", "unanswered"

Bar = dict[str, Any]


def chart_of(read: RunRead, rounds: Iterable[tuple[RoundFacts, Mapping[str, Any]]]) -> list[Bar]:
    """The bars of a run, earliest first. Where there are too many, feeds that went well and quickly are left out.

    :param rounds: each round's facts, and the round as it is shown.
    """
    others: list[Bar] = []
    feeds: list[_Feed] = []
    for facts, shown in rounds:
        others.extend(_steps(facts, shown))
        feeds.extend(_feeds(facts, shown))
    others.extend(_publishing(read))
    room = MOST_BARS - len(others)
    if len(feeds) > room:
        feeds = sorted(feeds, key=_first_kept)[: max(0, room)]
    bars = [*others[:MOST_BARS], *map(_bar_of, feeds)]
    return sorted(bars, key=lambda bar: (bar["from"], bar["round"], bar["label"]))


def _bar(
    number: int, kind: str, label: str, begin: datetime | str, end: datetime | str | None, state: str
) -> Bar:
    return {
        "round": number,
        "label": label,
        "kind": kind,
        "from": begin if isinstance(begin, str) else iso(begin),
        "to": iso(end) if isinstance(end, datetime) else end,
        "state": state,
    }


def _steps(facts: RoundFacts, shown: Mapping[str, Any]) -> Iterator[Bar]:
    """Everything of a round but its feeds."""
    number, opened, begun = facts.number, facts.opened, facts.read.begun
    # a plan that is made again by a task that was cleared finds its round open
    planned = min(begun.get((number, "plan"), opened.opened_at), opened.opened_at)
    yield _bar(number, "plan", "plan", planned, opened.opened_at, DONE)
    yield _bar(number, "gate", "gate", opened.opened_at, facts.ended_at, _gate_state(opened, shown))
    for row in facts.read.merges:
        if row["round"] == number:
            began = min(begun.get((number, "merge"), row["merged_at"]), row["merged_at"])
            yield _bar(number, "merge", row["dataset"], began, row["merged_at"], DONE)
    if shown["quality"]:
        decision = shown["quality"]["decision"]
        began = min(iso(begun.get((number, "quality"))) or decision["at"], decision["at"])
        yield _bar(number, "quality", "quality", began, decision["at"], decision["action"])
    yield from _questions(facts, shown)


def _gate_state(opened: StoredRound, shown: Mapping[str, Any]) -> str:
    if opened.verdict is not None:
        return str(opened.verdict["action"])
    return GOING_ON if shown["gate"]["state"] == GateState.WAITING else str(shown["gate"]["state"])


def _questions(facts: RoundFacts, shown: Mapping[str, Any]) -> Iterator[Bar]:
    """What a person was asked; with the run, an open question is over."""
    ended = iso(facts.read.finished_at)
    for asked in shown["questions"]:
        state = asked["chosen"] or (UNANSWERED if ended else GOING_ON)
        until = asked["answered_at"] or ended
        yield _bar(facts.number, "question", asked["question"], asked["asked_at"], until, state)


def _publishing(read: RunRead) -> Iterator[Bar]:
    """The publication, and each repair that came after it; what ended with the run did not last until a repair."""
    first = min((datetime.fromisoformat(line["published_at"]) for line in read.versions), default=None)
    began = read.begun.get((0, "publish"))
    if began is not None:
        ended = first or read.finished_at
        yield _bar(0, "publish", "publish", min(began, ended or began), ended, read.run["state"] or GOING_ON)
    several = len({line["dataset"] for line in read.versions}) > 1
    for line in read.versions:
        if line["version"] > FIRST:
            label = f"version {line['version']}" + (f" of {line['dataset']}" if several else "")
            moment = iso(datetime.fromisoformat(line["published_at"]))
            yield _bar(0, "version", label, moment or "", moment, DONE)


_Feed = tuple[RoundFacts, Mapping[str, Any], Mapping[str, Any]]
"""A feed in its branch, as it is shown."""


def _feeds(facts: RoundFacts, shown: Mapping[str, Any]) -> Iterator[_Feed]:
    """The feeds of a round that have begun."""
    for branch in shown["branches"]:
        for feed in branch["feeds"]:
            if feed["seconds"] is not None or feed["state"] not in OPEN or branch["started_at"]:
                yield facts, branch, feed


def _first_kept(one: _Feed) -> tuple[bool, float]:
    feed = one[2]
    return feed["state"] == FeedState.IN, -(feed["seconds"] or 0.0)


def _bar_of(one: _Feed) -> Bar:
    facts, branch, feed = one
    state, outcome = feed["state"], facts.outcomes.get(feed["feed"])
    if outcome is not None:
        return _bar(facts.number, "feed", feed["feed"], began_at(outcome), feed["registered_at"], state)
    opened = iso(facts.opened.opened_at) or ""
    ended = None if state in OPEN else iso(facts.ended_at)
    began = min(branch["started_at"] or opened, ended or branch["started_at"] or opened)
    return _bar(facts.number, "feed", feed["feed"], began, ended, state)
