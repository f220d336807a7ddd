"""In a target database goes what publications that died have left, and rows that were put aside long ago; never the ledger."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import psycopg

from airflow_orchestration.storage.target_pruning import TargetPruning
from tests.prune.conftest import LONG_AGO, Kept
from tests.rewriting import REWRITING

DAY = timedelta(days=1)
CLAIMED = """
    INSERT INTO orchestration.publish_claim (target_table, publication_key, epoch, claimed_at)
    VALUES ('public.things', %s, %s, clock_timestamp() - %s * interval '1 hour')"""
CLAIMED_NOW = """
    UPDATE orchestration.publish_claim SET claimed_at = clock_timestamp(), epoch =
        (SELECT epoch FROM orchestration.publish_ledger WHERE publication_key = %(key)s)
    WHERE publication_key = %(key)s"""


def scratch(connection: psycopg.Connection, epoch: int, key: str) -> str:
    digest = hashlib.sha256(f"public.things\n{key}".encode()).hexdigest()[:16]
    connection.execute(f"CREATE TABLE orchestration_scratch.p_{epoch}_{digest} (code text)")  # type: ignore[arg-type]
    return f"p_{epoch}_{digest}"


def test_private_tables_of_the_dead_are_dropped(two_old: Kept) -> None:
    """Those of executions that were taken over, that died a day ago, or whose publication is done.

    Not those at work: also not of one that has yet to find out that its publication was done before it began.
    """
    done, again = (f"things/{two_old.world.key(number).run_id}" for number in (0, 1))
    with two_old.connect() as connection:
        for key, epoch, hours in (("over", 900, 0), ("dead", 800, 25), ("alive", 800, 1)):
            connection.execute(CLAIMED, (key, epoch, hours))
        for key in (done, again):
            connection.execute(CLAIMED_NOW, {"key": key})
        [(epoch,)] = connection.execute(
            "SELECT epoch FROM orchestration.publish_ledger WHERE publication_key = %s", (done,)
        ).fetchall()
        left = {"over": 800, "dead": 800, done: epoch}
        dead = sorted(scratch(connection, epoch, key) for key, epoch in left.items())
        at_work = {"alive": 800, "unclaimed": 1, again: 900}
        alive = {scratch(connection, epoch, key) for key, epoch in at_work.items()}
    target = TargetPruning(two_old.connect)
    assert dead == target.drop_scratch(DAY, rehearse=True)
    assert dead == target.drop_scratch(DAY)
    assert [] == target.drop_scratch(DAY)
    with two_old.connect() as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'orchestration_scratch'"
        )
        assert alive == {name for (name,) in names}


def test_a_private_table_that_somebody_works_with_is_left_to_the_next_time(two_old: Kept) -> None:
    """Nobody waits long for it, and nothing fails."""
    target = TargetPruning(two_old.connect)
    with two_old.connect() as connection:
        connection.execute(CLAIMED, ("over", 900, 0))
        name = scratch(connection, 800, "over")
        connection.commit()
        connection.execute(f"LOCK TABLE orchestration_scratch.{name}")  # type: ignore[arg-type]
        assert [] == target.drop_scratch(DAY)
    assert [name] == target.drop_scratch(DAY)


def test_rows_that_were_put_aside_go_by_the_age_of_their_publication(two_old: Kept) -> None:
    """A rehearsal counts them; the ledger keeps their number."""
    target, before = TargetPruning(two_old.connect), two_old.rows()
    assert 2 == len(before["quarantined_row"])
    with two_old.connect() as connection:
        connection.execute(REWRITING)
        connection.execute(
            "UPDATE orchestration.publish_ledger SET published_at = published_at - interval '100 days' WHERE run_id = %s",
            (two_old.world.key(0).run_id,),
        )
    assert [1] == list(target.delete_quarantined(LONG_AGO, rehearse=True))
    assert before["quarantined_row"] == two_old.rows()["quarantined_row"]
    assert [] == list(target.delete_quarantined(LONG_AGO, dag_id="others"))
    assert [1] == list(target.delete_quarantined(LONG_AGO))
    assert [f"things/{two_old.world.key(1).run_id}"] == [row[1] for row in two_old.rows()["quarantined_row"]]
    assert 3 == len(two_old.rows()["publish_ledger"])
