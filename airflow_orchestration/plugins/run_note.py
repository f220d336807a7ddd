"""Puts into the note of a Dag run what its tasks left for it under the XCom key `dag_run_note`.

A task has no right to write the note, and Airflow has no state between success and failed
(apache/airflow#50433). Listeners run where a run ends, in the scheduler, inside its transaction: so
this reads by the primary key within a savepoint, writes nothing itself, and never raises.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from airflow.listeners import hookimpl

KEY = "dag_run_note"
MARK = "⚠ "
"""Every line of ours begins so: a run that is cleared and ends anew gets new ones instead of more."""
MOST_LINES = 10
MOST_CHARACTERS = 1000
"""The width of the column; a longer note would fail the scheduler's transaction."""

_OURS = re.compile(rf"\n{{0,2}}^{MARK}.*$", re.MULTILINE)

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:  # noqa: ARG001  # Airflow's own signature
    """Leave a degraded run with a note that says what is missing."""
    put_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:  # noqa: ARG001  # Airflow's own signature
    """Leave a failed run with a note that says what was missing."""
    put_note(dag_run)


def put_note(dag_run: Any) -> None:
    """Set the note when the run's tasks left lines for it; the session that ends the run writes it.

    The run of `dag.test()` has no session, and gets no note.
    """
    from sqlalchemy.orm import object_session  # noqa: PLC0415  # only where runs end

    try:
        session = object_session(dag_run)
        if session is None:
            return
        lines, before = _lines(session, dag_run.id), dag_run.note
        after = noted(before, lines)
        if after != (before or ""):
            dag_run.note = after
    except Exception:
        log.warning("Could not write the note of a Dag run", exc_info=True)


def noted(before: str | None, lines: Sequence[str]) -> str:
    """Return a note with these lines instead of earlier ones of ours; a person's words stay.

    >>> noted("seen, Ada", ["Published degraded: 4 of 6 feeds."]).splitlines()
    ['seen, Ada', '', '⚠ Published degraded: 4 of 6 feeds.']
    """
    kept = _OURS.sub("", before or "")
    if kept != (before or ""):
        kept = kept.strip("\n")
    marked = "\n\n".join(dict.fromkeys(MARK + " ".join(line.split()) for line in lines))
    ours = _cut(marked, MOST_CHARACTERS - (len(kept) + 2 if kept else 0))
    return "\n\n".join(part for part in (kept, ours) if part)


def _cut(marked: str, room: int) -> str:
    if len(marked) <= room:
        return marked
    cut = marked[: max(room - 1, 0)].rstrip(f"{MARK}\n")
    return f"{cut}…" if cut else ""


def _lines(session: Any, dag_run_id: int) -> list[str]:
    """Ask on the connection: a savepoint of the session itself counts as a commit, which the scheduler forbids."""
    from airflow.models.xcom import XComModel  # noqa: PLC0415, TID251  # a listener is part of the scheduler
    from sqlalchemy import select  # noqa: PLC0415

    query = (
        select(XComModel.value)
        .where(XComModel.dag_run_id == dag_run_id, XComModel.key == KEY)
        .order_by(XComModel.task_id, XComModel.map_index)
        .limit(MOST_LINES)
    )
    connection = session.connection()
    with connection.begin_nested():
        return [
            value for value in connection.execute(query).scalars() if isinstance(value, str) and value.strip()
        ]
