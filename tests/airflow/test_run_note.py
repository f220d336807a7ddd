from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dagrun import DagRun, DagRunNote
from airflow.models.xcom import XComModel
from airflow.utils.sqlalchemy import prohibit_commit
from airflow.utils.state import DagRunState
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, insert, select, text
from sqlalchemy.orm import Session

from airflow_orchestration.insights.completeness import DAG_RUN_NOTE
from airflow_orchestration.plugins import run_note
from airflow_orchestration.plugins.run_note import MARK, MOST_CHARACTERS, noted, put_note

START = datetime(2026, 11, 23, tzinfo=UTC)
PEOPLE = st.text(max_size=MOST_CHARACTERS).filter(lambda text: MARK not in text)
LINES = st.lists(st.text(min_size=1, max_size=300).filter(str.strip), max_size=4)


@given(PEOPLE, LINES)
def test_a_persons_words_stay(person: str, lines: list[str]) -> None:
    """Whatever a person wrote stands first, whole and unchanged, and the note fits into its column."""
    after = noted(person, lines)

    assert after.startswith(person)
    assert max(len(person), MOST_CHARACTERS) >= len(after)


@given(PEOPLE, LINES, LINES)
def test_a_run_that_ends_anew_gets_new_lines(person: str, first: list[str], second: list[str]) -> None:
    """Lines of an earlier end are replaced, and gone when the run now misses nothing."""
    again = noted(noted(person, first), second)

    assert again in {noted(person, second), noted(person.strip("\n"), second)}
    assert noted(again, []) in {person, person.strip("\n")}


def test_lines_are_marked() -> None:
    """Several tasks' lines stand below each other, each once, each on one line."""
    assert f"{MARK}a b\n\n{MARK}c" == noted(None, ["a\nb", "c", "a b"])


def test_a_persons_own_warning_stays() -> None:
    """A warning sign that a person typed begins no line of ours."""
    assert f"⚠ ask Ada first\n\n{MARK}c" == noted("⚠ ask Ada first", ["c"])


def test_a_long_note_is_cut() -> None:
    """What doesn't fit is cut with a sign; where there is no room at all, the person's note stays as it is."""
    assert MOST_CHARACTERS == len(noted("seen", ["x" * 2000]))
    assert noted("seen", ["x" * 2000]).endswith("x…")
    assert "y" * 999 == noted("y" * 999, ["late"])


def test_a_run_without_lines_is_not_touched() -> None:
    """A run that nobody left a line for keeps its note to the letter."""
    assert " seen \r\n" == noted(" seen \r\n", [])


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on Airflow's own tables, as the scheduler has one."""
    import_all_models()
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """Airflow's own tables in PostgreSQL, where a person may save a note while a run ends."""
    import_all_models()
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(database))
    Base.metadata.create_all(engine)
    with engine.begin() as connection:  # the lines of these tests have no tasks
        connection.execute(text("ALTER TABLE xcom DROP CONSTRAINT xcom_task_instance_fkey"))
    yield engine
    engine.dispose()


def save_note(engine: Engine, run_id: int, words: str) -> None:
    """What a person does in a transaction of their own."""
    with Session(engine) as person:
        note = DagRunNote(words, "1")
        note.dag_run_id = run_id
        person.add(note)
        person.commit()


def ended_run(session: Session, **lines: Any) -> DagRun:
    """A run whose tasks, by id, left values under the key."""
    run = DagRun(dag_id="d", run_id="r", run_type="manual", run_after=START, logical_date=START)
    session.add(run)
    session.flush()
    for task_id, value in lines.items():
        session.execute(
            insert(XComModel).values(
                dag_run_id=run.id,
                task_id=task_id,
                map_index=-1,
                key=run_note.KEY,
                dag_id="d",
                run_id="r",
                value=value,
            )
        )
    session.commit()
    return run


