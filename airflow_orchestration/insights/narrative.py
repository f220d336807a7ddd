"""Tells a run's timeline in sentences, for a person who watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_orchestration.policies.drift import shown
from airflow_orchestration.policies.leasing import LeaseReason
from airflow_orchestration.storage.store import Event

Detail = Mapping[str, Any]
MOST_BATCHES = 5
"""Ours: batches of an agent that a line names."""
WORTH_TELLING_SECONDS = 0.1
"""Ours: a shorter wait for resources is none to a person."""
MILLICORES, GIB_IN_MB = 1000, 1024
NOUNS = frozenset({"agents", "asked", "failed", "finished", "gate", "measured", "quality", "unusual"})
"""Words of `sentence` that the rest of the story does not go on from."""
RESOURCES = ("cpu_millicores", "memory_mb", "connections")


def sentence(event: Event) -> tuple[str, str]:
    """Return what happened in a word, and the rest of the story.

    An event whose detail is not what its teller expects, as an older version may have written it, is told by its name.
    """
    teller = _TELLERS.get(event.event)
    try:
        return teller(event.detail) if teller else (event.event, "")
    except (LookupError, TypeError, ValueError, AttributeError):
        return event.event, ""


def line(event: Event) -> str:
    """Return what happened in one line."""
    word, rest = sentence(event)
    if not rest:
        return word.replace("_", " ")
    return f"{word}: {rest}" if word in NOUNS else f"{word} {rest}"


def _analyzed(detail: Detail) -> tuple[str, str]:
    return "analyzed", (
        f"mode {detail['mode']} because {detail['reason']}: complexity {detail['complexity_score']:.2f}, "
        f"dependency {detail['data_dependency_score']:.2f}, at most {detail['max_branches']} branches"
    )


def _round_opened(detail: Detail) -> tuple[str, str]:
    return "planned", (
        f"{_counted(detail['feeds'], 'feed')} on {_counted(detail['branches'], 'branch', 'es')}; the gate decides within "
        f"{detail['deadline_seconds']:g} s"
    )


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}{plural}"


def _waiting(detail: Detail) -> tuple[str, str]:
    return "waiting", f"for {', '.join(detail['feeds'])}"


def _stopped(detail: Detail) -> tuple[str, str]:
    return (
        "stopped",
        f"{', '.join(detail['feeds'])}: still at work when the gate decided; nothing of it is kept",
    )


def _registered(detail: Detail) -> tuple[str, str]:
    if detail["error"]:
        return "failed", str(detail["error"])
    return "arrived", (
        f"{detail['feed']}: {detail['rows_staged']:,} rows, {detail['rows_quarantined']:,} quarantined"
    )


def _measured(detail: Detail) -> tuple[str, str]:
    shares = ", ".join(
        f"{name} {detail[name]['share'] * 100:.1f} %" for name in ("completeness", "validity", "uniqueness")
    )
    return "measured", f"{detail['feed']}, by {detail['by']}: {_counted(detail['rows'], 'row')}; {shares}"


def _output(detail: Detail) -> tuple[str, str]:
    return "written", f"{detail['feed']} to {detail['folder']}"


def _drifted(detail: Detail) -> tuple[str, str]:
    return "unusual", f"{detail['feed']}: {'; '.join(shown(detail))}"


def _checkpoint(detail: Detail) -> tuple[str, str]:
    return "gate", (
        f"{detail['action']} because {detail['reason']}: {detail['progress'] * 100:.0f} % arrived, "
        f"the floor is {detail['floor'] * 100:.0f} %"
    )


def _merged(detail: Detail) -> tuple[str, str]:
    return (
        "merged",
        f"{_dataset(detail)}{detail['rows']:,} rows from {_counted(len(detail['published']), 'feed')}",
    )


def _dataset(detail: Detail) -> str:
    """The name of the dataset, which lines of older runs don't have."""
    return f"{detail['dataset']}: " if "dataset" in detail else ""


def _validated(detail: Detail) -> tuple[str, str]:
    below = f": {', '.join(detail['below_standard'])}" if detail["below_standard"] else ""
    return "quality", f"{detail['action']} because {detail['reason']}{below}"


def _published(detail: Detail) -> tuple[str, str]:
    return "published", (
        f"{_dataset(detail)}{detail['rows_in']:,} rows in = {detail['rows_published']:,} published + "
        f"{detail['rows_superseded']:,} superseded + {detail['rows_quarantined']:,} quarantined"
    )


def _asked(detail: Detail) -> tuple[str, str]:
    choices = ", ".join(detail["offered"])
    return "asked", f"{detail['subject']} ({choices}; without an answer: {detail['otherwise']})"


def _answered(detail: Detail) -> tuple[str, str]:
    who = "nobody in time" if detail["by"] is None else detail["by"]
    return "answered", f"by {who}: {detail['answer']}"


def _reconciled(detail: Detail) -> tuple[str, str]:
    return "reconciled", (
        f"{', '.join(detail['feeds'])} as version {detail['version']}: {detail['rows_added']:,} rows added, "
        f"{detail['rows_changed']:,} changed, {detail['rows_withdrawn']:,} withdrawn"
    )


