"""How did trust in each feed move, run by run?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_orchestration.storage.trust_history import TaughtRun


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustCourse:
    """The accuracy that a feed was believed to have in an attribute, in each of `runs`; None where it was not in."""

    feed_id: str
    attribute: str
    accuracy: tuple[float | None, ...]
    right: float
    total: float
    """How often it was right in the last of the runs that it was in, and of how many."""

    @property
    def moved(self) -> float:
        """The last accuracy less the first."""
        known = [one for one in self.accuracy if one is not None]
        return known[-1] - known[0]


def trust_courses(runs: Sequence[TaughtRun], feed_id: str | None = None) -> list[TrustCourse]:
    """Return a course for each feed and attribute, the ones that moved most first; `runs` are oldest first."""
    pairs = {(one.feed_id, one.attribute) for run in runs for one in run.taught}
    courses = [_course(runs, *pair) for pair in sorted(pairs) if feed_id in {None, pair[0]}]
    return sorted(courses, key=lambda course: -abs(course.moved))


def _course(runs: Sequence[TaughtRun], feed_id: str, attribute: str) -> TrustCourse:
    known = [
        next((one for one in run.taught if (one.feed_id, one.attribute) == (feed_id, attribute)), None)
        for run in runs
    ]
    last = [one for one in known if one is not None][-1]
    return TrustCourse(
        feed_id=feed_id,
        attribute=attribute,
        accuracy=tuple(None if one is None else one.accuracy for one in known),
        right=last.right,
        total=last.total,
    )