def test_lines_of_tasks_become_the_note(session: Session) -> None:
    """The listener writes in the scheduler's transaction and never commits; what is no text is left out."""
    run = ended_run(session, b_gate="b stayed shut", a_gate="a opened", c=None, d={"no": "text"}, e=" ")
    with prohibit_commit(session):
        put_note(run)
        session.flush()

    assert f"{MARK}a opened\n\n{MARK}b stayed shut" == session.scalar(select(DagRunNote.content))


def test_a_full_run_gets_no_note(session: Session) -> None:
    """Without lines there is no note, not even an empty one."""
    put_note(ended_run(session))
    session.commit()

    assert [] == list(session.scalars(select(DagRunNote.content)))


def test_a_failure_stays_here(session: Session) -> None:
    """What goes wrong is neither raised to the scheduler nor left in its transaction."""
    run = ended_run(session, gate="a opened")
    session.execute(text("DROP TABLE xcom"))
    put_note(run)
    session.commit()

    assert [] == list(session.scalars(select(DagRunNote.content)))


def test_a_note_that_a_person_saved_since_the_run_was_read_stays(engine: Engine) -> None:
    """The scheduler's commit succeeds though it had seen no note, and the note holds both."""
    with Session(engine, autoflush=False, expire_on_commit=False) as scheduler:
        run = ended_run(scheduler, gate="a opened")
        assert run.note is None
        save_note(engine, run.id, "seen, Ada")
        put_note(run)
        run.state = DagRunState.SUCCESS
        scheduler.commit()

        assert f"seen, Ada\n\n{MARK}a opened" == scheduler.scalar(select(DagRunNote.content))
        assert f"seen, Ada\n\n{MARK}a opened" == run.note


def test_a_note_that_a_person_saves_between_reading_and_writing_stays(engine: Engine) -> None:
    """The first note of a run may come from a person in the very moment in which it ends."""
    with Session(engine, autoflush=False, expire_on_commit=False) as scheduler:
        run, saved = ended_run(scheduler, gate="a opened"), list[str]()

        @event.listens_for(engine, "after_cursor_execute")
        def save(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "FROM dag_run_note" in statement and not saved:
                saved.append(statement)
                save_note(engine, run.id, "seen, Ada")

        put_note(run)
        scheduler.commit()

        assert 1 == len(saved)
        assert f"seen, Ada\n\n{MARK}a opened" == scheduler.scalar(select(DagRunNote.content))


def test_what_the_session_has_not_flushed_stays_so(session: Session) -> None:
    """A row that can't be written fails the flush of whoever added it, not one that the note brought about."""
    run = ended_run(session, gate="a opened")
    session.expire(run)
    twin = DagRun(dag_id="d", run_id="r", run_type="manual", run_after=START, logical_date=START)
    session.add(twin)
    put_note(run)

    assert twin in session.new
    session.expunge(twin)
    session.commit()
    assert f"{MARK}a opened" == session.scalar(select(DagRunNote.content))


@pytest.mark.parametrize("before", [None, "seen"])
def test_a_note_that_is_saved_with_the_end_is_left_alone(engine: Engine, before: str | None) -> None:
    """Who ends a run by hand and comments it in one request gets their own words, and no error."""
    with Session(engine, autoflush=False) as request:
        run = ended_run(request, gate="a opened")
        run.note = before
        request.commit()
        run.note = "ended by hand, Ada"
        put_note(run)
        request.commit()

        assert "ended by hand, Ada" == request.scalar(select(DagRunNote.content))


def test_a_run_without_a_session_is_left_alone(session: Session) -> None:
    """`dag.test()` ends runs that belong to no session."""
    run = ended_run(session, gate="a opened")
    session.expunge(run)
    put_note(run)

    assert run not in session


def test_key_is_the_one_that_tasks_use() -> None:
    """The plugin, which is loaded everywhere, names the key itself instead of importing the package for it."""
    assert DAG_RUN_NOTE == run_note.KEY
