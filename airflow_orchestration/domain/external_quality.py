"""What does the result of another quality tool say about a feed?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_orchestration.domain.quality_rule import RuleResult, Severity
from airflow_orchestration.exceptions import FeedCode, FeedError

WARNED = 0.5
"""What a check counts that ended in a warning; one that was kept counts 1, any other 0."""
CEILING = "ceiling of the score"
"""What stands where a rule has its threshold."""
_KEPT = frozenset({"pass", "passed", "success"})
_WARNED = frozenset({"warn", "warning"})
_NOT_EVALUATED = frozenset({"none", "skipped", "not_evaluated", "no-op"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalQuality:
    """The verdict of another tool: the share of its checks that were kept, 0..1."""

    tool: str
    success: bool
    score: float
    checks: int | None = None

    def as_result(self, task: str) -> RuleResult:
        """The verdict as evidence beside the rules of the contract; it lowers the score as a ceiling does."""
        return RuleResult(
            name=f"{task} ({self.tool})",
            column=None,
            severity=Severity.INFO,
            value=self.score,
            threshold=CEILING,
            passed=self.success,
            rows=None,
        )


def read_external(result: object, *, feed_id: str, task: str) -> ExternalQuality:
    """Read what a task left as its XCom.

    Known are the results of Great Expectations (`statistics.success_percent`), Soda (`checks` with
    `outcome`), dbt (`results` with `status`), pointblank (steps with `n` and `n_passed`), and plain
    `{"success": true, "score": 0.98}`, in which either may be left out. Raises `FeedError` for anything else.

    >>> read_external({"success": True, "score": 0.9}, feed_id="planes", task="check").score
    0.9
    """
    try:
        for reader in (_great_expectations, _soda, _dbt, _pointblank, _plain):
            found = reader(result)
            if found is not None:
                return found
    except (KeyError, TypeError, ValueError):
        pass
    seen = ", ".join(sorted(map(str, result))[:10]) if isinstance(result, Mapping) else type(result).__name__
    raise FeedError(
        f"{feed_id}: the result of its quality_task {task} can't be read ({seen or 'empty'}); let the task come before "
        'the branches and return {"success": true, "score": 0.98}, or a result of Great Expectations, Soda, dbt or '
        "pointblank.",
        code=FeedCode.QUALITY_RESULT,
    )


def _great_expectations(result: object) -> ExternalQuality | None:
    if not isinstance(result, Mapping) or not isinstance(result.get("statistics"), Mapping):
        return None
    statistics = result["statistics"]
    checks = statistics.get("evaluated_expectations", statistics.get("evaluated_validations"))
    return ExternalQuality(
        tool="Great Expectations",
        success=_truth(result["success"]),
        score=_share(statistics["success_percent"], whole=100.0),
        checks=None if checks is None else _count(checks),
    )


def _soda(result: object) -> ExternalQuality | None:
    if not isinstance(result, Mapping) or not isinstance(result.get("checks"), list):
        return None
    return _counted("Soda", (check["outcome"] for check in result["checks"]))


def _dbt(result: object) -> ExternalQuality | None:
    if not isinstance(result, Mapping) or not isinstance(result.get("results"), list):
        return None
    return _counted("dbt", (check["status"] for check in result["results"]))


def _counted(tool: str, outcomes: Iterable[object]) -> ExternalQuality:
    said = [str(outcome).lower() for outcome in outcomes]
    marks = [_mark(outcome) for outcome in said if outcome not in _NOT_EVALUATED]
    if not marks:
        raise ValueError("no check was evaluated")
    return ExternalQuality(
        tool=tool, success=0.0 not in marks, score=sum(marks) / len(marks), checks=len(marks)
    )


def _mark(outcome: str) -> float:
    if outcome in _KEPT:
        return 1.0
    return WARNED if outcome in _WARNED else 0.0


def _pointblank(result: object) -> ExternalQuality | None:
    if not isinstance(result, list) or not result:
        return None
    units = sum(_count(step["n"]) for step in result)
    kept = sum(_count(step["n_passed"]) for step in result)
    return ExternalQuality(
        tool="pointblank",
        success=all(_truth(step["all_passed"]) for step in result),
        score=_share(kept, whole=units),
        checks=len(result),
    )


def _plain(result: object) -> ExternalQuality | None:
    if not isinstance(result, Mapping) or not {"success", "score"} & result.keys():
        return None
    if "score" not in result:
        success = _truth(result["success"])
        return ExternalQuality(tool="plain", success=success, score=float(success))
    score = _share(result["score"], whole=1.0)
    success = _truth(result.get("success", True))
    return ExternalQuality(tool="plain", success=success, score=score)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("no truth")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("no count")
    return value


def _share(part: Any, *, whole: float) -> float:
    if not isinstance(part, int | float) or isinstance(part, bool) or not 0 <= part <= whole or whole <= 0:
        raise ValueError("no share")
    return float(part / whole)