def _agents_created(detail: Detail) -> tuple[str, str]:
    failures = [str(one["error"]) for one in detail["failures"]]
    chosen = [
        f"{one['agent_id']} (score {one['score']:.2f}, {_counted(one['candidates'], 'candidate')})"
        for one in detail["agents"]
        if "score" in one
    ]
    return "agents", "; ".join([_counted(detail["active_count"], "agent"), *chosen[:MOST_BATCHES], *failures])


def _agent_waiting(detail: Detail) -> tuple[str, str]:
    return "waiting", f"{detail['agent']} for {resources(detail['needed'])}: {_obstacle(detail)}"


def _obstacle(detail: Detail) -> str:
    """Why nothing is lent now: amounts are `[millicores, MB, connections]`."""
    if detail["reason"] == LeaseReason.TENANT_AT_LIMIT:
        whose, used = "the tenant holds", _used(detail, "tenant_held", "tenant_capacity")
    else:
        whose, used = "all hold", _used(detail, "held", "capacity")
    return f"{whose} {used}" if used else f"others come first, {detail['waiting']:,} wait"


def _used(detail: Detail, held: str, capacity: str) -> str:
    """How much is held of what there is not enough of; nothing where there is room, and it is others' turn."""
    return ", ".join(
        f"{amount(name, used)} of {amount(name, most)}"
        for name, more, used, most in zip(
            RESOURCES, detail["needed"], detail[held], detail[capacity], strict=True
        )
        if more and more + used > most
    )


def _agent_started(detail: Detail) -> tuple[str, str]:
    batches, waited = detail["batches"], detail["waited_seconds"]
    named = ", ".join(batches[:MOST_BATCHES])
    more = f" and {len(batches) - MOST_BATCHES} more" if len(batches) > MOST_BATCHES else ""
    after = f" after waiting {waited:.1f} s" if waited >= WORTH_TELLING_SECONDS else ""
    return "agent", f"{detail['agent']} takes {named or 'nothing'}{more}{after}"


def _agent_progress(detail: Detail) -> tuple[str, str]:
    done = f"{detail['agent']} has done {detail['done']:,} of {detail['of']:,}"
    if "batch" not in detail:
        return "agent", done
    ended = _work_done(detail) if detail["succeeded"] else "failed"
    return "agent", f"{done}; {detail['batch']}: {ended}"


def _agent_finished(detail: Detail) -> tuple[str, str]:
    ended = "done" if detail["succeeded"] else "failed"
    return "agent", f"{detail['agent']} {ended}: {_work_done(detail)}{targets_told(detail)}"


def _work_done(detail: Detail) -> str:
    """What was measured, when anything was."""
    if "records" not in detail:
        return "nothing was measured"
    return f"{_counted(detail['records'], 'record')} in {detail['seconds']:.1f} s"


def resources(needed: Sequence[int]) -> str:
    """Tell what an agent holds or needs, `[millicores, MB, connections]`, for a person.

    >>> resources([500, 2048, 1])
    '0.5 CPUs, 2 GiB, 1 connection'
    """
    return ", ".join(amount(name, value) for name, value in zip(RESOURCES, needed, strict=True) if value)


def amount(resource: str, value: int) -> str:
    """Tell how much of a resource, in its unit.

    >>> amount("memory_mb", 1536)
    '1.5 GiB'
    """
    if resource == "cpu_millicores":
        return f"{value / MILLICORES:g} CPU{'' if value == MILLICORES else 's'}"
    if resource == "memory_mb":
        return f"{value / GIB_IN_MB:.4g} GiB" if value >= GIB_IN_MB else f"{value} MiB"
    return _counted(value, "connection")


def targets_told(detail: Detail) -> str:
    """Say whether the targets were met, or by how much each was missed; nothing when none was measured.

    >>> targets_told({"targets": {"quality": False}, "measured": {"quality": 0.7}, "wanted": {"quality": 0.95}})
    ', missed quality: 0.7, wanted 0.95'
    """
    missed = [
        f"{name.replace('_', ' ')}: {detail['measured'][name]:.3g}, wanted {detail['wanted'][name]:g}"
        for name, met in sorted(detail["targets"].items())
        if met is False
    ]
    if missed:
        return f", missed {'; '.join(missed)}"
    return ", targets met" if any(detail["targets"].values()) else ""


def _finished(detail: Detail) -> tuple[str, str]:
    return "finished", str(detail["state"]).replace("_", " ")


_TELLERS: Mapping[str, Callable[[Detail], tuple[str, str]]] = {
    "data_batch_analysis_completed": _analyzed,
    "round_opened": _round_opened,
    "branch_waiting": _waiting,
    "branch_stopped": _stopped,
    "feed_registered": _registered,
    "data_quality_recorded": _measured,
    "output_written": _output,
    "feed_drifted": _drifted,
    "synchronization_checkpoint": _checkpoint,
    "intelligent_data_merge_completed": _merged,
    "data_quality_validated": _validated,
    "person_asked": _asked,
    "person_answered": _answered,
    "published": _published,
    "reconciled": _reconciled,
    "run_finished": _finished,
    "dynamic_data_processing_agent_creation": _agents_created,
    "agent_waiting": _agent_waiting,
    "agent_started": _agent_started,
    "agent_progress": _agent_progress,
    "agent_finished": _agent_finished,
}
