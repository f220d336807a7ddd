"""What `explain`, `manifest`, `quarantine` and `reconcile` tell and do about real runs."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow import settings
from airflow.models.asset import AssetActive, AssetEvent, AssetModel
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from airflow_orchestration.cli import run_views
from airflow_orchestration.cli.airflow_database import tell_assets
from airflow_orchestration.cli.quarantine import PATIENT_READER
from airflow_orchestration.storage import quarantine, readings
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.readings import Readings
from airflow_orchestration.storage.store import RunKey
from tests.cli.commands import airflow_connection, command, exit_code
from tests.reconcile.world import World
from tests.registered_jobs import with_airflows_tables

HEAVY = "code,size,name\na,1,x\nb,-1,\x1b[31m[bold]red\nc,-2,c\n"
DEGRADED, OPEN, LATE, COMPLETE = range(4)
TABLE = "public.told"


@pytest.fixture(scope="module")
def world(create_migrated: Callable[[str], str], outside: Path) -> Iterator[World]:
    """A run without `light`, one whose gate is open, one to which `light` came afterwards, and a complete one."""
    dsn = create_migrated("told")
    made = World(
        folder=outside / "told",
        table=TABLE,
        feeds={"heavy": 5.0, "light": 1.0},
        files={
            **{(run, "heavy"): HEAVY for run in range(4)},
            (COMPLETE, "light"): "code,size,name\nd,9,y\n",
            (LATE, "light"): "code,size,name\ne,9,y\n",
        },
        connect=lambda: psycopg.connect(dsn),
    )
    with PostgresStore(made.connect) as store:
        made.store = store  # type: ignore[assignment]  # both keep the promises of a store
        made.land([(run, "heavy") for run in range(4)])
        made.land([(COMPLETE, "light")])
        made.run(DEGRADED)
        made.start(OPEN)
        made.work(OPEN)
        made.run(LATE)
        made.land([(LATE, "light")])
        made.run(COMPLETE)
        yield made


@pytest.fixture(autouse=True)
def _connected(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.connect() as connection:
        dsn = connection.info.dsn
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", airflow_connection(dsn))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # whatever a command sets is gone after the test
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")


def name(world: World, number: int) -> str:
    key = world.key(number)
    return f"{key.dag_id}/{key.run_id}"


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_explain_tells_every_decision_and_the_end(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """In order, each with its reason and what it was weighed by; then what is missing, and why."""
    command("explain", name(world, DEGRADED))
    lines = capsys.readouterr().out.splitlines()
    assert f"{name(world, DEGRADED)}: published degraded" == lines[0]
    wanted = ["workflow_mode: ", "allocation: ", "quorum_gate: ", "merging: ", "quality_gate: "]
    places = [next(at for at, line in enumerate(lines) if what in line) for what in wanted]
    assert sorted(places) == places
    gate = places[2]
    assert lines[gate].endswith("quorum_gate: conditional_proceed because only_failed_missing")
    assert "progress 0.833, floor 0.01" in lines[gate + 1]
    assert "failed ids light" in lines[gate + 1]
    assert any(line.startswith("PUBLISHED DEGRADED: 1 rows from 1 of 2 feeds") for line in lines)
    assert lines[-1].startswith("light (")


def test_explain_as_json_has_the_recorded_decisions(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is explained a second time: what is told is what was recorded."""
    command("explain", name(world, DEGRADED), "--output", "json")
    found = told(capsys)
    recorded = [decision for _, decision in world.store.decisions(world.key(DEGRADED))]
    shown = [
        {name: one[name] for name in ("policy", "action", "reason", "evidence")}
        for one in found["decisions"][1:]
    ]
    assert recorded == shown
    assert ("workflow_mode", "published_degraded", False) == (
        found["decisions"][0]["policy"],
        found["state"],
        found["agents"],
    )


