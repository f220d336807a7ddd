"""Puts into the note of a Dag run what its tasks left for it under the XCom key `dag_run_note`.

A task has no right to write the note, and Airflow has no state between success and failed
(apache/airflow#50433). Listeners run where a run ends, in the scheduler, inside its transaction: so
this reads and writes by the primary key within one savepoint of its connection, leaves nothing for the
scheduler's own flush, and never raises.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from airflow.listeners import hookimpl

KEY = "dag_run_note"
MARK = "⚠\N{NO-BREAK SPACE}"
"""Every line of ours begins so: a run that is cleared and ends anew gets new ones instead of more.

A person who types a warning sign puts a usual space after it, and keeps the line.
"""
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
    """Write the note when the run's tasks left lines for it, in the transaction that ends the run.

    The run of `dag.test()` has no session, and gets no note. A note that the session itself is about to
    write, because a person ends the run and comments it in one request, is left as it is.
    """
    from sqlalchemy.exc import IntegrityError  # noqa: PLC0415  # only where runs end
    from sqlalchemy.orm import object_session  # noqa: PLC0415

    try:
        session = object_session(dag_run)
        if session is None or _is_being_written(session, dag_run):
            return
        try:
            _write(session, dag_run)
        except IntegrityError:  # a person saved the first note in between; now it is seen
            _write(session, dag_run)
    except Exception:
        log.warning("Could not write the note of a Dag run", exc_info=True)


def noted(before: str | None, lines: Sequence[str]) -> str:
    """Return a note with these lines instead of earlier ones of ours; a person's words stay.

    >>> " ".join(noted("seen, Ada", ["Published degraded: 4 of 6 feeds."]).split())
    'seen, Ada ⚠ Published degraded: 4 of 6 feeds.'
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
    cut = marked[: max(room - 1, 0)].rstrip(f"{MARK} \n")
    return f"{cut}…" if cut else ""


def _is_being_written(session: Any, dag_run: Any) -> bool:
    from sqlalchemy import inspect  # noqa: PLC0415  # only where runs end

    note = inspect(dag_run).attrs.dag_run_note
    loaded = dag_run.__dict__.get("dag_run_note")
    return note.history.has_changes() or (loaded is not None and session.is_modified(loaded))


def _write(session: Any, dag_run: Any) -> None:
    """Write on the connection: a savepoint of the session itself counts as a commit, which the scheduler forbids."""
    from sqlalchemy import inspect  # noqa: PLC0415  # only where runs end

    (dag_run_id,) = inspect(dag_run).identity  # an attribute may be loaded, for which the session may flush
    connection = session.connection()
    with connection.begin_nested():
        _put(connection, dag_run_id, _lines(connection, dag_run_id))
    if loaded := dag_run.__dict__.get("dag_run_note"):
        session.expire(loaded)
    session.expire(dag_run, ["dag_run_note"])


def _put(connection: Any, dag_run_id: int, lines: Sequence[str]) -> None:
    from airflow.models.dagrun import DagRunNote  # noqa: PLC0415, TID251  # a listener is part of the scheduler
    from sqlalchemy import insert, select, update  # noqa: PLC0415

    of_run = DagRunNote.dag_run_id == dag_run_id
    found = connection.execute(select(DagRunNote.content).where(of_run).with_for_update()).one_or_none()
    before = "" if found is None else found.content or ""
    after = noted(before, lines)
    if after == before:
        return
    if found is None:
        connection.execute(insert(DagRunNote).values(dag_run_id=dag_run_id, content=after))
    else:
        connection.execute(update(DagRunNote).where(of_run).values(content=after))


def _lines(connection: Any, dag_run_id: int) -> list[str]:
    from airflow.models.xcom import XComModel  # noqa: PLC0415, TID251  # a listener is part of the scheduler
    from sqlalchemy import select  # noqa: PLC0415

    query = (
        select(XComModel.value)
        .where(XComModel.dag_run_id == dag_run_id, XComModel.key == KEY)
        .order_by(XComModel.task_id, XComModel.map_index)
        .limit(MOST_LINES)
    )
    found = connection.execute(query).scalars()
    return [value for value in found if isinstance(value, str) and value.strip()]
