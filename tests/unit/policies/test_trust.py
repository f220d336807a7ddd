"""Which way of learning is taken: the table of the page about trust. How well it does is in `tests/trust`."""

from __future__ import annotations

from typing import Any

from airflow_orchestration.policies.trust.ballot import Ballot
from airflow_orchestration.policies.trust.choosing import best_way, learned
from tests.unit.policies.vectors import cases


@cases("trust", "few_known_values")
def test_few_known_values(row: dict[str, Any]) -> None:
    """With too few known values no way can be told from another."""
    sides = (("north", "east"), ("south",))
    known = [Ballot(attribute="price", sides=sides, truth=0) for _ in range(row["known"])]

    assert row["expected"] == learned([*known, *[Ballot(attribute="price", sides=sides)] * 9]).method


@cases("trust", "most_right")
def test_most_right(row: dict[str, Any]) -> None:
    """Of hidden known values the way that gets most right is taken."""
    trials = {
        way: [(row["sure"], number < right) for number in range(row["known"])]
        for way, right in row["right"].items()
    }

    assert row["expected"] == best_way(trials)