def test_explain_says_what_a_run_waits_for(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that has not ended is no failure: its gate, and who is still to come."""
    command("explain", name(world, OPEN))
    printed = capsys.readouterr().out
    assert "It has not ended." in printed
    assert "83% of the weight is in, the floor is 1%; still to come: light (waiting)" in printed


def test_the_manifest_is_shown_as_it_was_recorded(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON; a run that has not ended has none, which has an exit code of its own."""
    command("manifest", name(world, DEGRADED))
    assert "PUBLISHED DEGRADED: 1 rows" in capsys.readouterr().out
    command("manifest", name(world, DEGRADED), "--output", "json")
    assert world.store.manifest(world.key(DEGRADED)) == told(capsys)
    assert 1 == exit_code("manifest", name(world, OPEN))
    assert "has not ended" in capsys.readouterr().err


def test_quarantine_shows_counts_and_samples(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What a stranger wrote into a row is neither markup nor a command to the terminal."""
    command("quarantine", name(world, DEGRADED), "--limit", "1")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert ["2 rows were put aside", "feed rule rows", "heavy minimum 2"] == lines[:3]
    assert lines[-1].startswith("heavy minimum 2026-11-20-heavy.csv 3 size")
    assert lines[-1].endswith(r"b,-1,\x1b[31m[bold]red")
    command("quarantine", name(world, OPEN), "--output", "json", "--rule", "minimum")
    found = told(capsys)
    assert ("staging", 2) == (found["where"], len(found["rules"][0]["samples"]))
    assert "\x1b[31m[bold]red" in found["rules"][0]["samples"][0]["raw"]


@pytest.mark.parametrize(
    ("option", "typo", "named"),
    [("--feed", "haevy", "no feed 'haevy'; it has: "), ("--rule", "minmum", "rows were by: minimum")],
)
def test_a_name_that_is_not_there_is_refused(
    world: World, capsys: pytest.CaptureFixture[str], option: str, typo: str, named: str
) -> None:
    """A misspelt feed or rule is no quarantine without rows; the names that there are are told."""
    assert 2 == exit_code("quarantine", name(world, DEGRADED), option, typo)
    printed = " ".join(capsys.readouterr().err.split())
    assert named in printed
    assert option in printed


@pytest.mark.parametrize("number", [DEGRADED, OPEN])
def test_all_rows_go_to_a_file(
    world: World, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole, with a header, from the table or from staging; nothing else is left beside it."""
    file = tmp_path / "rows.csv"
    command("quarantine", name(world, number), "--csv", str(file), "--output", "json")
    assert {"file": str(file), "rows": 2} == told(capsys)
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert ["b,-1,\x1b[31m[bold]red", "c,-2,c"] == [row["raw"] for row in rows]
    assert ["feed", "rule", "origin", "position", "column", "reason", "raw"] == list(rows[0])
    assert [file] == list(tmp_path.iterdir())


def test_a_link_stays_and_what_it_leads_to_is_written(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows go to the file behind a link, whole, and nothing is left beside either."""
    behind, link = tmp_path / "behind" / "rows.csv", tmp_path / "rows.csv"
    behind.parent.mkdir()
    behind.write_text("old")
    link.symlink_to(behind)
    command("quarantine", name(world, DEGRADED), "--csv", str(link), "--output", "json")
    assert {"file": str(link), "rows": 2} == told(capsys)
    assert (behind, 3) == (link.readlink(), len(behind.read_text().splitlines()))
    assert [[behind], [behind.parent, link]] == [
        sorted(folder.iterdir()) for folder in (behind.parent, tmp_path)
    ]


def test_a_pipe_gets_the_rows_and_stays(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there and no file is written into, not replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    command("quarantine", name(world, DEGRADED), "--csv", str(pipe))
    written = os.read(reader, 10_000).decode()
    os.close(reader)
    assert "2 rows are written" in capsys.readouterr().out
    assert (True, 3) == (pipe.is_fifo(), len(written.splitlines()))


def test_rows_that_can_not_be_read_are_not_blamed_on_the_file(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal is about the run, and no file is left."""
    staged = [file for file in (world.folder / "staging").rglob("*quarantine*") if file.is_file()]
    of_run = [file for file in staged if world.key(OPEN).run_id in str(file)] or staged
    for file in of_run:
        file.rename(f"{file}.away")
        file.mkdir()
    try:
        code = exit_code("quarantine", name(world, OPEN), "--csv", str(tmp_path / "rows.csv"))
    finally:
        for file in of_run:
            file.rmdir()
            Path(f"{file}.away").rename(file)
    printed = capsys.readouterr().err
    assert (2, []) == (code, list(tmp_path.iterdir()))
    assert ("rows can't be read" in printed, "--csv" in printed) == (True, False)


def test_a_target_is_only_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks at rows can't write to the database that they were published to."""
    asks = {"published_feeds": "SELECT current_setting('transaction_read_only')"}
    monkeypatch.setattr(quarantine, "_SQL", asks)
    assert {"on"} == PATIENT_READER("orchestration_default").quarantine.feeds(TABLE, world.key(DEGRADED))


def test_explain_reads_a_run_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tells is of one moment."""
    asked: list[RunKey] = []
    real = Readings.run
    monkeypatch.setattr(Readings, "run", lambda self, key: asked.append(key) or real(self, key))
    command("explain", name(world, DEGRADED))
    assert [world.key(DEGRADED)] == asked


def test_explain_says_that_older_decisions_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no more than the newest are read, nobody takes them for all."""
    command("explain", name(world, DEGRADED))
    assert "older decisions" not in capsys.readouterr().out
    monkeypatch.setattr(readings, "MOST_DECISIONS", 2)
    monkeypatch.setattr(run_views, "MOST_DECISIONS", 2)
    command("explain", name(world, DEGRADED))
    assert "There may be older decisions than these" in capsys.readouterr().out


def test_a_file_that_can_not_be_written_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option is named, and the path."""
    nowhere = tmp_path / "nowhere" / "rows.csv"
    assert 2 == exit_code("quarantine", name(world, DEGRADED), "--csv", str(nowhere))
    assert f"--csv: 1 problem; nothing was changed.\n  {nowhere} can't be written" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["explain", "manifest", "quarantine", "reconcile"])
def test_an_unknown_run_is_refused_with_those_that_are_there(
    world: World, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest first; a Dag of which nothing is known is told as well, and so is what is no name."""
    assert 2 == exit_code(what, "things/\x1b[2J")
    known = ", ".join(world.key(number).run_id for number in (COMPLETE, LATE, OPEN, DEGRADED))
    refused = capsys.readouterr()
    assert r"no run '\x1b[2J' of things; the newest of this Dag are: " + known in refused.err
    assert ("", False) == (refused.out, "\x1b" in refused.err)
    assert 2 == exit_code(what, "nobody/1")
    assert "it knows none of this Dag" in capsys.readouterr().err
    assert 2 == exit_code(what, "things")
    assert "'things' names no run; write it as dag_id/run_id" in capsys.readouterr().err


@pytest.fixture
def asset() -> Iterator[int]:
    """The table as an asset that Airflow knows: its id."""
    with_airflows_tables()
    with Session(settings.engine) as session:
        known = AssetModel(name=TABLE, uri=f"orchestration://x/{TABLE}", group="asset")
        session.add_all([known, AssetActive(name=known.name, uri=known.uri)])
        session.commit()
        yield known.id
        for table in (AssetEvent, AssetActive, AssetModel):
            session.execute(delete(table))
        session.commit()


def test_reconcile_merges_what_came_late(
    world: World, asset: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, with an asset event that bears the manifest; a second time there is nothing, for the Dag as well."""
    command("reconcile", name(world, LATE))
    printed = capsys.readouterr()
    assert "reconciled light as version 2: 1 rows added, 0 changed, 0 withdrawn" in printed.out
    assert "PUBLISHED: " in printed.out
    assert "" == printed.err
    assert 1 == exit_code("reconcile", name(world, LATE), "--output", "json")
    assert not told(capsys)["merged"]
    assert world.reconcile(LATE, failed_too=True) is None
    with Session(settings.engine) as session:
        [event] = session.scalars(select(AssetEvent).where(AssetEvent.asset_id == asset)).all()
        assert (2, world.key(LATE).run_id) == (event.extra["version"], event.extra["run_id"])
        assert [f"{TABLE} late"] == [alias.name for alias in event.source_aliases]


@pytest.mark.parametrize("number", [DEGRADED, OPEN, COMPLETE])
def test_nothing_to_merge_has_an_exit_code(
    world: World, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing has not come, the run has published nothing yet, or everything is in."""
    before = world.store.manifest(world.key(number))
    assert 1 == exit_code("reconcile", name(world, number))
    assert f"{name(world, number)}: there is nothing to merge yet." in capsys.readouterr().out
    assert world.store.manifest(world.key(number)) == before


def test_a_table_that_airflow_does_not_know_is_told() -> None:
    """What is published stays published, and the person knows what did not follow."""
    with_airflows_tables()
    assert {"public.other": "Airflow knows no asset of this name"} == tell_assets(["public.other"], {})
