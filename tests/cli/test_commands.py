from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from shutil import copytree
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli import handlers
from airflow_orchestration.cli.commands import get_cli_commands
from demo.scenarios import Landing, Scenario, truncated

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """The demo's pipeline file, with all six lists landed."""
    copytree(REPOSITORY / "dags", tmp_path / "dags")
    Scenario(Landing(tmp_path / ".orchestration" / "landing")).before()
    return tmp_path / "dags" / "airport_reference.yaml"


@pytest.fixture
def connection(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of an Airflow connection to a fresh database."""
    parts = conninfo_to_dict(database)
    document = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_TEST_TARGET", json.dumps(document))
    return "test_target"


def arguments(pipeline: Path, **changes: Any) -> Namespace:
    return Namespace(
        **{"pipeline": str(pipeline), "conf": "{}", "output": None, "publish_to": None, **changes}
    )


def test_try_prints_plan_verdict_and_manifest(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`try` runs a pipeline file in one process, and writes rows, quarantine and manifest."""
    handlers.try_pipeline(arguments(pipeline, output=str(tmp_path / "out")))
    printed = capsys.readouterr().out

    assert "Round 1" in printed
    assert "proceed_to_data_merge because all_arrived" in printed
    assert "PUBLISHED: 10252 rows from 6 of 6 feeds" in printed
    assert "A trial: no table was written." in printed
    assert {"rows.parquet", "manifest.json", "quarantine-vega.parquet"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_try_publishes_to_a_named_connection(pipeline: Path, connection: str, database: str) -> None:
    """With a connection, the rows are published there by the same exactly-once protocol."""
    handlers.migrate(Namespace(conn_id=connection, output="table"))
    with psycopg.connect(database) as opened:
        opened.execute("CREATE SCHEMA reference")
    handlers.try_pipeline(arguments(pipeline, publish_to=connection))
    with psycopg.connect(database) as opened:
        rows = opened.execute("SELECT count(*) FROM reference.airport").fetchone()
        ledger = opened.execute("SELECT rows_published FROM orchestration.publish_ledger").fetchone()

    assert (10252,) == rows == ledger


def test_try_exits_1_when_nothing_is_published(pipeline: Path, tmp_path: Path) -> None:
    """A run that publishes nothing is told by its exit code, and leaves what was put aside."""
    landing = Landing(pipeline.parent.parent / ".orchestration" / "landing")
    for feed in ("ourairports", "iata_codes", "aircodes"):
        landing.deliver(feed, change=truncated)
    with pytest.raises(SystemExit) as ended:
        handlers.try_pipeline(arguments(pipeline, output=str(tmp_path / "out")))

    assert 1 == ended.value.code
    assert {"manifest.json", "quarantine-vega.parquet"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("{", "--conf: 1 problem"),
        ('{"sync_floor": 75}', "sync_floor: must be a share from 0 to 1: write 0.75"),
        ('{"batches": [{"id": "nobody"}]}', "batches[0].id: there is no feed 'nobody'"),
    ],
)
def test_try_refuses_bad_conf(
    pipeline: Path, conf: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad conf is refused with its path, and with an exit code of its own."""
    with pytest.raises(SystemExit) as ended:
        handlers.try_pipeline(arguments(pipeline, conf=conf))

    assert 2 == ended.value.code
    assert message in capsys.readouterr().err


def test_target_is_refused_before_anything_runs(
    pipeline: Path, connection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that was not migrated is refused, with the command that mends it."""
    with pytest.raises(SystemExit) as ended:
        handlers.try_pipeline(arguments(pipeline, publish_to=connection))

    assert 2 == ended.value.code
    assert "airflow orchestration migrate" in capsys.readouterr().err


def test_missing_connection_is_named(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that does not exist is refused by name."""
    with pytest.raises(SystemExit) as ended:
        handlers.try_pipeline(arguments(pipeline, publish_to="nowhere"))

    assert 2 == ended.value.code
    assert "connection nowhere" in capsys.readouterr().err


def test_connection_extras_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An extra that could send a password elsewhere is refused by name, its value unsaid."""
    document = {"conn_type": "postgres", "host": "db", "extra": {"host": "evil", "options": "-c x=S3CRET"}}
    monkeypatch.setenv("AIRFLOW_CONN_EXTRAS", json.dumps(document))
    with pytest.raises(SystemExit):
        handlers.migrate(Namespace(conn_id="extras", output="table"))
    printed = capsys.readouterr().err

    assert "extra.host" in printed
    assert "extra.options" in printed
    assert "S3CRET" not in printed


def test_migrate_is_idempotent(connection: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The second migration has nothing to do."""
    handlers.migrate(Namespace(conn_id=connection, output="table"))
    handlers.migrate(Namespace(conn_id=connection, output="table"))

    assert "Nothing to do" in capsys.readouterr().out


def test_commands_are_airflows() -> None:
    """The provider adds one group with its commands to Airflow's command line."""
    group = get_cli_commands()[0]
    parser = ArgumentParser()
    for argument in next(command for command in group.subcommands if command.name == "try").args:
        argument.add_to_parser(parser)

    names = [
        "validate",
        "plan",
        "try",
        "migrate",
        "prune",
        "roles",
        "explain",
        "manifest",
        "quarantine",
        "reconcile",
    ]
    names += ["trust", "try-trust", "agents", "replay", "simulate"]
    assert ("orchestration", names) == (
        group.name,
        [command.name for command in group.subcommands],
    )
    assert "p.yaml" == parser.parse_args(["p.yaml"]).pipeline
