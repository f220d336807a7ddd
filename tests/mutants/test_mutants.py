"""The list of mutants fits the code, and two of them are really made; `make mutants` makes them all."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tests.mutants.workshop import (
    Mutant,
    Result,
    copy_of_repository,
    imported_from,
    judge,
    problem,
    read_mutants,
)

SAMPLE = 2
SEED = 20261122


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: Mutant) -> None:
    """What a mutant replaces stands exactly once in its file, and the tests that must catch it are there."""
    assert problem(mutant) is None
    assert mutant.find != mutant.replace
    assert mutant.tests


def test_a_mutant_that_does_not_fit_is_refused() -> None:
    """A text that stands nowhere, or twice, makes no mutant."""
    mutant = read_mutants()[0]

    assert "stands 0 times" in str(problem(replace(mutant, find="nowhere to be found")))
    assert "not once" in str(problem(replace(mutant, find="self")))


def test_mutants_are_caught_and_what_is_none_survives() -> None:
    """Two mutants are caught by the tests that the list names; a mutant without a mistake is not."""
    harmless = read_mutants()[0]
    harmless = replace(harmless, replace=harmless.find)
    with copy_of_repository() as copy:
        assert imported_from(copy).is_relative_to(copy)
        results = [judge(one, copy).result for one in Random(SEED).sample(read_mutants(), SAMPLE)]
        survivor = judge(harmless, copy).result

    assert [Result.CAUGHT] * SAMPLE == results
    assert Result.SURVIVED == survivor
