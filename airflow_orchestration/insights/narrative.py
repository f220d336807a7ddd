"""Tells a run's timeline in sentences, for a person who watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_orchestration.policies.drift import shown
from airflow_orchestration.storage.store import Event

Detail = Mapping[str, Any]


def sentence(event: Event) -> tuple[str, str]:
    """Return what happened in a word, and the rest of the story."""
    teller = _TELLERS.get(event.event)
    return teller(event.detail) if teller else (event.event, "")


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
}
