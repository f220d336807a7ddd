"""What was told once can't be told otherwise, whoever asks the server: not by a role's login, and not by the owner's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors

from demo.postgres import EmbeddedPostgres
from tests.security.database_roles import OWNER, PUBLISHER, REGISTRAR, WORKER, apply_roles, connections

Logins = Mapping[str, psycopg.Connection[Any]]
ADMIN = "the server's owner"

TOLD = """
INSERT INTO orchestration.run (dag_id, run_id, spec, mode, started_at, state, manifest, finished_at)
SELECT 'a', run_id, '{}', '{}', now(), state, manifest::jsonb, finished_at
FROM (VALUES ('ended', 'published_degraded', '{"version": 2}', now()), ('open', NULL, NULL, NULL),
             ('empty', 'not_published', '{"version": 0}', now())) AS told (run_id, state, manifest, finished_at);
INSERT INTO orchestration.run (dag_id, run_id, state, manifest, finished_at) VALUES ('a', 'refused', 'not_published', '{}', now());
INSERT INTO orchestration.round (dag_id, run_id, round, plan, opened_at, verdict, decided_at)
VALUES ('a', 'ended', 1, '{}', now(), '{"action": "escalate"}', now()), ('a', 'open', 1, '{}', now(), NULL, NULL);
INSERT INTO orchestration.sync_point (dag_id, run_id, round, name, deadline_at, floor_reached_at)
VALUES ('a', 'ended', 1, 'core', now(), now()), ('a', 'open', 1, 'core', now(), NULL);
INSERT INTO orchestration.feed_outcome
    (dag_id, run_id, round, feed_id, epoch, branch_id, status, elapsed_seconds, cluster_utilization, rows_in, rows_staged,
     rows_quarantined, rows_out_of_scope, quality_score)
VALUES ('a', 'ended', 1, 'x', 7, 'b', 'failed', 1, 0, 0, 0, 0, 0, 0);
INSERT INTO orchestration.merge
    (dag_id, run_id, round, epoch, staged_uri, staged_sha256, staged_bytes, staged_rows, content_sha256, decision, published,
     superseded, disagreements, compared, completeness, dataset)
VALUES ('a', 'ended', 1, 7, '', '', 0, 0, '', '{}', '{"x": 1}', '{}', '{}', '{}', 1, 'thing');
INSERT INTO orchestration.agent_outcome
    (dag_id, run_id, round, unit, batch, epoch, tenant, agent_id, agent_type, kind, succeeded)
VALUES ('a', 'ended', 1, 'u', 'x', 7, 'north', 'i', 't', 'k', false);
INSERT INTO orchestration.decision (dag_id, run_id, round, decision) VALUES ('a', 'ended', 1, '{}');
INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, event, detail) VALUES ('a', 'ended', 1, 'u', 'e', '{}');
INSERT INTO orchestration.pruned_run (dag_id, run_id) VALUES ('a', 'gone');
INSERT INTO orchestration.job_revision (revision, tenant, job, files, changed_by, changed_at)
VALUES (1, 'north', 'j', '[]', 'x', now());
INSERT INTO orchestration.publish_ledger
    (target_table, publication_key, dag_id, run_id, round, epoch, content_sha256, rows_in, rows_published, rows_superseded,
     rows_quarantined, rows_inserted, rows_updated, rows_unchanged)
SELECT 'a.b', key, 'a', 'ended', 1, 7, '', 3, 2, 0, 1, inserted, 1, 0
FROM (VALUES ('booked', 1), ('half', NULL)) AS told (key, inserted);
INSERT INTO orchestration.publish_ledger_feed
    (target_table, publication_key, feed_id, rows_in, rows_staged, rows_published, rows_superseded, rows_quarantined)
