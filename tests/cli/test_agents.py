"""What `airflow orchestration agents` does to the job registry, and what it prints."""

from __future__ import annotations

import getpass
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow import settings
from airflow.models.dag import DagModel
from sqlalchemy import update
from sqlalchemy.orm import Session

from airflow_orchestration.cli.commands import get_cli_commands
from tests.registered_jobs import (
    CONTRACT,
    connect_airflow,
    dag_of_another_bundle,
    only_in_airflows_database,
    specification,
    store_of,
    with_airflows_tables,
)

Command = Callable[..., str]


def parsed(words: list[str]) -> Namespace:
    """The arguments as Airflow's command line would read them, and the name of the command."""
    (group,) = get_cli_commands()
    (of_agents,) = [command for command in group.subcommands if command.name == "agents"]
    parser = ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    for command in of_agents.subcommands:
        known = commands.add_parser(command.name)
        for argument in command.args:
            argument.add_to_parser(known)
        known.set_defaults(func=command.func)
    return parser.parse_args(words)


@pytest.fixture
def run(migrated: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command against a fresh registry and returns what it printed; `expected` is its exit code."""
    connect_airflow(migrated, monkeypatch)
    with_airflows_tables()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # whatever a command sets is gone after the test
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")

    def command(*words: object, expected: int = 0) -> str:
        arguments = parsed([str(word) for word in words])
        if expected:
            with pytest.raises(SystemExit) as ended:
                arguments.func(arguments)
            assert expected == ended.value.code
            refused = capsys.readouterr()
            return refused.err or refused.out
        arguments.func(arguments)
        return capsys.readouterr().out

    return command


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's file with its contract beside it."""
    return written(tmp_path / "sales.yaml")


def written(path: Path, **changes: Any) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(specification(path.parent.name if path.parent.name == "south" else "north", **changes))
    (path.parent / "sales.odcs.yaml").write_text(CONTRACT)
    return path


def test_a_job_is_put_shown_and_listed(run: Command, job: Path) -> None:
    """The Dag's id and the revision are told; what is kept is what was in the files."""
    assert "north__sales is kept as revision 1" in run("put", "north", "sales", job)
    assert "Nothing to do: north__sales is so since revision 1" in run("put", "north", "sales", job)
    listed = run("list")
    assert all(word in listed for word in ("north__sales", getpass.getuser(), "revision", "at (UTC)"))
    shown = run("show", "north", "sales")
    assert f"# sales.yaml, revision 1\n{job.read_text()}" in shown
    assert f"# sales.odcs.yaml, revision 1\n{CONTRACT}" in shown


def test_history_tells_who_changed_what(run: Command, job: Path) -> None:
    """Each change with its author, removals too, and a job as it was can be shown again."""
    run("put", "north", "sales", job, "--by", "[bold]first[/bold]")
    written(job, description="new")
    run("put", "north", "sales", job, "--by", "second")
    assert "removed with revision 3" in run("remove", "north", "sales", "--by", "third")
    told = run("history", "north")
    assert all(word in told for word in ("[bold]first[/bold]", "second", "third", "removed"))
    assert "There are no jobs." in run("list")
    assert "Sales of a day" in run("show", "north", "sales", "--revision", 1)
    assert "north__sales" in run("list", "--revision", 2)


def test_a_removal_warns_of_what_it_does(run: Command, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the answer, which other programs read, stands what becomes of runs, and the remedy."""
    run("put", "north", "sales", job)
    arguments = parsed(["remove", "north", "sales", "--output", "json"])
    arguments.func(arguments)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["is_removed"]
    assert "The Dag north__sales goes when the bundle is refreshed next" in printed.err
    assert "put the job back now, without its schedule" in printed.err


def test_other_programs_read_json(run: Command, job: Path) -> None:
    """Every command can answer in JSON."""
    put = json.loads(run("put", "north", "sales", job, "--by", "a", "--output", "json"))
    assert (1, "north__sales", "a", False) == tuple(
        put[name] for name in ("revision", "dag_id", "changed_by", "is_removed")
    )
    assert [put] == json.loads(run("list", "north", "--output", "json"))
    assert [] == json.loads(run("list", "south", "--output", "json"))
    assert [put] == json.loads(run("history", "north", "sales", "--output", "json"))
    shown = json.loads(run("show", "north", "sales", "--output", "json"))
    assert {**put, "files": {"sales.yaml": job.read_text(), "sales.odcs.yaml": CONTRACT}} == shown
    assert json.loads(run("remove", "north", "sales", "--output", "json"))["is_removed"]


def test_a_bad_job_is_refused_with_every_problem(run: Command, job: Path, migrated: str) -> None:
    """The exit code is that of a bad input, and the registry stays as it was."""
    written(job, publish={"table": "south.sales"}, staging="/etc", schedule="61 * * * *")
    told = run("put", "north", "sales", job, expected=2)
    assert all(
        word in told for word in ("sales.yaml staging", "sales.yaml publish.table", "nothing was changed")
    )
    written(job, schedule="61 * * * *")
    assert "sales.yaml schedule: Airflow can't read it" in run("put", "north", "sales", job, expected=2)
    with store_of(migrated) as store:
        assert 0 == store.registry.revision()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("put", "north", "sales", "nowhere.yaml"), "can't be read"),
        (("put", "North", "sales", "{job}"), "'North' is no name"),
        (("put", "north", "sales", "{job}", "--contract", "nowhere"), "can't be read"),
        (("put", "north", "sales", "{job}", "--by", "a\nb"), "changed_by"),
        (("remove", "north", "sales"), "is not in the job registry"),
        (("show", "north", "sales"), "is not in the job registry"),
        (("show", "north", "sales", "--revision", "999"), "--revision: 1 problem"),
        (("list", "--revision", "999"), "the job registry has no revision 999"),
        (("capacity", "north", "--cpu", "1"), "together"),
        (("capacity", "north", "--none", "--cpu", "1"), "together"),
    ],
)
def test_what_can_not_be_done_is_said(run: Command, job: Path, words: tuple[str, ...], told: str) -> None:
    """The message names the place and what to do; the exit code is 2."""
    assert told in run(*(word.format(job=job) for word in words), expected=2)


def test_the_contract_beside_is_found(run: Command, job: Path) -> None:
    """It is the one that the specification names, unless another file is given, and never one elsewhere."""
    other = job.parent / "other.yaml"
    other.write_text(CONTRACT.replace("Sales", "Others"))
    run("put", "north", "sales", job, "--contract", other)
    assert "Others" in run("show", "north", "sales")
    written(job, contract="../sales.odcs.yaml")
    assert "names no contract file beside it" in run("put", "north", "sales", job, expected=2)


def test_a_folder_is_checked(run: Command, tmp_path: Path) -> None:
    """Every bad job of a folder is told with its problems, those of its contract too; the good ones are counted."""
    written(tmp_path / "north" / "sales.yaml")
    written(tmp_path / "south" / "sales.yaml", owner=3)
    shared = ("--shared-conn-id", "orchestration_default")
    told = run("check", tmp_path, *shared, expected=2)
    assert "south/sales.yaml\n  owner: must be a valid string" in told
    assert "2 jobs, 1 refused" in told
    (tmp_path / "south" / "sales.yaml").unlink()
    (tmp_path / "north" / "sales.odcs.yaml").write_text("kind: [")
    checked = json.loads(run("check", tmp_path, *shared, "--output", "json", expected=2))
    assert (1, ["north/sales.yaml"]) == (checked["jobs"], list(checked["refused"]))
    written(tmp_path / "north" / "sales.yaml")
    assert "1 job, 0 refused" in run("check", tmp_path, *shared)


def test_a_contract_that_is_at_fault_is_named(run: Command, tmp_path: Path) -> None:
    """What is wrong with a contract, that it is not there too, is not told of the job's own file."""
    written(tmp_path / "north" / "sales.yaml")
    check = ("check", tmp_path, "--shared-conn-id", "orchestration_default")
    (tmp_path / "north" / "sales.odcs.yaml").write_text("kind: [")
    assert "\n  sales.odcs.yaml: line 2: " in run(*check, expected=2)
    (tmp_path / "north" / "sales.odcs.yaml").unlink()
    missing = "contract: sales.odcs.yaml is not beside the job's file"
    assert f"north/sales.yaml\n  {missing}" in run(*check, expected=2)
    assert missing in run("put", "north", "sales", tmp_path / "north" / "sales.yaml", expected=2)


def test_who_only_looks_is_told_nothing_of_changes(run: Command, tmp_path: Path) -> None:
    """A command that could have changed nothing says what is wrong, and no more."""
    told = run("check", tmp_path, "--data", "data", expected=2)
    assert told.startswith(
        "--data: 1 problem.\n  data 'data' depends on where Airflow was started; give a full path"
    )
    assert "--revision: 1 problem.\n" in run("list", "--revision", "999", expected=2)


@pytest.mark.parametrize("tenant", ["North", "o'neil", "pg_south", "public"])
def test_capacity_is_of_a_tenant_that_can_be_one(run: Command, tenant: str) -> None:
    """The rule for names is that of jobs: a misspelt tenant would have a limit that holds for nobody."""
    limit = ("--cpu", "1", "--memory-mb", "512", "--connections", "1")
    assert f"{tenant!a} is " in run("capacity", tenant, *limit, expected=2)
    assert tenant not in run("capacity")


def test_no_cpu_is_no_limit(run: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The least that can be lent is a thousandth of a CPU, and the refusal says so."""
    run("capacity", expected=0)
    with pytest.raises(SystemExit):
        parsed(["capacity", "--cpu", "0"])
    assert "'0' is not a number of CPUs, 0.001 or more" in capsys.readouterr().err


def test_capacity_is_set_shown_and_lifted(run: Command) -> None:
    """For all together and for each tenant, which has half when nothing was set; what is left out is not changed."""
    assert "all together" in run("capacity")
    told = run("capacity", "north", "--cpu", "0.5", "--memory-mb", "1024", "--connections", "0")
    assert all(word in told for word in ("north", "0.5", "1,024"))
    limits = json.loads(run("capacity", "--output", "json"))
    assert {"cpu_millicores": 500, "memory_mb": 1024, "connections": 0} == limits["north"]
    assert all(word in run("capacity", "north", "--none") for word in ("north", "32", "131,072", "500"))
    assert "north" not in run("capacity")


def test_a_connection_of_airflows_database_is_found(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was added under Admin, Connections, is known to the commands as it is to a task."""
    with only_in_airflows_database(monkeypatch):
        monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
        assert "There are no jobs." in run("list")


def test_a_dag_of_another_bundle_is_not_taken(run: Command, job: Path, migrated: str) -> None:
    """A job whose Dag Airflow has from elsewhere is refused with where that is; one that is gone there is not."""
    with dag_of_another_bundle("north__sales"):
        told = run("put", "north", "sales", job, expected=2)
        assert "Dag north__sales" in told
        assert "from the bundle folder" in told
        with store_of(migrated) as store:
            assert 0 == store.registry.revision()
        with Session(settings.engine) as session:
            session.execute(update(DagModel).values(is_stale=True))
            session.commit()
        assert "is kept as revision 1" in run("put", "north", "sales", job)


def test_who_has_no_name_gives_one(run: Command, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may be a mere number: the command says how to name oneself."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert "--by: must say who" in run("put", "north", "sales", job, expected=2)
    assert "revision 1" in run("put", "north", "sales", job, "--by", "me")
