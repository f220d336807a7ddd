"""Values that break what was not written for them: numbers at edges, canaries, letters of all kinds."""

from __future__ import annotations

from random import Random
from typing import Any

SECRET = "S3CR3T-canary-4711"
"""Stands under keys that are called like secrets; no message may repeat it."""
SECRET_KEYS = ("password", "secret", "api_key", "token", "aws_secret_access_key", "private_key", "dsn")
SECRETS: tuple[Any, ...] = (SECRET, f"postgresql://user:{SECRET}@host/db", {"value": SECRET}, [SECRET])
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 7, 100, 101, 1000, 1001, 10_000, 604_800, 604_801, 2**31, 2**53 + 1, 2**63 - 1, 2**63),
    *(
        -(2**63) - 1,
        10**30,
        10**400,
        -(10**400),
        -0.0,
        0.01,
        0.0099999,
        0.5,
        0.75,
        1.0,
        1.0000001,
        75.0,
        1e-9,
    ),
    *(604_800.0, 604_800.5, 1e15, 1e16, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
)
CANARIES = (
    "{{ 7*191 }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% include '/etc/passwd' %}",
    "${HOME}`id`$(id)",
    "'; DROP TABLE x; --",
    '" OR 1=1 --',
    "pg_catalog.pg_authid",
    "../../etc/passwd",
    "/etc/passwd",
    "landing/../../x.csv",
    "landing//etc/passwd",
    "landing/%2e%2e/x.csv",
    "landing/./x.csv",
    "file:///etc/passwd",
    "s3://bucket/x",
    "http://169.254.169.254/latest",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "os.system",
    "__class__",
    "!!python/object/apply:os.system",
    "=1+1",
    "%s%n%d",
    "{0}{x.__class__}",
    "null",
    "NaN",
    "true",
    "0x10",
    "1_000",
    "12:30:45",
    "~",
)
LETTERS = (
    "",
    " ",
    "\n",
    "a\n",
    "a\r\nb",
    "\t",
    "a\0b",
    "\x1b[2J\x1b]0;x\x07",
    "\u202ecsv.exe",
    "zero\u200bwidth",
    "\ufeffbom",
    "caf\u00e9",
    "cafe\u0301",
    "n\u043erth",
    "\u0130I\u0131i",
    "\u00df\ufb01",
    "\U0001f600",
    "\ud800",
    "a\udfffb",
    "\u2028\u2029",
    "\x7f\x80\x85",
    "\ufffe\uffff",
    "\u0300" * 50,
)
DATES = (
    "2026-02-29",
    "2024-02-29",
    "0000-00-00",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "-0044-03-15",
    "2026-03-29 02:30:00",
    "2026-11-01T01:30:00-05:00",
    "2026-11-22T24:00:00",
    "2026-12-31 23:59:60",
    "infinity",
    "epoch",
    "02:30 Europe/Berlin",
    "06:00 Europe/Nowhere",
    "24:00 UTC",
    "06:00 localtime",
    "tomorrow",
)
SIZES = (10, 100, 1_000, 10_000)


def text(dice: Random) -> str:
    """A text that somebody hostile or careless wrote."""
    chosen = dice.choice((CANARIES, LETTERS, DATES, CANARIES))
    found = dice.choice(chosen)
    if dice.random() < 0.03:
        return (found or "x") * dice.choice(SIZES)
    return found


def scalar(dice: Random) -> Any:
    """A value that holds no others."""
    return dice.choice((text, text, number, truth))(dice)


def number(dice: Random) -> Any:
    """A number at some edge."""
    return dice.choice(NUMBERS)


def truth(dice: Random) -> Any:
    """True, false, nothing, and what is taken for them."""
    return dice.choice((True, False, None, "true", "no", "", 0, 1, [], {}))


def deep(dice: Random, value: Any) -> Any:
    """A value inside many lists or mappings."""
    levels, as_list = dice.choice((1, 2, 18, 19, 20, 21, 48, 60, 120)), dice.random() < 0.5
    for _ in range(levels):
        value = [value] if as_list else {"a": value}
    return value
