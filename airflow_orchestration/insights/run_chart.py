"""When did each part of a run begin and end? Bars for a chart of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_orchestration.insights.run_branches import OPEN, FeedState, began_at
from airflow_orchestration.insights.run_facts import RoundFacts, iso
from airflow_orchestration.storage.readings import RunRead

MOST_BARS = 2_000
"""Ours: more can't be told apart in a picture."""
GOING_ON, DONE = "going_on", "done"

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
    action = opened.verdict["action"] if opened.verdict else GOING_ON
    ended = opened.decided_at or facts.read.run["finished_at"]
    yield _bar(number, "gate", "gate", opened.opened_at, ended, action)
    for row in facts.read.merges:
        if row["round"] == number:
            began = min(begun.get((number, "merge"), row["merged_at"]), row["merged_at"])
            yield _bar(number, "merge", row["dataset"], began, row["merged_at"], DONE)
    if shown["quality"]:
        decision = shown["quality"]["decision"]
        began_at_ = iso(begun.get((number, "quality"))) or decision["at"]
        yield _bar(
            number, "quality", "quality", min(began_at_, decision["at"]), decision["at"], decision["action"]
        )
    for asked in shown["questions"]:
        state = asked["chosen"] or GOING_ON
        yield _bar(number, "question", asked["question"], asked["asked_at"], asked["answered_at"], state)


def _publishing(read: RunRead) -> Iterator[Bar]:
    began = read.begun.get((0, "publish"))
    if began is not None:
        ended = read.run["finished_at"]
        yield _bar(0, "publish", "publish", min(began, ended or began), ended, read.run["state"] or GOING_ON)


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
        return _bar(facts.number, "feed", feed["feed"], began_at(outcome), outcome["registered_at"], state)
    began = branch["started_at"] or facts.opened.opened_at
    ended = None if state in OPEN else facts.opened.decided_at or facts.read.run["finished_at"]
    return _bar(facts.number, "feed", feed["feed"], began, ended, state)
