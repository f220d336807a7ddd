"""The values of options: what was written, as a number, a duration or a moment, or what to write instead."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from math import isfinite

from airflow_orchestration.domain.deadline import MAX_SECONDS
from airflow_orchestration.insights.what_if import UNTIL_DEADLINE

MAX_COUNT = 1_000_000
_MOST_DIGITS = 100
"""Python reads no number of thousands of digits."""
_MOST_LETTERS = 100
"""Ours: what is told again of an option; nobody reads more to find the mistake."""
_DAYS = {"d": 1, "w": 7}
_DIGITS = 5
"""Of days; more is longer ago than any database."""


def share(text: str) -> float:
    """Read a share in 0..1.

    >>> share("0.75")
    0.75
    """
    return _number(text, "a share from 0 to 1, such as 0.75", least=0, most=1)


def duration(text: str) -> timedelta:
    """Read seconds, more than 0."""
    seconds = _number(text, f"seconds, more than 0 and at most {MAX_SECONDS}", least=0, most=MAX_SECONDS)
    if seconds == 0:
        raise ArgumentTypeError(f"{_shown(text)} leaves no time; write seconds, more than 0")
    return timedelta(seconds=seconds)


def grace_period(text: str) -> timedelta:
    """Read seconds, or `none` for a gate that holds to its deadline."""
    if text == "none":
        return UNTIL_DEADLINE
    wanted = f"seconds, at most {MAX_SECONDS}, or `none` to hold to the deadline"
    return timedelta(seconds=_number(text, wanted, least=0, most=MAX_SECONDS))


def count(text: str) -> int:
    """Read how many."""
    return _whole(text, least=1)


def whole(text: str) -> int:
    """Read a whole number, 0 or more."""
    return _whole(text, least=0)


def cpus(text: str) -> float:
    """Read CPUs, which may be parts of one.

    >>> cpus("0.5")
    0.5
    """
    return _number(
        text, f"a number of CPUs, 0.001 or more and at most {MAX_COUNT}", least=0.001, most=MAX_COUNT
    )


def moment(text: str) -> datetime:
    """Read a date or a moment; UTC unless it says otherwise.

    >>> moment("2026-11-22").isoformat()
    '2026-11-22T00:00:00+00:00'
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{_shown(text)} is no moment; write one such as 2026-11-22 or 2026-11-22T06:00+01:00"
        ) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def age(text: str) -> timedelta:
    """Read an age in days or weeks.

    >>> age("90d").days
    90
    """
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal()) or unit not in _DAYS or len(number) > _DIGITS:
        raise ArgumentTypeError(f"{_shown(text)} is no age; write days or weeks, such as 90d or 12w")
    return timedelta(days=int(number) * _DAYS[unit])


def tolerance(text: str) -> tuple[str, float]:
    """Read `attribute=difference`.

    >>> tolerance("latitude=0.01")
    ('latitude', 0.01)
    """
    name, _, written = text.partition("=")
    try:
        difference = float(written)
    except ValueError:
        difference = -1.0
    if not name or not isfinite(difference) or difference < 0:
        raise ArgumentTypeError(f"{_shown(text)} is no tolerance; write it as latitude=0.01")
    return name, difference


def _whole(text: str, *, least: int) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    if not is_number or not least <= int(text) <= MAX_COUNT:
        raise ArgumentTypeError(f"{_shown(text)} is not a whole number from {least} to {MAX_COUNT}")
    return int(text)


def _number(text: str, wanted: str, *, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise ArgumentTypeError(f"{_shown(text)} is not {wanted}")
    return number


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}...")
