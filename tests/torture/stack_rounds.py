"""Did the gate of each round decide once, in time, and as the rule says?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.torture.oracle_found import differ
from tests.torture.stack_faults import Fault, latest_verdict
from tests.torture.stack_pipelines import FLOOR, Tortured

Round = Mapping[str, Any]
OPENING = frozenset({"proceed_to_data_merge", "conditional_proceed"})


def of_rounds(
    rounds: Sequence[Round], pipeline: Tortured, faults: Sequence[Fault], *, is_published: bool
) -> Iterator[str]:
    """Judge all rounds of a run that has ended."""
    yield from differ("rounds", [*range(1, len(rounds) + 1)], [line["round"] for line in rounds])
    for line in rounds:
        number = line["round"]
        given = (line["deadline_at"] - line["opened_at"]).total_seconds()
        if given != pipeline.deadline:
            yield f"the deadline of round {number} is {given} s"
        if line["verdict"] is not None:
            yield from _of_verdict(line, pipeline, faults)
        elif line is not rounds[-1] or is_published:
            yield f"round {number} has no verdict, and the run went on"


def _of_verdict(line: Round, pipeline: Tortured, faults: Sequence[Fault]) -> Iterator[str]:
    number, verdict = line["round"], line["verdict"]
    if len(line["told"]) != 1:
        yield f"round {number} has {len(line['told'])} verdicts"
    elif line["told"] != [verdict]:
        yield f"round {number}: the verdict is another one than was decided"
    yield from _of_time(line, faults)
    evidence = verdict["evidence"]
    members = Counter(evidence["arrived_ids"] + evidence["failed_ids"] + evidence["missing_ids"])
    if members != Counter(dict.fromkeys(pipeline.weights, 1)):
        yield f"the verdict of round {number} counts {dict(members)}"
        return
    yield from differ(f"verdict of round {number}", _expected(line, pipeline), _said(verdict))


def _of_time(line: Round, faults: Sequence[Fault]) -> Iterator[str]:
    number, reason = line["round"], line["verdict"]["reason"]
    late = (line["decided_at"] - line["deadline_at"]).total_seconds()
    if "deadline" in reason and late < 0:
        yield f"round {number} was decided {late:+.1f} s from its deadline, because {reason}"
    if line["verdict"]["evidence"]["missing_ids"] and late < 0 and line["verdict"]["action"] in OPENING:
        waited = line["verdict"]["evidence"]["missing_ids"]
        yield f"round {number} opened before its deadline and waited no longer for {waited}"
    if line["decided_at"] > (latest := latest_verdict(line["deadline_at"], faults)):
        over = (line["decided_at"] - latest).total_seconds()
        yield f"round {number} was decided {late:+.1f} s from its deadline, {over:.1f} s later than its faults excuse"


def _said(verdict: Mapping[str, Any]) -> dict[str, object]:
    evidence = verdict["evidence"]
    counts = ("arrived", "failed", "expected", "arrived_weight", "pending_weight", "expected_weight")
    return {
        "action": verdict["action"],
        "reason": verdict["reason"],
        "progress": round(evidence["progress"], 9),
        **{name: evidence[name] for name in counts},
    }


def _expected(line: Round, pipeline: Tortured) -> dict[str, object]:
    """The verdict by the rule, from who had arrived, failed, and was missing."""
    evidence, weights = line["verdict"]["evidence"], pipeline.weights
    arrived, failed, missing = (set(evidence[f"{state}_ids"]) for state in ("arrived", "failed", "missing"))
    here, pending, total = (
        float(sum(weights[feed_id] for feed_id in some)) for some in (arrived, missing, weights)
    )
    action, reason = _ruled(
        share=here / total,
        possible=(here + pending) / total,
        required_out=pipeline.required - arrived,
        failed=failed,
        missing=missing,
    )
    return {
        "action": action,
        "reason": reason,
        "progress": round(here / total, 9),
        "arrived": len(arrived),
        "failed": len(failed),
        "expected": len(weights),
        "arrived_weight": here,
        "pending_weight": pending,
        "expected_weight": total,
    }


def _ruled(
    *, share: float, possible: float, required_out: frozenset[str], failed: set[str], missing: set[str]
) -> tuple[str, str]:
    if not failed and not missing:
        return "proceed_to_data_merge", "all_arrived"
    if share >= FLOOR and not required_out:
        return "conditional_proceed", "deadline_at_floor" if missing else "only_failed_missing"
    if required_out & failed:
        return "timeout_recovery", "required_failed"
    if possible < FLOOR:
        return "timeout_recovery", "floor_unreachable"
    below = "deadline_without_required" if share >= FLOOR else "deadline_below_floor"
    return "timeout_recovery", below
