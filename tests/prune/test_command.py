"""`airflow orchestration prune`: what it tells, and what it refuses."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import timedelta

import pytest
from psycopg.conninfo import make_conninfo

from airflow_orchestration.cli.values import age
from tests.cli.commands import airflow_connection, command, exit_code
from tests.prune.conftest import Kept


@pytest.fixture(autouse=True)
def _connected(two_old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with two_old.connect() as connection:
        dsn = connection.info.dsn
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", airflow_connection(dsn))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")


def test_it_tells_what_it_would_delete_and_then_deletes_it(
    two_old: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON and for people: runs, rows by table, files, and what publications left."""
    options = ("--older-than", "90d", "--target", "orchestration_default", "--quarantined-rows")
    command("prune", *options, "--dry-run", "--output", "json")
    told = json.loads(capsys.readouterr().out)
    old = [two_old.world.key(number) for number in (0, 1)]
    assert [{"dag_id": run.dag_id, "run_id": run.run_id} for run in old] == told["runs"]
    assert 2 == told["rows"]["run"]
    assert {"orchestration_default": {"scratch": [], "quarantined": 0}} == told["targets"]
    command("prune", *options)
    printed = capsys.readouterr().out
    files = told["staging"]["files"]
    assert printed.startswith(
        f"Deleted 2 runs with {sum(told['rows'].values())} rows, and {files} staged files of 0.0 MB."
    )
    assert f"timeline  {told['rows']['timeline']:>14}".split() in [
        line.split() for line in printed.splitlines()
    ]
    command("prune", *options)
    assert capsys.readouterr().out.startswith("Deleted 0 runs with 0 rows, and 0 staged files")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--older-than", "6d"), "6d is too young: degraded runs of the last 7 days are still repaired"),
        (("--older-than", "90d", "--quarantined-rows"), "names no database; add --target CONN_ID"),
    ],
)
def test_what_would_harm_is_refused(
    two_old: Kept, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    """Nothing is deleted then."""
    before = two_old.rows()
    assert 2 == exit_code("prune", *options)
    assert message in capsys.readouterr().err
    assert before == two_old.rows()


@pytest.mark.parametrize("fault", ["typo", "down", "not migrated"])
def test_nothing_is_deleted_when_a_target_can_not_be_pruned(
    two_old: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """Every target is opened first, the last one too."""
    with two_old.connect() as connection:
        dsn = connection.info.dsn
    if fault == "down":
        monkeypatch.setenv("AIRFLOW_CONN_LAST", airflow_connection(make_conninfo(dsn, host="/nowhere")))
    if fault == "not migrated":
        monkeypatch.setenv("AIRFLOW_CONN_LAST", airflow_connection(make_conninfo(dsn, dbname="postgres")))
    before, files = two_old.rows(), two_old.files()
    targets = ("--target", "orchestration_default", "--target", "last")
    assert 2 == exit_code("prune", "--older-than", "90d", *targets)
    told = {
        "typo": "is not defined",
        "down": "No such file or directory",
        "not migrated": "lacks the migrations",
    }
    assert told[fault] in capsys.readouterr().err
    assert (before, files) == (two_old.rows(), two_old.files())


def test_a_dag_that_the_store_never_knew_is_refused(
    two_old: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo deletes nothing, and says so; a Dag whose runs are all pruned is no typo."""
    before = two_old.rows()
    assert 2 == exit_code("prune", "--older-than", "90d", "--dag-id", "thing")
    assert "the store knows no run of 'thing', and never did" in capsys.readouterr().err
    assert before == two_old.rows()
    with two_old.connect() as connection:
        connection.execute("INSERT INTO orchestration.pruned_run (dag_id, run_id) VALUES ('thing', 'old')")
    command("prune", "--older-than", "90d", "--dag-id", "thing")


def test_a_place_that_is_gone_is_told_until_it_is_forgotten(
    two_old: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 while it is not; a place where no run keeps files is refused."""
    with two_old.connect() as it:
        it.execute(
            "INSERT INTO orchestration.pruned_run (dag_id, run_id, staging) VALUES ('a', 'b', 's3://gone@it/x')"
        )
    assert 1 == exit_code("prune", "--older-than", "90d")
    assert "If it is gone for good: --forget s3://gone@it/x" in capsys.readouterr().err
    assert 2 == exit_code("prune", "--older-than", "90d", "--forget", "s3://gone")
    told = capsys.readouterr().err
    assert "no run keeps files in 's3://gone'; the places are: " in told
    assert "'s3://gone@it/x'" in told
    for _ in range(2):  # a command that somebody repeats, or has in a Dag, goes on
        command("prune", "--older-than", "90d", "--forget", "s3://gone@it/x")
    command("prune", "--older-than", "90d")


@pytest.mark.parametrize("name", ["explain", "manifest", "reconcile", "quarantine"])
def test_a_pruned_run_is_told_as_such(two_old: Kept, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Not as one that never was."""
    run = two_old.world.key(0)
    two_old.prune()
    assert 2 == exit_code(name, f"{run.dag_id}/{run.run_id}")
    assert f"run '{run.run_id}' of {run.dag_id} was pruned on 20" in capsys.readouterr().err


def test_an_age_is_written_in_days_or_weeks() -> None:
    """Anything else is refused with an example."""
    assert (timedelta(days=90), timedelta(weeks=12)) == (age("90d"), age("12w"))
    for text in ("90", "d", "1.5d", "-9d", "90 d", "٣d", "9999999d", "3m"):
        with pytest.raises(ArgumentTypeError, match="such as 90d"):
            age(text)
