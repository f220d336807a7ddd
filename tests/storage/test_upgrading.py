"""Stores that earlier releases filled: this release migrates them, reads them, and goes on with what they began.

`upgrades` holds, by the newest migration of a release, what that release itself wrote of four runs of a small
pipeline (`tests/storage/upgrades/record.py`): one published and repaired, one published without a feed, one begun,
one whose agents were chosen; besides them records of streams, leases and registered jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from airflow_orchestration.domain.stream import StreamMark
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import (
    InputRefusedError,
    PublishConflictError,
    StoreNotReadyError,
)
from airflow_orchestration.insights.agents import run_agents
from airflow_orchestration.insights.overview import feeds_over_time, runs_over_time
from airflow_orchestration.insights.quarantine import quarantine_of
from airflow_orchestration.insights.recorded_gate import recorded_gate
from airflow_orchestration.insights.replay import differences
from airflow_orchestration.insights.run_view import run_view, timeline_page
from airflow_orchestration.insights.trust import trust_courses
from airflow_orchestration.plugins.run_shapes import RunView
from airflow_orchestration.storage.migrating import check_ready, migrate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import FeedRows, Publication, Publisher
from airflow_orchestration.storage.sql_file import FOLDER
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.publish import check_targets
from airflow_orchestration.workflow.quality import validate_quality
from demo.postgres import EmbeddedPostgres
from tests.reconcile.world import ALL_OVER, CONTRACT, LANES, World

UPGRADES = Path(__file__).with_name("upgrades")
MIGRATIONS = sorted(file.stem for file in FOLDER.joinpath("migrations").iterdir())
EARLIER = MIGRATIONS[:-1]
UPGRADING = Path(__file__).parents[2] / "docs" / "upgrading.md"
TABLE, DAG, DATASET = "public.thing", "things", "thing"
REPAIRED, SHORT, BEGUN = (RunKey(dag_id=DAG, run_id=f"{TABLE}-{number}") for number in range(3))
REWRITTEN = {"run": {"spec", "manifest"}}
"""Columns whose rows of before 0003_data_plane are carried over to a new shape, all of them JSON objects."""
RESHAPED = {"contract", "contracts", "disagreements", "datasets", "version", "versions"}
"""Their keys that have another shape since."""
GONE = {"round": {"sync_point", "deadline_at", "floor_reached_at"}}
"""Columns whose values 0002_quorum_gate moved to the table of sync points."""
COLUMNS = """SELECT relname, array_agg(attname::text ORDER BY attname) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE relnamespace = 'orchestration'::regnamespace AND relkind = 'r' AND relname <> 'migration'
             AND attnum > 0 AND NOT attisdropped AND attgenerated = '' GROUP BY relname"""
Row = dict[str, str | None]
Tables = Mapping[str, list[Row]]
"""Table -> every row, in no order; every value as text."""
_numbers = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """A migrated database whose newest migration was `state`, what it said and held before, and where its files lay."""

    state: str
    dsn: str
    folder: Path
    refused: str
    before: Tables

    def had(self, migration: str) -> bool:
        return migration <= self.state

    @property
    def keys(self) -> list[RunKey]:
        """The runs of the pipeline; before there were repairs, none was repaired."""
        return [REPAIRED, SHORT, BEGUN] if self.had("0002_quorum_gate") else [SHORT, BEGUN]

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn)


def content(connection: psycopg.Connection[Any]) -> Tables:
    return {
        table: [
            dict(zip(columns, row, strict=True))
            for row in connection.execute(
                sql.SQL("SELECT {} FROM orchestration.{}").format(
                    sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns),
                    sql.Identifier(table),
                )
            )
        ]
        for table, columns in connection.execute(COLUMNS).fetchall()
    }


def fill(connection: psycopg.Connection[Any], state: str, folder: Path) -> None:
    """Bring an empty database to what a release left in it a moment ago: nothing has run out since."""
    for name in MIGRATIONS[: MIGRATIONS.index(state) + 1]:
        connection.execute(FOLDER.joinpath("migrations", f"{name}.sql").read_bytes())
        connection.execute("INSERT INTO orchestration.migration (name) VALUES (%s)", [name])
    written = (UPGRADES / f"{state}.sql").read_text().replace("@folder@", str(folder))
    connection.execute(written.encode())
    connection.execute(
        f"UPDATE orchestration.{_deadlines(state)} SET deadline_at = now() + interval '1 hour'".encode()
    )
    if state >= "0004_agents":
        connection.execute("UPDATE orchestration.lease SET expires_at = now() + interval '1 hour'")


def _deadlines(state: str) -> str:
    return "sync_point" if state >= "0002_quorum_gate" else "round"


@pytest.fixture(scope="module", params=EARLIER)
def old(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    """The store of each earlier release, migrated; to be read."""
    state, name, folder = request.param, f"upgraded_{next(_numbers)}", tmp_path_factory.mktemp("upgraded")
    postgres.create_database(name)
    with psycopg.connect(postgres.dsn(name)) as connection:
        fill(connection, state, folder)
        with pytest.raises(StoreNotReadyError) as refused:
            check_ready(connection)
        before = content(connection)
        assert MIGRATIONS[MIGRATIONS.index(state) + 1 :] == migrate(connection)
    yield Upgraded(
        state=state, dsn=postgres.dsn(name), folder=folder, refused=str(refused.value), before=before
    )
    postgres.drop_database(name)


@pytest.fixture
def store(old: Upgraded) -> Iterator[PostgresStore]:
    """The store in it."""
    with PostgresStore(old.connect) as store:
        yield store


@pytest.fixture
def world(old: Upgraded, postgres: EmbeddedPostgres) -> Iterator[World]:
    """The pipeline of the old runs, on a copy of the store that may be written to."""
    name = f"copy_{next(_numbers)}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    postgres.execute(
        copy.format(
            sql.Identifier(name), sql.Identifier(psycopg.conninfo.conninfo_to_dict(old.dsn)["dbname"])
        )
    )
    connect = partial(psycopg.connect, postgres.dsn(name))
    world = World(folder=old.folder, table=TABLE, feeds={}, files={}, connect=connect, _tries=count(100))
    with PostgresStore(connect) as world.store:
        yield world
    postgres.drop_database(name)


def test_every_earlier_state_has_rows() -> None:
    """Whoever adds a migration records first what the release before it writes."""
    assert EARLIER == sorted(file.stem for file in UPGRADES.glob("*.sql"))


def test_an_old_store_is_refused_by_name(old: Upgraded) -> None:
    """Before it is migrated, it says which migrations are missing and how to apply them."""
    missing = MIGRATIONS[MIGRATIONS.index(old.state) + 1]
    assert f"lacks the migrations from {missing} on; run: airflow orchestration migrate" in old.refused


def test_every_row_is_kept(old: Upgraded) -> None:
    """Each row has what it had in all of its columns, in the columns that are still there, and no row came or went."""
    with old.connect() as connection:
        after = content(connection)
    rewritten = {} if old.had("0003_data_plane") else REWRITTEN
    gone = {} if old.had("0002_quorum_gate") else GONE
    for table, before in old.before.items():
        assert before, table
        columns = before[0].keys() - gone.get(table, set())
        assert columns == before[0].keys() & after[table][0].keys(), table
        shaped = rewritten.get(table, set())
        assert told(before, columns, shaped) == told(after[table], columns, shaped), table


def told(
    rows: list[Row], columns: AbstractSet[str], shaped: AbstractSet[str]
) -> list[tuple[tuple[str, str], ...]]:
    """The rows in an order that doesn't depend on when they were written; of what got a new shape, what kept its own."""
    names = sorted(columns)
    return sorted(
        tuple((name, unshaped(row[name]) if name in shaped else repr(row[name])) for name in names)
        for row in rows
    )


