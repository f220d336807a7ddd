"""The result of another quality tool is read, or refused with what would be read."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_orchestration.domain.external_quality import read_external
from airflow_orchestration.exceptions import FeedError

GREAT = {"success": False, "statistics": {"evaluated_expectations": 5, "successful_expectations": 4, "success_percent": 80.0}, "results": [{"success": True}]}  # fmt: skip
SODA = {"definitionName": "x", "hasFailures": True, "checks": [{"outcome": "pass"}, {"outcome": "warn"}, {"outcome": "fail"}, {"outcome": None}]}  # fmt: skip
DBT = {"metadata": {"dbt_schema_version": "x"}, "results": [{"status": "pass"}, {"status": "success"}, {"status": "warn"}, {"status": "skipped"}]}  # fmt: skip
POINTBLANK = [{"i": 1, "n": 10, "n_passed": 9, "all_passed": False}, {"i": 2, "n": 10, "n_passed": 10, "all_passed": True}]  # fmt: skip

KNOWN: list[tuple[object, str, bool, float]] = [
    (GREAT, "Great Expectations", False, 0.8),
    (SODA, "Soda", False, 0.5),
    (DBT, "dbt", True, 2.5 / 3),
    ({"results": [{"status": "pass"}, {"status": "no-op"}, {"status": "error"}]}, "dbt", False, 0.5),
    (POINTBLANK, "pointblank", False, 0.95),
    ({"success": True, "score": 0.9}, "plain", True, 0.9),
    ({"success": True}, "plain", True, 1.0),
    ({"success": False}, "plain", False, 0.0),
    ({"score": 1}, "plain", True, 1.0),
    ({"checks": [{"outcome": "warn"}]}, "Soda", True, 0.5),
]


@pytest.mark.parametrize(("result", "tool", "success", "score"), KNOWN)
def test_the_results_of_well_known_tools_are_read(
    result: object, tool: str, success: bool, score: float
) -> None:
    """Each by what only its results have; the score is the share of evaluated checks that were kept."""
    found = read_external(result, feed_id="planes", task="check")

    assert (tool, success, score) == (found.tool, found.success, found.score)


STRANGE: list[Any] = [
    None, "fine", 1, True, [], {}, {"ok": True}, [{"i": 1}], {"success": "yes"}, {"success": True, "score": 1.1},
    {"success": True, "score": float("nan")}, {"success": True, "score": "0.9"}, {"score": True}, {"checks": [{"outcome": None}]}, {"results": [{"status": "skipped"}]}, {"checks": []}, {"results": []},
    {"success": True, "statistics": {"success_percent": None}}, {"success": True, "statistics": {"success_percent": 101}},
    {"success": None, "statistics": {"success_percent": 50}}, {"checks": ["pass"]}, [{"n": 0, "n_passed": 0, "all_passed": True}],
    [{"n": -1, "n_passed": 0, "all_passed": True}],
]  # fmt: skip


@pytest.mark.parametrize("result", STRANGE, ids=str)
def test_anything_else_is_refused(result: object) -> None:
    """A result that nobody understands must not pass for a good one."""
    with pytest.raises(FeedError, match=r"^planes: the result of its quality_task check can't be read"):
        read_external(result, feed_id="planes", task="check")


def test_the_verdict_is_kept_as_evidence() -> None:
    """Beside the rules of the contract, under the names of task and tool."""
    kept = read_external(GREAT, feed_id="planes", task="check").as_result("check")

    assert ("check (Great Expectations)", False, 0.8) == (kept.name, kept.passed, kept.value)
