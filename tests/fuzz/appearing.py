"""Is everything that was written in what was read? Compares a document with a model of it, knowing no model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

Bounds = tuple[float, float]
MOST = 2**53
"""Beyond it a number of JSON isn't exact."""
WEEK = 604_800
SHARE, SECONDS, COUNT = (0.0, 1.0), (5e-324, float(WEEK)), (1, MOST)
ANY = (-math.inf, math.inf)
BOUNDS: Mapping[str, Bounds] = {
    **dict.fromkeys(("approve_at", "fail_below", "min_quality", "quality_approve_at"), SHARE),
    **dict.fromkeys(("cpu_available", "quality_requirement"), SHARE),
    **dict.fromkeys(("never_share", "failed_share", "late_share"), SHARE),
    **dict.fromkeys(("floor", "sync_floor", "min_sync_floor"), (0.01, 1.0)),
    **dict.fromkeys(("deadline", "sync_deadline", "max_sync_deadline", "ask_timeout", "seconds"), SECONDS),
    "median_seconds": SECONDS,
    **dict.fromkeys(("grace_period", "sync_grace_period", "min_sync_grace_period"), (0, WEEK)),
    "late_seconds": (0, WEEK),
    **dict.fromkeys(("timeout_seconds", "wait_seconds", "sla_seconds", "response_time_seconds"), (1, WEEK)),
    **dict.fromkeys(("max_concurrent_batches", "workers", "agent_count", "half_life"), (1, 1000)),
    **dict.fromkeys(("retry_attempts", "retries"), (0, 10)),
    **dict.fromkeys(("max_rounds", "max_iterations"), (1, 10)),
    **dict.fromkeys(("usual_rows", "bytes", "rows"), COUNT),
    "weight": (5e-324, 1000),
    "spread": (1, 100),
    "records": (1, 100_000_000),
    "batch_size": (1, 1_000_000_000),
    "confidence_level": (5e-324, math.nextafter(1, 0)),
    "throughput_per_second": (5e-324, 1_000_000_000),
    "cpu_millicores": (1, 1_000_000),
    "memory_mb": (1, MOST),
    "capacity.memory_mb": (256, MOST),
    "connections": (0, 100_000),
    "tolerance": (0, math.inf),
    "multiple_of": (5e-324, math.inf),
    **dict.fromkeys(("min_length", "max_length"), (0, math.inf)),
    **dict.fromkeys(("minimum", "maximum", "exclusive_minimum", "exclusive_maximum", "low", "high"), ANY),
}
"""By the name of a field, with that of what it stands in where two differ: what is documented, written down once more."""
NAMED_BY_AUTHORS = frozenset({"tolerance", "columns", "measures", "roots", "attributes", "schema_mapping"})
"""Mappings whose keys are names, not fields."""
HOW_DEEP = 60


def lost(written: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Name what stands in a document and is not in what was read."""
    if isinstance(written, dict):
        yield from _lost_in_mapping(written, kept, path)
    elif isinstance(written, list | tuple):
        if not isinstance(kept, list | tuple) or len(kept) != len(written):
            yield f"{path}: a list of {len(written)} became {_short(kept)}"
        else:
            for number, (one, other) in enumerate(zip(written, kept, strict=True)):
                yield from lost(one, other, f"{path}[{number}]")
    elif not _is_same(written, kept):
        yield f"{path}: {_short(written)} became {_short(kept)}"


def _lost_in_mapping(written: dict[Any, Any], kept: Any, path: str) -> Iterator[str]:
    if not isinstance(kept, dict):
        yield f"{path}: a mapping became {_short(kept)}"
        return
    for key, value in written.items():
        if key not in kept:
            yield f"{path}.{key!a} vanished"
        else:
            yield from lost(value, kept[key], f"{path}.{key}")


def _is_same(written: Any, kept: Any) -> bool:
    if isinstance(written, bool) or isinstance(kept, bool) or written is None:
        return written is kept
    if isinstance(written, int | float):
        return isinstance(kept, int | float) and written == kept
    return bool(written == kept)


def _short(value: Any) -> str:
    return f"{type(value).__name__} {ascii(value)[:100]}"


def unbounded(kept: Any, path: str = "") -> Iterator[str]:
    """Name the numbers of what was read that are none, or beyond the bounds of their field."""
    waiting: list[tuple[Any, str, str | None]] = [(kept, path, None)]
    while waiting:
        value, place, field = waiting.pop()
        if isinstance(value, dict):
            free = field in NAMED_BY_AUTHORS
            waiting += [(one, f"{place}.{key}", field if free else str(key)) for key, one in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(one, f"{place}[{number}]", None) for number, one in enumerate(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            inside = ".".join(place.split(".")[-2:])
            low, high = BOUNDS.get(inside, BOUNDS.get(field or "", ANY))
            if not (low <= value <= high) or not math.isfinite(value):
                yield f"{place} is {value!r}"
