"""The published airports, computed again in plain Python: an independent second opinion."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = yaml.safe_load((REPOSITORY / "dags" / "airport_reference.yaml").read_text())
NUMBERS = {"latitude", "longitude", "elevation_ft"}
LIMITS = {"latitude": (-90, 90), "longitude": (-180, 180), "elevation_ft": (-1500, 30000)}
LENGTHS = {"icao": 8, "name": 200, "city": 200}

Row = dict[str, Any]


def expected_rows(order: Sequence[str]) -> dict[str, tuple[str, Row, dict[str, str]]]:
    """Return code -> (primary source, values, source of each value), heaviest source first in `order`."""
    merged: dict[str, tuple[str, Row, dict[str, str]]] = {}
    for feed in order:
        for row in valid_rows(feed):
            _, values, sources = merged.setdefault(row["iata"], (feed, {}, {}))
            for name, value in row.items():
                if value is not None and name not in values:
                    values[name] = value
                    sources[name] = feed
    return merged


def valid_rows(feed_id: str) -> list[Row]:
    """Return the rows of a shipped list that keep the contract; the first of each code."""
    declared = next(feed for feed in PIPELINE["feeds"] if feed["id"] == feed_id)
    rows: dict[str, Row] = {}
    for raw in _raw_rows(Path(declared["uri"]).name, declared["format"]):
        row = {name: _value(name, source, raw) for name, source in declared["columns"].items()}
        if _is_valid(row):
            rows.setdefault(row["iata"], row)
    return list(rows.values())


def _raw_rows(name: str, form: str) -> list[Row]:
    content = (REPOSITORY / "demo" / "feeds" / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    return list(csv.DictReader(io.StringIO(text))) if form == "csv" else json.loads(text)


def _value(name: str, source: Any, raw: Row) -> Any:
    column = source if isinstance(source, str) else source["column"]
    value = raw[column]
    if isinstance(source, dict):
        found = re.search(source["extract"], value or "")
        value = found[1] if found else None
    if value in ("", None):
        return None
    return float(value) if name in NUMBERS else str(value)


def _is_valid(row: Row) -> bool:
    if row["iata"] is None or not re.fullmatch("[A-Z]{3}", row["iata"]) or row.get("name") is None:
        return False
    if row.get("country") is not None and not re.fullmatch("[A-Z]{2}", row["country"]):
        return False
    if any(row.get(name) is not None and len(row[name]) > limit for name, limit in LENGTHS.items()):
        return False
    return all(row.get(name) is None or low <= row[name] <= high for name, (low, high) in LIMITS.items())
