"""What people write and get wrong: each is told what it is, where, and what helps, and nothing has changed."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input.declared import command, conf, jobs, pipeline
from tests.bad_input.rows import Row, answer_of, check, each_row


@each_row("conf")
def test_a_conf_is_told_what_is_wrong_with_it(row: Row) -> None:
    """The first task of a run refuses it with a code, a path and a remedy, or takes it for what it says."""
    check(row, answer_of(lambda: conf(row.given)))


@each_row("pipeline")
def test_a_pipeline_file_is_told_what_is_wrong_with_it(row: Row, tmp_path: Path) -> None:
    """Reading it, or its contract, tells everything at once."""
    check(row, answer_of(lambda: pipeline(row.given, tmp_path)))


@each_row("jobs")
def test_a_bad_job_stops_no_other(row: Row, tmp_path: Path) -> None:
    """Of a tenant's folder the bad job is refused, and all others are Dags."""
    check(row, answer_of(lambda: jobs(row.given, tmp_path)))


@each_row("commands")
def test_a_command_is_told_what_is_wrong_with_it(row: Row, tmp_path: Path) -> None:
    """What a person gives at the command line is refused before anything is done."""
    check(row, answer_of(lambda: command(row.given, tmp_path)))
