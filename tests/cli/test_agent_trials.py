"""`airflow orchestration agents simulate`, as its command line calls it."""

from __future__ import annotations

import json
from argparse import ArgumentParser

import pytest

from airflow_orchestration.cli.agent_trials import simulate
from airflow_orchestration.cli.commands import get_cli_commands


def run(*options: str) -> None:
    [group] = get_cli_commands()
    [agents] = [it for it in group.subcommands if it.name == "agents"]
    [command] = [it for it in agents.subcommands if it.name == "simulate"]
    parser = ArgumentParser()
    for argument in command.args:
        argument.add_to_parser(parser)
    simulate(parser.parse_args(options))


def test_simulate_prints_what_learning_gains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each way to believe, and what becomes of templates with a bad day."""
    monkeypatch.setenv("COLUMNS", "160")
    run("--settings", "1", "--seed", "1")
    printed = capsys.readouterr().out

    assert "1,200 batches in 1 drawn settings" in printed
    assert [line.split()[0] for line in printed.splitlines()[2:5]] == ["always", "learned", "known"]
    assert "is chosen again the next day" in printed


def test_simulate_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures for a pipe; the same seed gives the same."""
    run("--settings", "1", "--output", "json")
    first = json.loads(capsys.readouterr().out)
    run("--settings", "1", "--output", "json", "--seed", "1")

    assert first == json.loads(capsys.readouterr().out)
    assert (1200, 1) == (first["batches"], first["one_bad_day"]["chosen_again_after_days"])
    assert first["gained"]["mean"] == first["successes"]["learned"] - first["successes"]["constant"]