def unshaped(value: str | None) -> str:
    found = json.loads(value or "{}")
    return json.dumps({key: found[key] for key in found if key not in RESHAPED}, sort_keys=True)


def test_runs_are_shown_as_they_ended(old: Upgraded, store: PostgresStore) -> None:
    """The page has every part of a run that it asks for, and tells its whole timeline in sentences."""
    ended = {REPAIRED: ("published", 2), SHORT: ("published_degraded", 1)}
    for key in old.keys:
        view = run_view(store, key)
        assert RunView.model_validate({**view, "rows_shown": True})
        events = timeline_page(store, key)["events"]
        assert not [event for event in events if event["text"] == event["event"].replace("_", " ")]
        assert ended.get(key, ("running", None)) == (view["state"], (view["manifest"] or {}).get("version"))
        if key in ended:
            assert (True, [(DATASET, TABLE)]) == (view["deadline_met"], tables(view["manifest"]))
            assert {DATASET} >= {line["dataset"] for line in view["manifest"]["versions"]}
            assert {("poor", "minimum", 1)} == {tuple(one.values()) for one in view["quarantine"]}


def tables(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(line["dataset"], line["table"]) for line in manifest["datasets"]]


def test_runs_and_feeds_are_listed(old: Upgraded, store: PostgresStore) -> None:
    """Over time they show what ended how, in which version, and what the late feed was in each run."""
    found = runs_over_time(store, [DAG], since=datetime(2020, 1, 1, tzinfo=UTC))["runs"]
    shown = {one["run_id"]: (one["state"], one["version"], one["feeds_in"]) for one in found}
    states = {
        REPAIRED: ("published", 2, 3),
        SHORT: ("published_degraded", 1, 2),
        BEGUN: ("running", None, None),
    }
    assert {key.run_id: states[key] for key in old.keys} == {
        key.run_id: shown[key.run_id] for key in old.keys
    }
    [late] = [one["runs"] for one in feeds_over_time(store, DAG)["feeds"] if one["feed"] == "late"]
    was = {REPAIRED.run_id: "in", SHORT.run_id: "failed", BEGUN.run_id: "pending"}
    assert [was[key.run_id] for key in old.keys] == [one["state"] for one in late]


