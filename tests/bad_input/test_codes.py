"""A code stands for one kind of problem: it is told on the page, and something in the product has it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import pytest
from fastapi import Request

from airflow_orchestration.exceptions import FeedCode, FeedError, InputRefusedError, Problem, ProblemCode
from airflow_orchestration.plugins import failures
from airflow_orchestration.sources.outside import NOWHERE
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.workflow.stopping import Bounds, until
from tests.bad_input.rows import rows_of, stages
from tests.storage.builders import RUN, TERMS, claimed, failed, outcome, plan
from tests.storage.conftest import SteppingClock

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "reference" / "problems.md"
CODE = "\n".join(
    path.read_text()
    for path in sorted((REPOSITORY / "airflow_orchestration").rglob("*.py"))
    if path.name != "exceptions.py"
)
ELSEWHERE: tuple[tuple[StrEnum, str, str], ...] = (
    (ProblemCode.BAD_EXPRESSION, "engine/test_expressions.py", "isn't supported"),
    (ProblemCode.RESERVED, "security/test_reserved_words.py", "ProblemCode.RESERVED"),
    (ProblemCode.UNSUPPORTED, "unit/domain/test_odcs.py", "isn't supported; write library, sql or text"),
    (ProblemCode.UNREADABLE, "engine/test_trusting.py", "can't be read as probes"),
    (ProblemCode.UNWRITABLE, "cli/test_run_commands.py", "can't be written"),
    (ProblemCode.OBSTACLE, "storage/test_replacing.py", "mode replace would lose the"),
    (ProblemCode.NOT_READY, "storage/test_preflight.py", "test_a_database_without_the_schema_is_refused"),
    (ProblemCode.MORE_PROBLEMS, "unit/domain/test_problems.py", "more problems are not shown"),
    (FeedCode.UNREADABLE, "engine/test_source.py", "can't be read"),
    (FeedCode.SYNTAX, "engine/test_ingest_json.py", "doesn't end with"),
    (FeedCode.TOO_LONG, "unit/workflow/test_bombs.py", "still being worked on"),
    (FeedCode.MEMORY, "unit/workflow/test_bombs.py", "test_work_that_takes_too_much_memory_is_ended"),
    (FeedCode.CRASHED, "unit/workflow/test_stopping.py", "crashed the engine"),
    (FeedCode.ROWS_LOST, "fuzz/test_fuzz.py", "FeedCode.ROWS_LOST"),
    (FeedCode.EXPRESSION, "engine/test_measuring.py", "no RE2 expression"),
    (FeedCode.OUTPUT, "engine/test_partitioning.py", "output can't be written"),
    (FeedCode.DEPENDENCY, "engine/test_transforming.py", "depends on"),
    (FeedCode.SOURCE, "sources/test_database.py", "FeedError"),
    (
        FeedCode.NOT_INSTALLED,
        "bad_input/test_codes.py",
        "test_what_airflow_keeps_can_not_be_opened_without_it",
    ),
    (
        FeedCode.QUALITY_RULES,
        "engine/test_measuring.py",
        "test_a_broken_rule_of_severity_error_fails_the_feed",
    ),
    (FeedCode.QUALITY_RESULT, "unit/domain/test_external_quality.py", "quality_task"),
    (FeedCode.AGENT, "unit/workflow/test_agent_work.py", "ended without having processed"),
    (FeedCode.FAULT, "unit/workflow/test_stopping.py", "on the last try"),
    (FeedCode.REFUSED, "engine/test_json_paths.py", "differ in case only"),
)
"""Codes that the catalogue has no row for: the test of each, and words of it or its name."""
HEADINGS: list[tuple[type[StrEnum], str]] = [(ProblemCode, "Of what people write"), (FeedCode, "Of feeds")]


@pytest.mark.parametrize(("codes", "heading"), HEADINGS)
def test_every_code_is_on_the_page(codes: type[StrEnum], heading: str) -> None:
    """The table has each code once, in any order, and no other."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]

    assert sorted(codes) == sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def told_in_rows() -> set[str]:
    """Every code that a row of the catalogue expects, as text."""
    expected = [text for stage in stages() for row in rows_of(stage) for text in row.refused]
    for row in (row for stage in stages() for row in rows_of(stage)):
        for value in (row.becomes or {}).values():
            expected += [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    return {text.partition(" ")[0] for text in expected}


def test_every_code_has_a_row_or_a_test() -> None:
    """What the catalogue does not bring about is brought about elsewhere, and is said here where."""
    rows = told_in_rows()
    elsewhere = {repr(code) for code, _, _ in ELSEWHERE}  # two codes of one word are equal as texts
    untold = [code for code in (*ProblemCode, *FeedCode) if code.value not in rows]

    assert [] == [repr(code) for code in untold if repr(code) not in elsewhere]


def test_what_airflow_keeps_can_not_be_opened_without_it() -> None:
    """A feed of a connection that is played without Airflow says so."""
    with pytest.raises(FeedError) as failed:
        NOWHERE.postgres("north__db")
    assert FeedCode.NOT_INSTALLED is failed.value.code


@pytest.mark.parametrize(("code", "place", "words"), ELSEWHERE, ids=repr)
def test_the_test_of_a_code_is_there(code: StrEnum, place: str, words: str) -> None:
    """A test that is gone, or no longer looks for these words, takes the code's proof with it."""
    assert words in (REPOSITORY / "tests" / place).read_text(), code


@pytest.mark.parametrize("code", [*ProblemCode, *FeedCode], ids=lambda code: f"{type(code).__name__}.{code}")
def test_every_code_is_used(code: StrEnum) -> None:
    """A code that nothing has would be waited for in vain."""
    assert f"{type(code).__name__}.{code.name}" in CODE


def test_a_problem_as_data_has_its_code() -> None:
    """Words for people leave it out."""
    problem = Problem(code=ProblemCode.CYCLE, path="feeds", message="goes round")

    assert {"code": "cycle", "path": "feeds", "message": "goes round"} == problem.as_json()
    assert ("feeds: goes round", "x: 1 problem; nothing was changed.\n  feeds: goes round") == (
        str(problem),
        str(InputRefusedError("x", [problem])),
    )
    assert FeedCode.EMPTY is FeedError("nothing", code=FeedCode.EMPTY).code


def test_a_code_comes_out_of_the_process_of_a_batch() -> None:
    """A feed is read in a process of its own, and why it failed is known outside of it."""

    def work() -> NoReturn:
        raise FeedError("list: unpacks to too much.", code=FeedCode.BOMB)

    with pytest.raises(FeedError) as failed:
        until(lambda: False, work, Bounds(feed_id="list", seconds=60, memory_mb=1000))
    assert (FeedCode.BOMB, "list: unpacks to too much.") == (failed.value.code, str(failed.value))


def test_the_timeline_has_the_code_of_a_failed_feed() -> None:
    """And only of one that failed; an outcome is given back without it."""
    store = MemoryStore(SteppingClock())
    store.open_round(claimed(store, "plan", 1), plan(feeds=("a", "b")), TERMS)
    fence = claimed(store, "branch:beta:b1", 1)
    store.register(fence, replace(failed("a"), error_code=FeedCode.DAMAGED))
    store.register(fence, outcome("b"))

    told = [event.detail for event in store.timeline(RUN) if event.event == "feed_registered"]
    assert [("a", "damaged"), ("b", None)] == [(one["feed"], one.get("code")) for one in told]
    assert [None, None] == [one.error_code for one in store.outcomes(RUN)]


def test_rest_answers_with_codes() -> None:
    """A program that puts a job need not read words."""
    problem = Problem(code=ProblemCode.BAD_NAME, path="job", message="is no name")
    answer = failures.refused(Request({"type": "http"}), InputRefusedError("job", [problem]))

    assert [problem.as_json()] == json.loads(bytes(answer.body))["detail"]["problems"]
