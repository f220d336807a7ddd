"""A gate that has decided, as one line of JSON: what `airflow orchestration replay --export` writes.

    {"dag_id": "airports", "run_id": "manual__1", "round": 1,
     "feeds": {"vega": {"status": "success", "seconds": 31.25, "rows": 1204}},
     "decision": {"policy": "quorum_gate", "action": "...", "reason": "...", "evidence": {...}}}

`feeds` says how and when each feed came, in seconds from the opening of the round, also after the verdict;
a feed that is not in it was never registered. `decision` is what the gate said: with its evidence the
policy and the facts can be made again.

A line may also be such a decision alone, as a stand-alone gate returns it: what had arrived is then known,
and when is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from airflow_orchestration.domain.deadline import deadline_at
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.domain.problems import pydantic_problems
from airflow_orchestration.domain.strict import Strict
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.store import DecidedGate

MAX_PROBLEMS = 20
"""Lines that are named before reading is given up."""

LONGEST = 1e9
"""Seconds, 30 years: what is longer is no record of a gate, and time can't be reckoned with much more."""

Elapsed = Annotated[float, Field(ge=0, le=LONGEST)]
"""Seconds from the opening of the round; what was there before counts as 0."""


class RecordedFeed(Strict):
    """How and when a feed came."""

    status: OutcomeStatus | None = None
    seconds: Elapsed | None = None
    """When its outcome was registered."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """The rows that were staged."""
    deadline_seconds: Elapsed | None = None
    """The feed's own deadline: from here on the gate does not wait for it."""


class RecordedDecision(Strict):
    """A gate's decision as it was written down."""

    policy: Literal["quorum_gate"]
    action: str
    reason: str
    evidence: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it in the shape of `Decision.as_json`."""
        return {
            "policy": self.policy,
            "action": self.action,
            "reason": self.reason,
            "evidence": self.evidence,
        }


class RecordedGate(Strict):
    """What a gate decided, and what came when."""

    dag_id: str = ""
    run_id: str
    round: Annotated[int, Field(ge=1)] = 1
    feeds: dict[str, RecordedFeed] = Field(default_factory=dict)
    decision: RecordedDecision

    @property
    def name(self) -> str:
        """The gate in words."""
        return f"{self.dag_id}/{self.run_id}, round {self.round}" if self.dag_id else self.run_id


def recorded_gate(gate: DecidedGate) -> RecordedGate:
    """Put what the store knows of a gate on the clock of its round."""
    feeds: dict[str, dict[str, Any]] = {
        feed_id: {
            "status": known.status,
            "seconds": max(0.0, (known.at - gate.opened_at).total_seconds()),
            "rows": known.rows,
        }
        for feed_id, known in gate.registered.items()
    }
    for feed_id, deadline in gate.feed_deadlines.items():
        moment = deadline_at(deadline, started=gate.opened_at, run_started=gate.run_started_at)
        seconds = max(0.0, (moment - gate.opened_at).total_seconds())
        feeds.setdefault(feed_id, {})["deadline_seconds"] = seconds
    return RecordedGate.model_validate(
        {
            "dag_id": gate.run.dag_id,
            "run_id": gate.run.run_id,
            "round": gate.round,
            "feeds": dict(sorted(feeds.items())),
            "decision": gate.verdict,
        }
    )


def line_of(gate: RecordedGate) -> str:
    """Return a gate as a line of JSON, without its end."""
    return gate.model_dump_json(exclude_defaults=True)


def gates_in(lines: Iterable[str], *, subject: str) -> list[RecordedGate]:
    """Read lines of JSON; raises `InputRefusedError` that names the lines that are no gates."""
    gates: list[RecordedGate] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if len(problems) >= MAX_PROBLEMS:
            break
        try:
            if line.strip():
                gates.append(_gate_in(line, number))
        except ValidationError as error:
            problems.extend(pydantic_problems(error, prefix=f"line {number}"))
        except (ValueError, RecursionError) as error:
            problems.append(
                Problem(
                    code=ProblemCode.BAD_SYNTAX, path=f"line {number}", message=f"is no JSON object: {error}"
                )
            )
    if problems:
        raise InputRefusedError(subject, problems)
    return gates


def _gate_in(line: str, number: int) -> RecordedGate:
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError(f"it is a {type(document).__name__}")  # noqa: TRY004  # told as a problem of the line
    if "policy" in document:
        line = json.dumps({"run_id": f"line {number}", "decision": document})
    return RecordedGate.model_validate_json(line, strict=True)
