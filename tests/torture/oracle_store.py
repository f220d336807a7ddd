"""Does the store tell a run as it was, whether it was published or not?"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.torture.oracle_found import LATE, Found, Story, differ
from tests.torture.world import DEADLINE_SECONDS, FLOOR, OUTBOX, STREAM, Extra, Shape, World

ONCE = ("data_batch_analysis_completed", "round_opened", "synchronization_checkpoint")
"""Events that are told once, each in its round."""


def judge_store(found: Found, world: World, story: Story) -> Iterator[str]:
    """What holds whether the run was published or not."""
    rounds = 2 if world.shape is Shape.ROUNDS else 1
    yield from differ("rounds", [*range(1, rounds + 1)], [row["round"] for row in found.rounds])
    for row in found.rounds:
        yield from _judge_gate(found, world, story, row)
    events = [(row["event"], row["round"]) for row in found.timeline]
    for event in ONCE:
        times = Counter(number for name, number in events if name == event)
        if set(times.values()) != {1}:
            yield f"timeline: {event} was told {dict(times)} times by round"
    is_repaired = world.shape in LATE and story.is_published
    told = Counter(name for name, _ in events)
    yield from differ("times that the run finished", 2 if is_repaired else 1, told["run_finished"])
    yield from differ("times that a repair was told", 1 if is_repaired else 0, told["reconciled"])
    yield from _judge_files(found, story)
    if world.extra is Extra.STREAM:
        yield from _judge_stream(found, world, story)
    for row in found.claims:
        if row["is_too_long"]:
            yield f"the claim of {row['unit']} lasts until {row['lease_until']}"


def _judge_stream(found: Found, world: World, story: Story) -> Iterator[str]:
    """What was published is held, record by record, and what was not is free for the next run."""
    held = [
        row
        for row in found.ranges
        if row["held"]
        and (row["feed_id"], row["partition"], row["run_id"]) == (STREAM, OUTBOX, world.run.run_id)
    ]
    yield from differ("ranges that are held", held, [row for row in found.ranges if row["held"]])
    times = Counter(
        {
            record["row_id"]: sum(
                row["start"] <= [record["transaction"], record["id"]] < row["stop"] for row in held
            )
            for record in found.records
        }
    )
    wanted = 1 if story.is_published else 0
    wrong = sorted(row_id for row_id in times if times[row_id] != wanted)
    yield from differ(f"records of the stream that are not held {wanted} times", [], wrong)


def _judge_gate(found: Found, world: World, story: Story, row: dict[str, Any]) -> Iterator[str]:
    """One verdict, and the one that the rule gives."""
    number = row["round"]
    late = world.shape in LATE
    arrived = [feed_id for feed_id in world.good if not (late and feed_id == "light")]
    share = sum(world.weights[feed_id] for feed_id in arrived) / sum(world.weights.values())
    assert share >= FLOOR  # the worlds are made so
    reason = "deadline_at_floor" if late else "only_failed_missing"
    verdict = row["verdict"] or {"action": None, "reason": None, "evidence": {}}
    evidence = verdict["evidence"]
    there = (
        verdict["action"],
        verdict["reason"],
        sorted(evidence.get("arrived_ids", ())),
        evidence.get("failed_ids"),
    )
    yield from differ(
        f"verdict of round {number}", ("conditional_proceed", reason, sorted(arrived), ["broken"]), there
    )
    said = [
        one["decision"]
        for one in found.decisions
        if one["round"] == number and one["decision"]["policy"] == "quorum_gate"
    ]
    yield from differ(f"decisions of the gate of round {number}", [row["verdict"]], said)
    yield from differ(f"opening of round {number}", story.opened.get(number), row["opened_at"])
    [point] = [one for one in found.points if one["round"] == number] or [{"deadline_at": None}]
    if number not in story.shortened:
        yield from differ(
            f"deadline of round {number}",
            row["opened_at"] + timedelta(seconds=DEADLINE_SECONDS),
            point["deadline_at"],
        )


def _judge_files(found: Found, story: Story) -> Iterator[str]:
    """What is registered is there, byte for byte."""
    registered = [
        (row[f"{kind}_uri"], row[f"{kind}_sha256"])
        for rows in (found.outcomes, found.merges)
        for row in rows
        for kind in ("staged", "quarantine")
        if row.get(f"{kind}_uri")
    ]
    for uri, sha256 in registered:
        path = Path(uri)
        if not path.exists():
            yield f"registered file {path.name} is gone"
        elif uri not in story.altered and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            yield f"registered file {path.name} is another one than was registered"