def test_quarantined_rows_are_found(old: Upgraded, store: PostgresStore) -> None:
    """A row that was put aside is shown with its place and its reason."""

    def staging(_: str) -> StagingArea:
        raise AssertionError("what was published is read in the database")

    [found] = quarantine_of(store, lambda _: Publisher(old.connect), staging, SHORT)["rules"]
    assert ("poor", "minimum", 1) == (found["feed"], found["rule"], found["rows"])
    [row] = found["samples"]
    assert (4, "size", "Must be at least 0.", "d,-4,q") == tuple(
        row[name] for name in ("position", "column", "reason", "raw")
    )


def test_gates_are_decided_again(old: Upgraded, store: PostgresStore) -> None:
    """Every gate decides as it did; of before 0002_quorum_gate too little was recorded, and that is said."""
    found = list(differences(recorded_gate(gate) for gate in store.decided_gates()))
    too_little = ("evidence: has no 'required_ids'; it was recorded by another version",)
    assert ([] if old.had("0002_quorum_gate") else [too_little]) == [difference.what for difference in found]


def test_the_ledger_still_knows_what_was_published(old: Upgraded) -> None:
    """The same content under the same key is published already, other content is a conflict."""
    with old.connect() as connection:
        [(epoch, sha)] = connection.execute(
            "SELECT epoch, content_sha256 FROM orchestration.publish_ledger WHERE publication_key = %s",
            [f"{DAG}/{SHORT.run_id}"],
        ).fetchall()
    publisher = Publisher(old.connect)
    again = publisher.publish(publication(epoch + 100, sha), (), ())
    assert (True, 6, 3, 2, 1) == (
        again.already_published,
        again.rows_in,
        again.rows_published,
        again.rows_superseded,
        again.rows_quarantined,
    )
    with pytest.raises(PublishConflictError):
        publisher.publish(publication(epoch + 101, "another"), (), ())
    assert [version.version for version in publisher.history(TABLE, REPAIRED).versions] == (
        [1, 2] if REPAIRED in old.keys else []
    )


