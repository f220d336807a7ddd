from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli.commands import get_cli_commands
from airflow_orchestration.insights.recorded_gate import gates_in
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from tests.corpus.record import CORPUS
from tests.corpus.rounds import play_round, spec_of

Command = Callable[..., None]
ARRIVALS = """
feeds:
  vega: {weight: 3, required: true, median_seconds: 600, spread: 1.5, never_share: 0.02}
  lyra: {seconds: [280, 300, 1900]}
"""


def command(name: str, *options: str) -> None:
    """Run a command as Airflow's command line does."""
    found = next(known for known in get_cli_commands()[0].subcommands if known.name == name)
    parser = ArgumentParser()
    for argument in found.args:
        argument.add_to_parser(parser)
    found.func(parser.parse_args(options))


def exit_code(name: str, *options: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        command(name, *options)
    return ended.value.code


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is folded that a test looks for."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture
def gates(migrated: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection of a store in which four of ten gates opened without `slow`, which came a moment later."""
    parts = conninfo_to_dict(migrated)
    document = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_TEST_STORE", json.dumps(document))
    spec = spec_of({"quick": {"weight": 3}, "slow": {}}, floor=0.75, grace_period=0)
    with PostgresStore(lambda: psycopg.connect(migrated)) as store:
        for number in range(10):
            late = {"slow": "success"} if number < 4 else {}
            ended = {"quick": "success"} if late else {"slow": "success", "quick": "success"}
            play_round(store, RunKey(dag_id="night", run_id=f"run_{number}"), spec, ended=ended, late=late)
        play_round(store, RunKey(dag_id="other", run_id="1"), spec, ended={"quick": "failed"})
    return "test_store"


def test_replay_verifies_what_the_store_has(gates: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every decision in the store comes out the same on the present code."""
    command("replay", "--conn-id", gates)

    assert "11 of 11 recorded decisions come out the same" in capsys.readouterr().out


def test_replay_chooses_gates(gates: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By Dag, and by time."""
    command("replay", "--conn-id", gates, "--dag-id", "other")
    command("replay", "--conn-id", gates, "--since", "2200-01-01")
    printed = capsys.readouterr().out

    assert "1 of 1 recorded" in printed
    assert "0 of 0 recorded" in printed


def test_export_and_file_are_one_road(gates: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --export writes, --file reads, and both say the same."""
    path = tmp_path / "gates.jsonl"
    policy = ("--dag-id", "night", "--grace-period", "none", "--output", "json")
    command("replay", "--conn-id", gates, "--export", str(path))
    capsys.readouterr()
    command("replay", "--conn-id", gates, *policy)
    from_store = capsys.readouterr().out
    command("replay", "--file", str(path), *policy)

    assert from_store == capsys.readouterr().out
    assert 11 == len(gates_in(path.read_text().splitlines(), subject="the export"))


def test_another_policy_is_tried_on_the_store(gates: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a grace period the gates that opened too early take in `slow`, and more rows."""
    command("replay", "--conn-id", gates, "--dag-id", "night", "--grace-period", "none")
    printed = capsys.readouterr().out

    assert "With no grace period: 4 of 10 gates change" in printed
    assert "4 x conditional proceed -> proceed to data merge" in printed
    assert "night/run_0, round 1" in printed
    assert "75.0% → 100.0%" in printed
    assert "100 → 200" in printed
    assert "night/run_9" not in printed


def test_what_was_not_recorded_is_called_unknown(gates: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate that gave up for a failed feed would have waited for one that nobody has seen."""
    command("replay", "--conn-id", gates, "--dag-id", "other", "--floor", "0.25", "--output", "json")
    told = json.loads(capsys.readouterr().out)

    assert (1, 0) == (told["summary"]["unknown"], told["summary"]["changed"])
    assert [["slow"]] == [gate["unknown"] for gate in told["gates"]]


def test_replay_names_a_decision_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that says something else ends with an exit code of its own, and the gate's name."""
    first, second = (json.loads(line) for line in CORPUS.read_text().splitlines()[:2])
    first["decision"]["evidence"]["arrived"] += 1
    path = tmp_path / "gates.jsonl"
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")

    assert 1 == exit_code("replay", "--file", str(path))
    printed = capsys.readouterr().out
    assert "1 of 2 recorded decisions come out the same" in printed
    assert f"{first['dag_id']}/{first['run_id']}, round 1 differs" in printed
    assert "evidence.arrived: recorded" in printed

    assert 1 == exit_code("replay", "--file", str(path), "--floor", "0.5")
    assert "of 1 gates change" in capsys.readouterr().out


def test_the_corpus_is_read_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Stand-alone decisions among it, and with another policy too."""
    command("replay", "--file", str(CORPUS))
    command("replay", "--file", str(CORPUS), "--deadline", "3600", "--floor", "0.5")
    printed = capsys.readouterr().out

    count = len(CORPUS.read_text().splitlines())
    assert f"{count} of {count} recorded decisions come out the same" in printed
    assert "With floor 0.5, deadline 3600 s" in printed
    assert "and in no figure below" in printed


def test_simulate_draws_from_the_store(gates: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With several policies side by side, as plain data, and the same again for the same seed."""
    options = ("--conn-id", gates, "--dag-id", "night", "--runs", "500", "--output", "json")
    several = ("--grace-period", "none", "--grace-period", "0", "--floor", "0.75", "--floor", "1")
    command("simulate", *options, *several)
    first = capsys.readouterr().out
    command("simulate", *options, *several)
    again = capsys.readouterr().out
    results = json.loads(first)

    assert first == again
    assert [(0.75, None), (0.75, 0.0), (1.0, None), (1.0, 0.0)] == [
        (result["floor"], result["grace_period_seconds"]) for result in results
    ]
    assert [{"proceed_to_data_merge": 1.0}] * 3 == [results[index]["actions"] for index in (0, 2, 3)]
    assert "conditional_proceed" in results[1]["actions"]


def test_simulate_draws_from_given_arrivals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line per policy and says what must be known to read it."""
    path = tmp_path / "arrivals.yaml"
    path.write_text(ARRIVALS)
    command("simulate", "--arrivals", str(path), "--deadline", "1200", "--deadline", "2400", "--runs", "300")
    printed = capsys.readouterr().out

    assert "300 runs of 2 feeds" in printed
    assert "1200 s" in printed
    assert "2400 s" in printed
    assert "Each feed is drawn by itself" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("replay", "--file", "nowhere.jsonl"), "nowhere.jsonl can't be read"),
        (("replay", "--file", "x", "--since", "2026-11-22"), "a file is taken as it is"),
        (("replay", "--conn-id", "nowhere"), "connection nowhere"),
        (("simulate", "--arrivals", "x.yaml", "--dag-id", "a"), "goes without --file, --dag-id and --since"),
        (("simulate", "--arrivals", "nowhere.yaml"), "file nowhere.yaml"),
        (("simulate", "--file", str(CORPUS)), "catalogue, morning, night; choose one with --dag-id"),
        (("simulate", "--file", str(CORPUS), *["--floor", "1"] * 51), "give at most 50"),
    ],
)
def test_bad_input_is_refused(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit code of its own, and what to do about it."""
    assert 2 == exit_code(*options)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--floor", "75", "'75' is not a share from 0 to 1"),
        ("--floor", "nan", "'nan' is not a share"),
        ("--deadline", "0", "leaves no time"),
        ("--deadline", "inf", "is not seconds"),
        ("--grace-period", "never", "`none` to hold to the deadline"),
        ("--since", "yesterday", "is no moment"),
    ],
)
def test_bad_options_are_refused(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    assert 2 == exit_code("replay", option, value)
    assert message in capsys.readouterr().err


def test_given_arrivals_need_a_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They come without a policy; the option is named."""
    path = tmp_path / "arrivals.yaml"
    path.write_text(ARRIVALS)

    assert 2 == exit_code("simulate", "--arrivals", str(path))
    assert "name a --deadline" in capsys.readouterr().err
