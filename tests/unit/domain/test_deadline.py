"""Deadlines: seconds from a start, or a time of day with its time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from airflow_orchestration.domain.deadline import checked_deadline, deadline_at, has_passed, next_occurrence

NIGHT = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "after", "moment"),
    [
        ("06:00 Europe/Berlin", "2026-11-22T22:00+00:00", "2026-11-23T05:00+00:00"),
        ("06:00 Europe/Berlin", "2026-11-23T04:59:59+00:00", "2026-11-23T05:00+00:00"),
        ("06:00 Europe/Berlin", "2026-11-23T05:00+00:00", "2026-11-24T05:00+00:00"),
        ("06:00 Europe/Berlin", "2026-07-01T22:00+00:00", "2026-07-02T04:00+00:00"),
        ("23:30 America/New_York", "2026-11-23T04:00+00:00", "2026-11-23T04:30+00:00"),
        ("09:00 Asia/Kolkata", "2026-11-23T03:00+00:00", "2026-11-23T03:30+00:00"),
        ("02:30 Europe/Berlin", "2026-03-28T20:00+00:00", "2026-03-29T01:30+00:00"),
        ("02:30 Europe/Berlin", "2026-10-24T20:00+00:00", "2026-10-25T00:30+00:00"),
        ("02:30 Europe/Berlin", "2026-10-25T00:45+00:00", "2026-10-26T01:30+00:00"),
        ("00:00 Pacific/Kiritimati", "2026-11-23T09:59+00:00", "2026-11-23T10:00+00:00"),
    ],
)
def test_next_occurrence(text: str, after: str, moment: str) -> None:
    """The first such moment after the start, also on days on which the clocks change."""
    assert datetime.fromisoformat(moment) == next_occurrence(text, datetime.fromisoformat(after))


def test_seconds_count_from_the_round_and_a_time_of_day_from_the_run() -> None:
    """A later round moves a deadline in seconds, and not one by the clock."""
    round_two = NIGHT + timedelta(hours=1)

    assert round_two + timedelta(seconds=90) == deadline_at(90, started=round_two, run_started=NIGHT)
    assert NIGHT.replace(hour=22, minute=30) == deadline_at("22:30 UTC", started=round_two, run_started=NIGHT)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "must be seconds, more than 0"),
        (-1, "must be seconds, more than 0"),
        (float("nan"), "must be seconds"),
        (8 * 24 * 3600, "at most 604800"),
        (True, "must be seconds"),
        (None, "must be seconds"),
        ([600], "must be seconds"),
        ("600", "is no time of day; write seconds, or a time such as '06:00 Europe/Berlin'"),
        ("6:00 Europe/Berlin", "is no time of day"),
        ("24:00 Europe/Berlin", "is no time of day"),
        ("06:00", "is no time of day"),
        ("06:00 ../../etc/passwd", "is no time of day"),
        ("06:00 Europe/Atlantis", "there is no time zone 'Europe/Atlantis'; write one such as Europe/Berlin"),
    ],
)
def test_anything_else_is_refused(value: object, message: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_deadline(value)


@pytest.mark.parametrize(
    ("expected", "deadline", "seconds"),
    [(False, None, 10**6), (False, 60.0, 59.9), (True, 60.0, 60.0), (True, "06:00 UTC", 10**5)],
)
def test_a_deadline_has_passed_from_its_moment_on(
    expected: bool, deadline: float | str | None, seconds: float
) -> None:
    """One that nobody set never does."""
    started = datetime(2026, 11, 22, 5, tzinfo=UTC)
    assert expected is has_passed(deadline, started + timedelta(seconds=seconds), started=started)
