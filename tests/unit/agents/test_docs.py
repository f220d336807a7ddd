"""The page about agents says what is so."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "agents.md"


def test_the_example_runs() -> None:
    """The example of the page gives what the page says."""
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert found.attempted > 0
    assert 0 == found.failed


def test_the_first_line_says_what_an_agent_is() -> None:
    """Nobody reads on in the belief that this is about language models."""
    first = next(line for line in PAGE.read_text().splitlines()[1:] if line)

    assert "An agent is a worker template with a specification, not a language model." == first
