"""Staged files that are not what they were."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString

import duckdb
import psycopg

from tests.torture.path_account import GivenUpError
from tests.torture.path_processes import Kind

OF_THE_MERGE: LiteralString = """
    SELECT staged_uri FROM orchestration.merge WHERE staged_uri IS NOT NULL ORDER BY epoch DESC LIMIT 1"""
OF_THE_HEAVIEST: LiteralString = """
    SELECT staged_uri FROM orchestration.feed_outcome WHERE feed_id = 'heavy' ORDER BY epoch DESC LIMIT 1"""


def staged(dsn: str, query: LiteralString) -> Path:
    """A registered file."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    if row is None:
        raise GivenUpError("nothing is staged")
    return Path(row[0])


def alter(path: Path, kind: Kind) -> None:
    """Spoil a staged file."""
    if kind is Kind.FLIP:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return
    with duckdb.connect(config={"threads": 1}) as connection:
        spoilt = path.with_suffix(".spoilt")
        connection.execute(
            f"COPY (SELECT * REPLACE ('spoilt' AS name) FROM read_parquet('{path}')) TO '{spoilt}' (FORMAT parquet)"
        )
    spoilt.replace(path)
