"""The contract of the feeds that the fuzzer makes, and what each of its columns may hold, said once more in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from airflow_orchestration.domain.contract import Contract

PLAIN = Contract.model_validate(
    {
        "name": "plain",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "string", "pattern": "[A-Z0-9]{1,8}"},
            {"name": "name", "type": "string", "max_length": 60},
            {"name": "size", "type": "integer", "minimum": 0, "maximum": 1000},
            {"name": "value", "type": "number", "minimum": -1e9},
            {"name": "seen", "type": "boolean"},
            {"name": "day", "type": "date"},
            {"name": "at", "type": "timestamp"},
            {"name": "kind", "type": "string", "enum": ["a", "b"]},
        ],
    }
)
CONTRACTS: Mapping[str, Contract] = {"plain": PLAIN}
"""By the name that an input has for it."""


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


ALLOWED: Mapping[str, Callable[[Any], bool]] = {
    "id": lambda it: isinstance(it, str) and re.fullmatch("[A-Z0-9]{1,8}", it) is not None,
    "name": lambda it: it is None or (isinstance(it, str) and len(it) <= 60 and it != "" and "\0" not in it),
    "size": lambda it: it is None or (isinstance(it, int) and _number(it, 0, 1000)),
    "value": lambda it: it is None or _number(it, -1e9, 1.7976931348623157e308),
    "seen": lambda it: it is None or isinstance(it, bool),
    "day": lambda it: it is None or (isinstance(it, date) and not isinstance(it, datetime)),
    "at": lambda it: it is None or (isinstance(it, datetime) and it.tzinfo is None),
    "kind": lambda it: it in {None, "a", "b"},
}
"""Whether a staged value is one that `PLAIN` allows."""
