"""The load balancer: SEED 3 and the rulings on the retry loop."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_orchestration.policies.rebalancing import (
    FeedState,
    FeedStatus,
    RebalanceDecision,
    RebalanceFacts,
    Rebalancing,
)
from tests.unit.policies.vectors import cases


def decide(row: dict[str, Any]) -> RebalanceDecision:
    feeds = tuple(
        FeedState(
            feed_id=feed_id,
            status=FeedStatus(status),
            attempts=row["round"],
            made_of=tuple(row.get("made_of", {}).get(feed_id, ())),
        )
        for feed_id, status in row["feeds"].items()
    )
    policy = Rebalancing(max_rounds=row["max_rounds"]) if "max_rounds" in row else Rebalancing()
    facts = RebalanceFacts(round=row["round"], feeds=feeds, time_is_over=row.get("time_is_over", False))
    return policy.evaluate(facts)


def check(row: dict[str, Any]) -> None:
    decision = decide(row)

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "rerun": list(decision.rerun),
    }


@cases("rebalancing", "seed_03")
def test_seed_03_retry_loop(row: dict[str, Any]) -> None:
    """The load balancer leads back to the coordinator."""
    check(row)


@cases("rebalancing", "ruling_rounds_are_bounded")
def test_ruling_rounds_are_bounded(row: dict[str, Any]) -> None:
    """There are at most three rounds, or as many as the author says."""
    check(row)


@cases("rebalancing", "ruling_only_what_needs_it")
def test_ruling_only_what_needs_it(row: dict[str, Any]) -> None:
    """A round is for repair only."""
    check(row)


def test_evidence() -> None:
    """The decision counts the feeds by status, how often each bad one was tried, and what is made anew."""
    expected = {
        "round": 2,
        "max_rounds": 3,
        "time_is_over": False,
        "arrived": 1,
        "failed": 1,
        "missing": 0,
        "below_standard": 1,
        "attempts": {"b": 2, "c": 2},
        "made_anew": ["a"],
    }
    feeds = {"a": "arrived", "b": "failed", "c": "below_standard"}

    assert expected == decide({"round": 2, "feeds": feeds, "made_of": {"a": ["c"]}}).evidence


@pytest.mark.parametrize("value", [0, -1])
def test_at_least_one_round(value: int) -> None:
    """A run of no round is refused."""
    with pytest.raises(ValueError, match=f"max_rounds {value} runs nothing; use 1 for no second round"):
        Rebalancing(max_rounds=value)