def publication(epoch: int, sha: str) -> Publication:
    feeds = {
        "good": FeedRows(rows_in=3, rows_staged=3, rows_quarantined=0, published=3, superseded=0),
        "poor": FeedRows(rows_in=3, rows_staged=2, rows_quarantined=1, published=0, superseded=2),
    }
    return Publication(
        table=TABLE,
        publication_key=f"{DAG}/{SHORT.run_id}",
        run=SHORT,
        round=1,
        epoch=epoch,
        content_sha256=sha,
        contract=CONTRACT,
        feeds=feeds,
    )


def test_streams_are_read_on(old: Upgraded, store: PostgresStore) -> None:
    """The next run goes on where the last one ended, after what was given back; nothing was read of before."""
    marks = store.streams.marks(RunKey(dag_id="flights", run_id="wed"), "departures").marks
    ends = {"t[0]": StreamMark(start=(10,)), "t[1]": StreamMark(start=(5,))}
    assert (ends if old.had("0003_data_plane") else {}) == marks


def test_trust_is_still_known(old: Upgraded, store: PostgresStore) -> None:
    """What each run taught is there in order, for the runs to come."""
    taught = store.trust.history(DAG, DATASET, runs=9)
    runs = [REPAIRED.run_id, SHORT.run_id] if old.had("0003_data_plane") else []
    assert runs == [run.run_id for run in taught]
    assert {"good", "poor"} >= {course.feed_id for course in trust_courses(taught)}


def test_agents_leases_and_jobs_are_kept(old: Upgraded, store: PostgresStore) -> None:
    """Agents with their work, what is lent and asked for, and every revision of the registry."""
    agents = [one for number in run_agents(store, RunKey(dag_id=DAG, run_id="1")) for one in number.agents]
    known = old.had("0004_agents")
    assert (2 if known else 0) == len(agents)
    assert ([100] if known else []) == [one.records for one in leaderboard_of(store)]
    leases = {one.claim.holder: one.granted_at is not None for one in store.leases.leases()}
    assert ({"north/a": True, "north/b": False} if known else {}) == leases
    assert ({"", "north"} if known else {""}) == set(store.leases.capacities())
    jobs = [
        (one.change.tenant, one.change.job, [name for name, _ in one.files]) for one in store.registry.jobs()
    ]
    assert ([("north", "sales", ["sales.yaml", "sales.odcs.yaml"])] if known else []) == jobs
    assert (3 if known else 0) == store.registry.revision()


def leaderboard_of(store: PostgresStore) -> list[Any]:
    return [outcome.performance for _, outcome in store.agents.outcomes(RunKey(dag_id=DAG, run_id="1"))]


def test_a_run_that_had_begun_goes_on(old: Upgraded, world: World) -> None:
    """What an earlier release planned is processed, decided, merged and published by this one.

    A table that it made before 0003_data_plane is refused first, with the columns that it lacks.
    """
    for feed_id in ("good", "poor"):
        (old.folder / f"2026-11-22-{feed_id}.csv").write_text("code,size,name\na,7,x\nf,8,y\n")
    world.work(2)
    with world.step(2, 1, "merge") as step:
        assert decide_gate(world.store, BEGUN, step.spec, 1, LANES, ALL_OVER).is_open
        merge_round(step)
        validate_quality(step)
        if not old.had("0003_data_plane"):
            with pytest.raises(InputRefusedError, match=r"_confidence: is missing; add it as jsonb"):
                check_targets(step.spec, world.publishers)
            adapt_the_table(world)
        check_targets(step.spec, world.publishers)
    assert "published_degraded" == world.publish(2)["state"]
    assert {("a", 7, "x"), ("f", 8, "y"), ("c", 3, "z")} <= {row[:3] for row in world.rows()}
    assert "published_degraded" == run_view(world.store, BEGUN)["state"]


def adapt_the_table(world: World) -> None:
    """Do what the page about upgrading says."""
    told = " ".join(re.findall(r"ALTER TABLE .*?;", UPGRADING.read_text()))
    with world.connect() as connection:
        connection.execute(told.replace("reference.airport", TABLE).encode())
