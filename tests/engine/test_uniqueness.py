"""A column is unique or it isn't, whichever of the cheap looks at it comes first."""

from __future__ import annotations

import random

import duckdb
import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.engine.uniqueness import DUPLICATES, find_repeats

NUMBERED = Contract.model_validate(
    {"name": "t", "key": ["id"], "columns": [{"name": "id", "type": "integer"}]},
)
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def repeats(values: list[int | None]) -> list[int]:
    """The positions, from 1 on, of the values that repeat an earlier one."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE numbers AS SELECT unnest(?::BIGINT[]) AS id, unnest(range(1, ?)) AS _position",
            [values, len(values) + 1],
        )
        assert find_repeats(connection, "numbers", NUMBERED, is_stream=False) == bool(
            len(values) - len(set(values))
        )
        return [row for (row,) in connection.execute(f"SELECT _position FROM {DUPLICATES}").fetchall()]


@pytest.mark.parametrize("first", [0, -150, SMALLEST, LARGEST - 299, 2**40])
def test_numbers_close_together_in_no_order_repeat_nothing(first: int) -> None:
    """Numbers without order or gaps are unique, wherever they lie, and one more of them is not."""
    values = list(range(first, first + 300))
    random.Random(1).shuffle(values)
    assert [] == repeats(list(values))
    assert [301] == repeats([*values, values[7]])


def test_numbers_far_apart_are_compared_as_well() -> None:
    """The whole range of 64 bits is no obstacle."""
    assert [] == repeats([LARGEST, SMALLEST, 0])
    assert [3] == repeats([LARGEST, SMALLEST, SMALLEST])


def test_an_empty_value_repeats_nothing() -> None:
    """Rows without a value are none that repeat one."""
    assert [] == repeats([3, None, 1])
