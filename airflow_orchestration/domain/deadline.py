"""How long is too long? A number of seconds, or a time of day somewhere: `06:00 Europe/Berlin`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, WithJsonSchema

from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

MAX_SECONDS = 7 * 24 * 3600
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ([A-Za-z][A-Za-z0-9_+/-]{0,60})")


def checked_deadline(value: object) -> float | str:
    """Return seconds or a time of day unchanged; raises `ValueError` for anything else."""
    if isinstance(value, str):
        time_of_day(value)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise RefusedValueError(
            f"must be seconds, more than 0 and at most {MAX_SECONDS}, or a time such as '06:00 Europe/Berlin'",
            code=ProblemCode.BAD_FORMAT,
        )
    return value


Deadline = Annotated[
    float | str,
    BeforeValidator(checked_deadline),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
                {"type": "string", "pattern": f"^{_TIME_OF_DAY.pattern}$"},
            ]
        }
    ),
]
"""Seconds from a start, or a time of day with its time zone, as `06:00 Europe/Berlin`."""


def time_of_day(text: str) -> tuple[time, ZoneInfo]:
    """Read `HH:MM Area/City`; raises `ValueError` that says what is wrong.

    >>> time_of_day("06:00 Europe/Berlin")
    (datetime.time(6, 0), zoneinfo.ZoneInfo(key='Europe/Berlin'))
    """
    read = _TIME_OF_DAY.fullmatch(text)
    if read is None:
        raise RefusedValueError(
            f"{text!r} is no time of day; write seconds, or a time such as '06:00 Europe/Berlin'",
            code=ProblemCode.BAD_FORMAT,
        )
    if read[3] not in _zones():
        raise RefusedValueError(
            f"there is no time zone {read[3]!r}; write one such as Europe/Berlin or UTC",
            code=ProblemCode.UNKNOWN_NAME,
        )
    return time(int(read[1]), int(read[2])), ZoneInfo(read[3])


@cache
def _zones() -> frozenset[str]:
    """The zones that mean the same everywhere: without this machine's `localtime`."""
    return frozenset(available_timezones()) - {"localtime"}


def next_occurrence(text: str, after: datetime) -> datetime:
    """Return the first moment after `after`, in UTC, at which the clocks of the zone show the time.

    A time that a change of clocks leaves out counts as the same time before the change; one that
    comes twice counts the first time.

    >>> next_occurrence("06:00 Europe/Berlin", datetime.fromisoformat("2026-11-22T22:00:00+00:00")).isoformat()
    '2026-11-23T05:00:00+00:00'
    """
    clock, zone = time_of_day(text)
    today = after.astimezone(zone).date()
    moments = (
        datetime.combine(today + timedelta(days=ahead), clock, zone).astimezone(UTC) for ahead in (0, 1, 2)
    )
    return next(moment for moment in moments if moment > after)


def deadline_at(deadline: float | str, *, started: datetime, run_started: datetime | None = None) -> datetime:
    """Return the moment of a deadline: seconds count from `started`, a time of day follows the run's start.

    Without a `run_started` the run started at `started`. The moment of a time of day may already be over.
    """
    if isinstance(deadline, str):
        return next_occurrence(deadline, run_started or started)
    return started + timedelta(seconds=deadline)


def has_passed(
    deadline: float | str | None, now: datetime, *, started: datetime, run_started: datetime | None = None
) -> bool:
    """Whether a deadline has passed; one that nobody set never does. The moments count as in `deadline_at`."""
    return deadline is not None and now >= deadline_at(deadline, started=started, run_started=run_started)
