"""What the tasks and groups of a pipeline Dag are called where a person sees them; ids stay as they are."""

from __future__ import annotations

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.policies.asking import Question

ANALYZE = "Analyze batches"
PLAN = "Plan the round"
CREATE_AGENTS = "Choose agents"
AGENTS = "Agents at work"
GATE = "Gate"
DECIDE = "Enough?"
MERGE = "Merge"
VALIDATE_QUALITY = "Good enough?"
PUBLISH = "Publish"
FAIL = "Give up"
CLOSE_OUT = "Close out"
FIND_LATE = "Find runs to repair"
RECONCILE = "Merge late feeds"
ROUTES = "Routes"
ROUTES_TOOLTIP = "Hands each lane its branches; a lane without work is skipped"
LANES = {
    Lane.ALPHA: "Alpha: streams",
    Lane.BETA: "Beta: batches and checks",
    Lane.GAMMA: "Gamma: real time and transformations",
    Lane.PRIMARY: "Primary: urgent aggregations",
    Lane.SECONDARY: "Secondary: other aggregations",
}
QUESTIONS = {Question.GATE: "Ask: go on?", Question.QUALITY: "Ask: publish?"}


def route_name(lane: Lane) -> str:
    """Name the task that hands a lane its branches."""
    return f"To {lane.value}"


def round_name(number: int) -> str:
    """Name the task group of a round."""
    return f"Round {number}"


def round_tooltip(number: int, last: int) -> str:
    """Say when a round comes."""
    if number == 1:
        return "Every feed of the run"
    more = "" if number < last else "; the last one"
    return f"Only what failed, is missing or is below standard after round {number - 1}{more}"
