"""The roles are enough for all that runs do, and not only for the straight way: each part by the login that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.insights.overview import feeds_over_time, runs_over_time
from airflow_orchestration.insights.run_view import run_view, view_tag
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.target_pruning import TargetPruning
from airflow_orchestration.workflow.pruning import Terms, prune
from demo.postgres import EmbeddedPostgres
from tests.insights_pg.played import PlayedRun
from tests.reconcile.world import World
from tests.rewriting import REWRITING
from tests.security.database_roles import OWNER, PUBLISHER, READER, WORKER, apply_roles, login
from tests.sources.test_stream_runs import Application, StreamWorld, make

ROWS = "code,size,name\n"
FILES = {(0, "red"): f"{ROWS}a,1,x\n", (0, "blue"): f"{ROWS}c,3,z\nd,-3,z\n", (1, "grey"): f"{ROWS}e,5,v\n"}
SO_OLD = timedelta(days=90)
SINCE = datetime(2020, 1, 1, tzinfo=UTC)

Connect = Callable[[], psycopg.Connection[Any]]


class Logins:
    """Stores and connections, each of a login with one role; tables are made in the publisher's own schema."""

    def __init__(self, database: str, opened: ExitStack) -> None:
        self.database = database
        self._names = {
            role: opened.enter_context(login(database, role)) for role in (OWNER, WORKER, PUBLISHER, READER)
        }
        self.worker, self.reader, self.owner = (
            opened.enter_context(PostgresStore(self.connect(role))) for role in (WORKER, READER, OWNER)
        )
        with psycopg.connect(database) as admin:
            user = sql.Identifier(str(conninfo_to_dict(self._names[PUBLISHER])["user"]))
            admin.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(user))

    def connect(self, role: str) -> Connect:
        """Opens connections of a role's login."""
        return lambda: psycopg.connect(self._names[role])

    def shown(self, run: RunKey) -> dict[str, Any]:
        """What the page shows of a run, to a login that reads."""
        assert view_tag(self.reader, run)
        assert feeds_over_time(self.reader, run.dag_id)
        listed = runs_over_time(self.reader, [run.dag_id], since=SINCE)["runs"]
        assert run.run_id in {one["run_id"] for one in listed}
        return run_view(self.reader, run)


@pytest.fixture
def logins(postgres: EmbeddedPostgres, create_migrated: Callable[[str], str]) -> Iterator[Logins]:
    """A database of runs for a test."""
    dsn = create_migrated("roles_suffice")
    apply_roles(dsn)
    with ExitStack() as opened:
        yield Logins(dsn, opened)
    postgres.drop_database("roles_suffice")


def test_a_second_round_and_what_a_person_is_shown_of_it(logins: Logins, tmp_path: Path) -> None:
    """A feed below standard is run again, by the worker; the publisher publishes once; a reader sees both rounds."""
    terms: dict[str, Any] = {"sync": {"deadline": 600, "floor": 0.5}, "max_rounds": 2}
    run = PlayedRun(tmp_path, logins.worker, logins.connect(PUBLISHER), {"north": {}, "south": {}}, **terms)
    run.start()
    run.land(north="a,1,one\n", south="b,-1,two\nc,-1,\n")
    for number in (1, 2):
        run.plan(number)
        run.work(number)
        run.look(number)
        run.merge(number)
        run.land(south="b,2,two\n")
    state = run.publish()["state"]
    shown = logins.shown(run.key)

    assert ("published", 2) == (state, len(shown["rounds"]))


def test_a_repair_and_the_end_of_all_of_it(logins: Logins, tmp_path: Path) -> None:
    """A late feed is a second version by the same two logins; the owner prunes the run, and what it put aside."""
    world = World(
        folder=tmp_path / "world",
        table="public.things",
        feeds={"red": 2.0, "blue": 1.0},
        files=FILES,
        connect=logins.connect(PUBLISHER),
    )
    world.store = logins.worker  # type: ignore[assignment]  # both keep the promises of a store
    world.land([(0, "red")])
    first = world.run(0)["state"]
    world.land([(0, "blue")])
    repaired = world.reconcile(0)
    assert repaired is not None
    assert ("published_degraded", "published", 2) == (first, repaired["state"], repaired["version"])
    assert "published" == logins.shown(world.key(0))["manifest"]["state"]
    with psycopg.connect(logins.database) as admin:
        admin.execute(REWRITING)
        for change in (
            "run SET started_at = started_at - %(age)s, finished_at = finished_at - %(age)s",
            "claim SET claimed_at = claimed_at - %(age)s",
            "feed_outcome SET registered_at = registered_at - %(age)s",
            "publish_ledger SET published_at = published_at - %(age)s",
        ):
            admin.execute(f"UPDATE orchestration.{change}".encode(), {"age": SO_OLD * 2})
    world.feeds = {"grey": 1.0}  # so that nothing is estimated from the old ones
    world.land([(1, "grey")])
    world.run(1)
    pruned = prune(logins.owner, lambda root: StagingArea(Path(root)), Terms(age=SO_OLD))
    aside = list(TargetPruning(logins.connect(OWNER)).delete_quarantined(SO_OLD))

    assert [world.key(0)] == list(pruned.runs)
    assert pruned.swept.files
    assert 1 == sum(aside)


def test_a_stream_that_goes_on(logins: Logins, tmp_path: Path) -> None:
    """The ranges that a run reads of an outbox are the worker's to hold, and the next run's to go on behind."""
    world: StreamWorld = make(logins.database, tmp_path)
    world.store, world.outside = logins.worker, Application(logins.database)  # type: ignore[assignment]
    world.publisher = type(world.publisher)(logins.connect(PUBLISHER))
    world.put("a", "b", "c", "d")
    states = []
    for number in (0, 1):
        world.land([(number, "files")])
        states.append(world.run(number)["state"])
    with psycopg.connect(logins.database) as admin:
        published = admin.execute("SELECT string_agg(code, '' ORDER BY code) FROM public.things").fetchone()

    assert (["published", "published"], ("abcdf0f1",)) == (states, published)
    assert "published" == logins.shown(world.key(1))["manifest"]["state"]
