"""The survey is near enough, reads little, and never fails."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.engine.survey import ABSENT, FeedVolume, survey
from airflow_orchestration.sources.fetched import SourceFile
from tests.engine.builders import feed, source_file

ROWS = 20_000
OBJECTS = [{"id": f"K{n:05}", "name": "some name", "size": n, "at": {"x": [n]}} for n in range(ROWS)]
CSV = b"id,name,size,other\n" + b"".join(b"K%05d,some name,%05d,\n" % (n, n) for n in range(ROWS))
JSON = json.dumps(OBJECTS).encode()
NDJSON = b"".join(json.dumps(row).encode() + b"\n" for row in OBJECTS)
FILES: dict[str, tuple[str, bytes, int]] = {
    "csv": ("csv", CSV, 1),
    "csv gzip": ("csv", gzip.compress(CSV), 1),
    "json": ("json", JSON, 3),
    "json gzip": ("json", gzip.compress(JSON), 3),
    "indented json": ("json", json.dumps(OBJECTS, indent=2).encode(), 3),
    "ndjson": ("ndjson", NDJSON, 3),
    "ndjson gzip": ("ndjson", gzip.compress(NDJSON), 3),
}


@pytest.mark.parametrize(("layout", "data", "nesting"), FILES.values(), ids=FILES)
def test_a_large_file_is_estimated_from_its_start(
    tmp_path: Path, layout: str, data: bytes, nesting: int
) -> None:
    """Rows within a fifth, columns and nesting exactly."""
    path = tmp_path / "list"
    path.write_bytes(data)
    found = survey(feed(format=layout), source_file(path))
    assert (len(data), 4, nesting, True) == (found.bytes, found.columns, found.nesting, found.present)
    assert 0.8 * ROWS < found.rows < 1.2 * ROWS


@pytest.mark.parametrize(
    ("layout", "data", "rows"),
    [
        ("csv", b"id,name\nA,a\nB,b\n", 2),
        ("csv", b"id,name\nA,a\nB,b", 2),
        ("csv", b"id,name\n", 0),
        ("json", b'[{"id": 1}, {"id": 2}, {"id": 3}]', 3),
        ("json", b"[]", 0),
        ("ndjson", b'{"id": 1}\n{"id": 2}\n', 2),
    ],
)
def test_a_small_file_is_counted(tmp_path: Path, layout: str, data: bytes, rows: int) -> None:
    """What fits into the sample is no estimate."""
    path = tmp_path / "list"
    path.write_bytes(data)
    assert rows == survey(feed(format=layout), source_file(path)).rows


def test_parquet_knows_its_rows(tmp_path: Path) -> None:
    """From the footer, without reading the rows."""
    path = tmp_path / "list.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT range AS a, [range] AS b FROM range(12345)) TO '{path}'")
    expected = FeedVolume(bytes=path.stat().st_size, rows=12_345, columns=2, nesting=2, present=True)
    assert expected == survey(feed(format="parquet"), source_file(path))


NOISE = os.urandom(100_000)
BROKEN = [
    b"", b"\0", b"\xff\xfe\x00", NOISE, b"[" * 200_000, b"{" * 100_000, b'[{"a":' * 30_000, b'"' * 70_000, b"\n" * 70_000,
    gzip.compress(NOISE)[:50], gzip.compress(CSV)[:-100], b"\x1f\x8b\x08" + NOISE, gzip.compress(bytes(50_000_000)), b"PAR1",
    b"null", b"[1, 2, 3]", b'{"a": 1}', CSV[:30], b"x" * 3_000_000,
]  # fmt: skip


@pytest.mark.parametrize("layout", ["csv", "json", "ndjson", "parquet"])
@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_surveyed_all_the_same(tmp_path: Path, layout: str, data: bytes) -> None:
    """Planning goes on; the ingest will say what is wrong."""
    path = tmp_path / "list"
    path.write_bytes(data)
    found = survey(feed(format=layout), source_file(path))
    assert (len(data), True) == (found.bytes, found.present)
    assert min(found.rows, found.columns, found.nesting) >= 0


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("prepare", [str, Path.mkdir, make_fifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_absent(tmp_path: Path, prepare: Any) -> None:
    """Nothing there, a folder, a pipe without a writer, a link to itself."""
    prepare(tmp_path / "list")
    assert ABSENT == survey(feed(), source_file(tmp_path / "list"))


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_what_lies_outside_its_root_is_absent(tmp_path: Path, layout: str) -> None:
    """A link out of the root tells nothing about what it leads to; a link within the root is followed."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(CSV)
    (root / "list").write_bytes(CSV)
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "latest").symlink_to(root / "list")
    for name in ("out", "up/secret", "../secret"):
        outside = SourceFile(path=root / name, root=root, origin=name)
        assert ABSENT == survey(feed(format=layout), outside)
    assert survey(feed(format=layout), source_file(root / "latest")).present


def test_without_its_root_nothing_is_there(tmp_path: Path) -> None:
    """A root that isn't mounted holds no files."""
    assert ABSENT == survey(feed(), source_file(tmp_path / "gone" / "list"))
