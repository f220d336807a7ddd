"""What owners of data may deliver: files of every format, whole, broken, and too large."""

from __future__ import annotations

import codecs
import gzip
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.location import Location
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.engine.source import open_source
from airflow_orchestration.sources.fetch import fetch
from airflow_orchestration.sources.fetched import SourceFile
from airflow_orchestration.sources.outside import NOWHERE
from tests.engine.builders import PLACES, Bench, balanced, contract, feed, rejected, rows_of

HEADER = b"id,name,size\n"
MIB = 2**20
RULES: Mapping[str, Contract] = {
    "numbers": contract({"name": "name", "type": "number"}, {"name": "size", "type": "integer"}),
    "times": contract({"name": "name", "type": "timestamp", "minimum": "1900-01-01T00:00:00"}),
}
"""Contracts beside the usual one."""


def parquet(query: str) -> bytes:
    """The rows of a query as a Parquet file."""
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{folder}/made.parquet' (FORMAT parquet)")
        return Path(folder, "made.parquet").read_bytes()


def flipped() -> bytes:
    """A Parquet file one bit of whose footer is another."""
    data = bytearray(parquet("SELECT 'A' AS id, 'a' AS name, 1 AS size"))
    data[-20] ^= 1
    return bytes(data)


def page_flipped() -> bytes:
    """A Parquet file one bit of a value of which is another: A1 became A0, and nothing in the file says so."""
    data = parquet("SELECT 'A1' AS id, 'a' AS name, 1 AS size")
    at = data.index(b"A1")
    return data[: at + 1] + bytes([data[at + 1] ^ 1]) + data[at + 2 :]


MADE: Mapping[str, Callable[[], bytes]] = {
    "a line of 2 MB": lambda: HEADER + b"A,a,1\nB," + b"x" * 2_000_000 + b",2\nC,c,3\n",
    "UTF-16": lambda: codecs.BOM_UTF16_LE + "id,name,size\nA,a,1\n".encode("utf-16-le"),
    "a packed bomb": lambda: gzip.compress(bytes(30 * MIB)),
    "half of a packed file": lambda: gzip.compress(HEADER + os.urandom(9_000))[:-2_000],
    "half of a Parquet file": lambda: parquet(
        "SELECT 'A' || range AS id, 'a' AS name, 1 AS size FROM range(9000)"
    )[:9_000],
    "Parquet with a bit that flipped": flipped,
    "Parquet with a bit of a value that flipped": page_flipped,
    "a Parquet bomb": lambda: parquet(
        "SELECT 'A' AS id, repeat('x', 1000) AS name, 1 AS size FROM range(20000)"
    ),
    "Parquet with another type": lambda: parquet("SELECT 'A' AS id, 'a' AS name, 'big' AS size"),
    "Parquet without a column": lambda: parquet("SELECT 'A' AS id, 'a' AS name"),
    "Parquet with a column more": lambda: parquet("SELECT 'A' AS id, 'a' AS name, 1 AS size, 2 AS more"),
    "10,000 columns": lambda: (
        b"id,name,size," + b",".join(b"c%d" % n for n in range(9_997)) + b"\nA,a,1" + b",x" * 9_997 + b"\n"
    ),
}
"""What is too large or too strange to be written down."""


def read(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read a file as its branch does; `text` is one of CSV, `bytes` are in hexadecimal digits, `made` has a name above."""
    bench, options = Bench(folder), dict(given.get("feed", {}))
    path = bench.write(_bytes(given), given.get("name", "list.csv"))
    described = feed(**options)
    done = ingest(
        described,
        fetched=bench.fetched(described, path),
        contract=RULES[given["rules"]] if "rules" in given else PLACES,
        scratch=bench.scratch(),
    )
    return facts(done)


def facts(done: Ingested) -> dict[str, Any]:
    """What became of the rows: all of them are accounted for."""
    assert balanced(done)
    return {
        "rows": done.rows_in,
        "staged": done.rows_staged,
        "quarantined": dict(Counter(rule for _, rule in rejected(done))),
        "why": [row[0] for row in rows_of(done.quarantine, "reason")],
        "columns": sorted({row[0] for row in rows_of(done.quarantine, "column_name") if row[0]}),
        "values": [list(map(str, row)) for row in rows_of(done.staged, "id, name")][:3],
    }


def _bytes(given: Mapping[str, Any]) -> bytes:
    if "made" in given:
        return MADE[given["made"]]()
    return bytes.fromhex(given["bytes"]) if "bytes" in given else str(given["text"]).encode()


def _missing(root: Path) -> None:
    (root / "list.csv").unlink()


def _link(root: Path) -> None:
    (root / "list.csv").unlink()
    (root / "list.csv").symlink_to(root.parent / "secret.csv")


def _folder(root: Path) -> None:
    (root / "list.csv").unlink()
    (root / "list.csv").mkdir()


def _pipe(root: Path) -> None:
    (root / "list.csv").unlink()
    os.mkfifo(root / "list.csv")


def _device(root: Path) -> None:
    (root / "list.csv").unlink()
    (root / "list.csv").symlink_to("/dev/zero")


BEFORE: Mapping[str, Callable[[Path], None]] = {
    "missing": _missing,
    "link": _link,
    "folder": _folder,
    "pipe": _pipe,
    "device": _device,
    "nothing": lambda _: None,
}
"""What stands in the place of a file."""


def find(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Look for a file below its root, and open it; `meanwhile` it is written to."""
    root = folder / "root"
    root.mkdir()
    (root / "list.csv").write_bytes(HEADER)
    (folder / "secret.csv").write_bytes(HEADER)
    BEFORE[given["place"]](root)
    scratch = folder / "scratch"
    scratch.mkdir()
    if "pattern" in given:
        fetch(feed(), Location(root=str(root), below=given["pattern"]), NOWHERE, scratch)
    source = SourceFile(path=root / given.get("below", "list.csv"), root=root, origin="list.csv")
    with open_source(source, feed_id="list", scratch=scratch) as opened:
        if given.get("meanwhile"):
            with (root / "list.csv").open("ab") as file:
                file.write(b"A,a,1\n")
        return {"bytes": opened.path.stat().st_size}
