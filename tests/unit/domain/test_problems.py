"""The problems of a validation, however many there are."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.problems import MAX_PROBLEMS, pydantic_problems
from airflow_orchestration.exceptions import Problem, ProblemCode


def refused(document: dict[str, Any]) -> ValidationError:
    with pytest.raises(ValidationError) as error:
        Pipeline.model_validate(document)
    return error.value


@pytest.mark.parametrize(
    ("document", "more"),
    [
        ({f"a{number}": 1 for number in range(30_000)}, 29_905),
        ({"feeds": [{}] * 30_000}, 29_904),
    ],
    ids=["keys", "items"],
)
def test_the_first_problems_are_told_and_the_others_counted(document: dict[str, Any], more: int) -> None:
    """A file of nothing but problems takes no longer for each than one with few, and its error can be read."""
    error = refused(document)
    began = time.process_time()
    problems = pydantic_problems(error)

    assert time.process_time() - began < 1
    assert MAX_PROBLEMS + 1 == len(problems)
    assert (
        Problem(
            code=ProblemCode.MORE_PROBLEMS,
            path="",
            message=f"{more} more problems are not shown; mend these first",
        )
        == problems[-1]
    )


def test_what_is_told_twice_is_one_problem() -> None:
    """An empty list is one problem, and one whose items are all wrong has theirs only."""
    empty = [str(problem) for problem in pydantic_problems(refused({"feeds": []}))]
    wrong = [problem.path for problem in pydantic_problems(refused({"feeds": [{"id": "x", "z": 1}]}))]

    assert "feeds: must not be empty" in empty
    assert "feeds[0].z" in wrong
    assert "feeds" not in wrong


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("postgresql://who:opensesame@host/db", "postgresql://***@host/db"),
        ("no postgresql://who:open@sesame@host/db, no", "no postgresql://***@host/db, no"),
        ("postgresql://who@server:open@ses/ame@host/db", "postgresql://***@host/db"),
        ("('s3://who:@b', 's3://key:open@sesame@b')", "('s3://***@b', 's3://***@b')"),
        ("s3://my_connection@bucket/a http://host:80/a", "s3://my_connection@bucket/a http://host:80/a"),
    ],
)
def test_no_part_of_a_login_is_told(said: str, told: str) -> None:
    """A password may have any sign, also that behind which the host stands; what is no login stays."""
    problem = Problem(code=ProblemCode.NOT_ALLOWED, path=said, message=f"{said}: no")

    assert (told, f"{told}: no") == (problem.path, problem.message)


@pytest.mark.parametrize("text", ["a://:" * 300_000, "://who" * 300_000 + "@", "://" * 500_000 + ":@"])
def test_logins_are_looked_for_in_one_go(text: str) -> None:
    """Whoever writes a text to be searched can't make the search long."""
    began = time.process_time()
    Problem(code=ProblemCode.NOT_ALLOWED, path="", message=text)

    assert time.process_time() - began < 1