VALUES ('a.b', 'booked', 'x', 3, 2, 2, 0, 1);
INSERT INTO orchestration.quarantined_row (target_table, publication_key, feed_id, rule) VALUES ('a.b', 'booked', 'x', 'r')"""
"""A row of everything, as a run that has ended, one that has not, one without a result, and one that was refused."""
ENDED = "WHERE run_id = 'ended'"
REWRITING = {
    "a gate goes where it did not": (
        WORKER,
        f"""UPDATE orchestration.round SET verdict = '{{"action": "proceed"}}' {ENDED}""",
    ),
    "a gate decides again": (
        WORKER,
        f"UPDATE orchestration.round SET verdict = NULL, decided_at = NULL {ENDED}",
    ),
    "a gate decided at another time": (
        WORKER,
        f"UPDATE orchestration.round SET decided_at = decided_at + interval '1 s' {ENDED}",
    ),
    "a degraded run is whole": (WORKER, f"UPDATE orchestration.run SET state = 'published' {ENDED}"),
    "a run has published something else": (
        WORKER,
        f"""UPDATE orchestration.run SET manifest = '{{"version": 2, "rows": 9}}' {ENDED}""",
    ),
    "a published run goes back to a version": (
        WORKER,
        f"""UPDATE orchestration.run SET state = 'published', manifest = '{{"version": 1}}' {ENDED}""",
    ),
    "a published run has not ended": (
        WORKER,
        f"UPDATE orchestration.run SET state = NULL, manifest = NULL, finished_at = NULL {ENDED}",
    ),
    "a published run has not ended, in a later version": (
        WORKER,
        f"""UPDATE orchestration.run SET state = NULL, finished_at = NULL, manifest = '{{"version": 9}}' {ENDED}""",
    ),
    "a published run has published nothing, in a later version": (
        WORKER,
        f"""UPDATE orchestration.run SET state = 'not_published', manifest = '{{"version": 9}}' {ENDED}""",
    ),
    "a run without a result has not ended": (
        WORKER,
        "UPDATE orchestration.run SET state = NULL, manifest = NULL, finished_at = NULL WHERE run_id = 'empty'",
    ),
    "a run ended at another time": (WORKER, f"UPDATE orchestration.run SET finished_at = now() {ENDED}"),
    "a refused run ends otherwise": (
        WORKER,
        """UPDATE orchestration.run SET manifest = '{"refused": 1}' WHERE run_id = 'refused'""",
    ),
    "a run does something else": (
        WORKER,
        """UPDATE orchestration.run SET spec = '{"id": "b"}' WHERE run_id = 'open'""",
    ),
    "a run began at another time": (
        WORKER,
        "UPDATE orchestration.run SET started_at = 'epoch' WHERE run_id = 'open'",
    ),
    "a run gives its name away": (WORKER, f"UPDATE orchestration.run SET run_id = 'other' {ENDED}"),
    "a floor was reached earlier": (
        WORKER,
        f"UPDATE orchestration.sync_point SET floor_reached_at = 'epoch' {ENDED}",
    ),
    "a floor was never reached": (
        WORKER,
        f"UPDATE orchestration.sync_point SET floor_reached_at = NULL {ENDED}",
    ),
    "an outcome changes without an execution": (
        WORKER,
        "UPDATE orchestration.feed_outcome SET status = 'success'",
    ),
    "an outcome is an older execution's": (WORKER, "UPDATE orchestration.feed_outcome SET epoch = 6"),
    "an outcome is another feed's": (
        WORKER,
        "UPDATE orchestration.feed_outcome SET feed_id = 'y', epoch = 8",
    ),
    "a merge counts otherwise": (WORKER, """UPDATE orchestration.merge SET published = '{"x": 2}'"""),
    "a merge is an older execution's": (WORKER, "UPDATE orchestration.merge SET epoch = 6"),
    "a merge is another run's": (WORKER, "UPDATE orchestration.merge SET run_id = 'open', epoch = 8"),
    "an agent succeeded after all": (WORKER, "UPDATE orchestration.agent_outcome SET succeeded = true"),
    "an agent was a tenant's that is another's batch": (
        WORKER,
        "UPDATE orchestration.agent_outcome SET batch = 'y', epoch = 8",
    ),
    "a booking counts otherwise": (
        PUBLISHER,
        "UPDATE orchestration.publish_ledger SET rows_inserted = 0, rows_updated = 2 WHERE publication_key = 'booked'",
    ),
    "a booking counts nothing": (
        PUBLISHER,
        """UPDATE orchestration.publish_ledger SET rows_inserted = NULL, rows_updated = NULL, rows_unchanged = NULL
           WHERE publication_key = 'booked'""",
    ),
    "a booking of another transaction is filled in": (
        PUBLISHER,
        "UPDATE orchestration.publish_ledger SET rows_inserted = 1 WHERE publication_key = 'half'",
    ),
}
ALLOWED = {
    "a gate decides": "UPDATE orchestration.round SET verdict = '{}', decided_at = now() WHERE run_id = 'open'",
    "a run ends": """UPDATE orchestration.run SET state = 'published', manifest = '{"version": 1}', finished_at = now()
                     WHERE run_id = 'open'""",
    "a run is repaired": f"""UPDATE orchestration.run SET state = 'published', manifest = '{{"version": 3}}' {ENDED}""",
    "a run has a result after all": "UPDATE orchestration.run SET state = 'published' WHERE run_id = 'empty'",
    "a refused run begins after all": """
        UPDATE orchestration.run SET spec = '{}', mode = '{}', started_at = now(), state = NULL, manifest = NULL,
                                     finished_at = NULL WHERE run_id = 'refused'""",
    "a floor is reached": "UPDATE orchestration.sync_point SET floor_reached_at = now() WHERE run_id = 'open'",
    "a floor is seen once more": f"UPDATE orchestration.sync_point SET floor_reached_at = floor_reached_at {ENDED}",
    "a newer execution tells an outcome": "UPDATE orchestration.feed_outcome SET status = 'success', epoch = 8",
    "a newer execution merges": "UPDATE orchestration.merge SET published = '{}', epoch = 8",
    "a newer execution tells of an agent": "UPDATE orchestration.agent_outcome SET succeeded = true, epoch = 8",
}
EVERY = ("UPDATE", "DELETE", "TRUNCATE")
APPEND_ONLY = {
    "decision": EVERY, "timeline": EVERY, "pruned_run": EVERY, "job_revision": EVERY, "publish_ledger_feed": EVERY,
    "publish_ledger": ("DELETE", "TRUNCATE"), "quarantined_row": ("UPDATE", "TRUNCATE"),
}  # fmt: skip
"""What nobody does to a table. A booking's counts are filled in; rows that were put aside may be pruned."""
VERBS = {
    "UPDATE": "UPDATE orchestration.{0} SET {1} = {1}",
    "DELETE": "DELETE FROM orchestration.{0}",
    "TRUNCATE": "TRUNCATE orchestration.{0}",
}
COLUMNS = {"job_revision": "tenant", "quarantined_row": "raw", "publish_ledger_feed": "rows_in"}
"""A column to write to, where there is no `run_id`."""
ADDED_TO = {
    "decision": WORKER, "timeline": WORKER, "agents_of_round": WORKER, "job_revision": REGISTRAR,
    "publish_ledger_feed": PUBLISHER, "quarantined_row": PUBLISHER,
}  # fmt: skip
"""Tables that a role may add to, and no login of it change."""


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, create_migrated: Callable[[str], str]) -> Iterator[str]:
    """A database with the roles, in which something was told."""
    dsn = create_migrated("written_once")
    apply_roles(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute(TOLD)
    yield dsn
    postgres.drop_database("written_once")


@pytest.fixture(scope="module")
def logins(database: str) -> Iterator[Logins]:
    """A connection of each role, and one of the server's owner."""
    with psycopg.connect(database, autocommit=True) as admin, connections(database) as opened:
        yield {**opened, ADMIN: admin}


@contextmanager
def refused(connection: psycopg.Connection[Any], why: str) -> Iterator[None]:
    """What is tried in there is refused, and taken back."""
    with (
        pytest.raises(errors.InsufficientPrivilege, match=why),
        connection.transaction(force_rollback=True),
    ):
        yield


@pytest.mark.parametrize("attempt", REWRITING)
def test_what_was_told_is_not_told_otherwise(logins: Logins, attempt: str) -> None:
    """Neither by who tells such things, nor by who owns them: it is the trigger that says no."""
    role, statement = REWRITING[attempt]
    for who in (role, OWNER, ADMIN):
        with refused(logins[who], "written once"):
            logins[who].execute(statement.encode())


@pytest.mark.parametrize("step", ALLOWED)
def test_what_was_not_known_yet_is_told(logins: Logins, step: str) -> None:
    """By the worker's login: the server says no to nothing that a run, a repair or a newer execution does."""
    with logins[WORKER].transaction(force_rollback=True):
        assert 1 == logins[WORKER].execute(ALLOWED[step].encode()).rowcount


def test_a_publication_fills_in_its_counts_once(logins: Logins) -> None:
    """In the transaction that books it, and not twice there either."""
    book = """INSERT INTO orchestration.publish_ledger
                  (target_table, publication_key, dag_id, run_id, round, epoch, content_sha256, rows_in, rows_published,
                   rows_superseded, rows_quarantined)
              VALUES ('a.b', 'new', 'a', 'open', 1, 7, '', 3, 2, 0, 1)"""
    count = """UPDATE orchestration.publish_ledger SET rows_inserted = 2, rows_updated = 0, rows_unchanged = 0
               WHERE publication_key = 'new'"""
    with refused(logins[PUBLISHER], "written once"):
        logins[PUBLISHER].execute(book)
        assert 1 == logins[PUBLISHER].execute(count).rowcount
        logins[PUBLISHER].execute(count)


def test_the_tables_that_are_only_added_to_are_known(logins: Logins) -> None:
    """A new one gets lines here."""
    query = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only'"
    found = {name.removeprefix("orchestration.") for (name,) in logins[ADMIN].execute(query)}
    assert APPEND_ONLY.keys() == found


@pytest.mark.parametrize(
    ("table", "verb"), [(table, verb) for table, verbs in APPEND_ONLY.items() for verb in verbs]
)
def test_an_audit_is_changed_by_nobody(logins: Logins, table: str, verb: str) -> None:
    """Not by the owner of the table, and not by that of the server."""
    statement = VERBS[verb].format(table, COLUMNS.get(table, "run_id"))
    if verb == "TRUNCATE":
        statement += " CASCADE"  # what refers to it is no reason
    for who in (OWNER, ADMIN):
        with refused(logins[who], "is append-only"):
            logins[who].execute(statement.encode())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("table", ADDED_TO)
def test_who_adds_to_a_table_changes_nothing_of_it(logins: Logins, table: str, verb: str) -> None:
    """The right to tell something is none to take it back."""
    connection = logins[ADDED_TO[table]]
    with refused(connection, "permission denied"):
        connection.execute(VERBS[verb].format(table, COLUMNS.get(table, "run_id")).encode())
