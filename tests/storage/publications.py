"""Rows to publish, as the engine exports them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.storage.publishing import FeedRows, Publication
from tests.storage.builders import RUN

TABLE = "public.airport"
KEY = "airports/manual__1"
CONTRACT = Contract(
    name="airports",
    key=("code",),
    columns=(
        Column(name="code", type=ColumnType.STRING, required=True),
        Column(name="name", type=ColumnType.STRING, required=True),
        Column(name="elevation", type=ColumnType.INTEGER),
        Column(name="latitude", type=ColumnType.NUMBER),
        Column(name="open", type=ColumnType.BOOLEAN),
        Column(name="since", type=ColumnType.DATE),
        Column(name="seen_at", type=ColumnType.TIMESTAMP),
    ),
)
FEEDS = ("heavy", "light")

Cells = Sequence[object]


def csv(rows: Iterable[Cells]) -> bytes:
    """Every text is quoted, so that an empty unquoted field is null."""
    return b"".join(",".join(map(_cell, row)).encode() + b"\n" for row in rows)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return '"' + value.replace('"', '""') + '"'
        case list() | dict():
            return _cell(json.dumps(value))
        case _:
            return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Content:
    """Merged and quarantined rows, and the figures that they come with."""

    merged: list[list[Any]]
    quarantined: list[list[Any]] = field(default_factory=list)

    def feeds(self) -> dict[str, FeedRows]:
        published = Counter(row[-5] for row in self.merged)
        held = Counter(feed for row in self.merged for feed in row[-4])
        quarantined = Counter(row[0] for row in self.quarantined)
        return {
            feed: FeedRows(
                rows_in=held[feed] + quarantined[feed],
                rows_staged=held[feed],
                rows_quarantined=quarantined[feed],
                published=published[feed],
                superseded=held[feed] - published[feed],
            )
            for feed in FEEDS
        }

    def chunks(self) -> tuple[Iterator[bytes], Iterator[bytes]]:
        return iter([csv(self.merged)]), iter([csv(self.quarantined)])


def row(
    code: str, name: str = "A name", elevation: int | None = 7, sources: Sequence[str] = FEEDS
) -> list[Any]:
    cells = [code, name, elevation, 47.5, True, "1999-12-31", "2026-11-22 10:00:00+00"]
    return [*cells, sources[0], list(sources), {"name": sources[0]}, {"name": 1}, []]


def content(count: int = 5, name: str = "A name") -> Content:
    """Every third row comes from one feed alone; every feed has a quarantined row."""
    merged = [row(f"c{number}", name, number, FEEDS[: 1 if number % 3 else 2]) for number in range(count)]
    bad = [[feed, f"{feed}.csv", 3, "required", "name", "is empty", 'raw, "quoted"'] for feed in FEEDS]
    return Content(merged, bad)


def publication(rows: Content, epoch: int = 1, content_sha256: str = "one", **changes: Any) -> Publication:
    known: dict[str, Any] = {
        "table": TABLE,
        "publication_key": KEY,
        "run": RUN,
        "round": 1,
        "epoch": epoch,
        "content_sha256": content_sha256,
        "contract": CONTRACT,
        "feeds": rows.feeds(),
    }
    return Publication(**known | changes)
