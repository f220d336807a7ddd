"""The catalogue has a row for everything that was thought of, and every code of the product has a row or a test."""

from __future__ import annotations

import pytest

from tests.bad_input.rows import Answer, Row, check, rows_of, stages

ROWS = 123
"""What was thought of, see the numbers of the rows."""
KNOWN = Row(number=1, stage="conf", input="a list", given={}, refused=("wrong_type feeds: must be … list",))


def test_every_number_has_a_row() -> None:
    """Nothing that was thought of is left out, and nothing else has a number."""
    assert set(range(1, ROWS + 1)) == {row.number for stage in stages() for row in rows_of(stage)}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(becomes={}),
        Answer(refused=()),
        Answer(refused=("wrong_type feeds: must be a list", "required id: is required")),
        Answer(refused=("bad_format feeds: must be a list",)),
        Answer(refused=("wrong_type feeds: must be a text",)),
    ],
)
def test_another_answer_is_noticed(answer: Answer) -> None:
    """What is accepted, told in other words, under another code, or beside something else does not pass."""
    check(KNOWN, Answer(refused=("wrong_type feeds: must be a list",)))
    with pytest.raises(AssertionError):
        check(KNOWN, answer)


@pytest.mark.parametrize("found", [{}, {"rows": 2}, {"rows": 1, "staged": 1}])
def test_other_facts_are_noticed(found: dict[str, int]) -> None:
    """What becomes of an input is compared fact by fact."""
    row = Row(number=1, stage="files", input="a row", given={}, becomes={"rows": 1, "staged": 0})
    with pytest.raises(AssertionError):
        check(row, Answer(becomes=found))
