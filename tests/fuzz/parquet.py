"""Parquet files: written by an engine with changed columns, types and compression, and then damaged."""

from __future__ import annotations

import os
import struct
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import duckdb

from tests.fuzz import raw
from tests.fuzz.inputs import Made
from tests.fuzz.tables import APART, COLUMNS, fewer, rows, spoilt

TYPES = {
    "id": "VARCHAR",
    "name": "VARCHAR",
    "size": "INTEGER",
    "value": "DOUBLE",
    "seen": "BOOLEAN",
    "day": "DATE",
    "at": "TIMESTAMP",
    "kind": "VARCHAR",
}
OTHER_TYPES = (
    *(
        "VARCHAR",
        "TINYINT",
        "BIGINT",
        "HUGEINT",
        "UBIGINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL(18,3)",
        "DECIMAL(38,10)",
    ),
    *(
        "BOOLEAN",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "TIMESTAMP_NS",
        "TIME",
        "BLOB",
        "UUID",
        "INTERVAL",
        "BIT",
    ),
    *("VARCHAR[]", "STRUCT(a VARCHAR)", "MAP(VARCHAR, VARCHAR)", "INTEGER[][]"),
)
COMPRESSIONS = ("snappy", "zstd", "gzip", "lz4_raw", "brotli", "uncompressed")


def writer() -> duckdb.DuckDBPyConnection:
    """The engine that writes the files and looks at results; the product's own is another one."""
    return _writer_of(os.getpid())


@cache
def _writer_of(_: int) -> duckdb.DuckDBPyConnection:
    """One for each process: the threads of an engine are not there any more after a fork."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def make_parquet(dice: Random) -> Made:
    """A Parquet feed, damaged or not; `rows` is what was written into one that is whole."""
    table, done = spoilt(dice, rows(dice))
    columns, more = _columns(dice)
    try:
        data = _written(dice, table, columns)
    except duckdb.Error:  # not every value can be written in every type
        data = _written(dice, table, list(TYPES.items()))
    known: int | None = len(table)
    if dice.random() < 0.6:
        data, how = _damaged(dice, data)
        done, known = [*done, how], None
    feed: dict[str, Any] = {
        "id": "list",
        "uri": "in/list.parquet",
        "format": "parquet",
        "columns": dict(zip(COLUMNS, COLUMNS, strict=True)),
    }
    if dice.random() < 0.1:
        feed["columns"]["name"] = {"expression": dice.choice(("upper(name)", "size + 1", "name || kind"))}
    feed["columns"] = fewer(dice, feed["columns"])
    right = not (*done, *more) and isinstance(feed["columns"].get("name", "name"), str)
    terms = {
        "contract": "plain",
        "feed": feed,
        "rows": known,
        "apart": dice.random() < APART,
        "right": right,
    }
    return Made(kind="parquet", files={"in/list.parquet": data}, terms=terms, changes=(*done, *more))


def _columns(dice: Random) -> tuple[list[tuple[str, str]], list[str]]:
    columns, done = list(TYPES.items()), list[str]()
    for _ in range(dice.choices((0, 1, 2), (55, 30, 15))[0]):
        at = dice.randrange(len(columns))
        how = dice.choices(("type", "drop", "rename", "add", "swap"), (60, 10, 10, 10, 10))[0]
        done.append(how)
        name, kind = columns[at]
        if how == "type":
            columns[at] = (name, dice.choice(OTHER_TYPES))
        elif how == "drop" and len(columns) > 1:
            del columns[at]
        elif how == "rename":
            columns[at] = (dice.choice((name.upper(), f"{name}x", "a b", 'q"q', "caf\u00e9")) + str(at), kind)
        elif how == "add":
            columns.append((f"more_{len(columns)}", dice.choice(OTHER_TYPES)))
        else:
            dice.shuffle(columns)
    return columns, done


def _written(dice: Random, table: list[list[str]], columns: list[tuple[str, str]]) -> bytes:
    positions = {name: number for number, name in enumerate(COLUMNS)}
    connection = writer()
    connection.execute("CREATE OR REPLACE TEMP TABLE cells (c VARCHAR[], n INTEGER)")
    for number, row in enumerate(table):
        plain = [cell.encode("utf-8", "replace").decode() for cell in row]
        connection.execute("INSERT INTO cells VALUES (?, ?)", [plain, number])
    chosen = ", ".join(
        f"{_cell(positions.get(name, 0) + 1, kind)} AS {_identifier(name)}" for name, kind in columns
    )
    options = (
        f"FORMAT parquet, COMPRESSION {dice.choice(COMPRESSIONS)}, ROW_GROUP_SIZE {dice.choice((2048, 122_880))}, "
        f"PARQUET_VERSION {dice.choice(('v1', 'v2'))}"
    )
    with tempfile.TemporaryDirectory(prefix="fuzz-parquet-") as folder:
        path = Path(folder) / "it.parquet"
        connection.execute(f"COPY (SELECT {chosen} FROM cells ORDER BY n) TO '{path}' ({options})")
        return path.read_bytes()


def _cell(place: int, kind: str) -> str:
    text = f"nullif(c[{place}], '')"
    if kind.endswith("[]"):
        return f"[{text}]::VARCHAR[]" if kind == "VARCHAR[]" else "[[1, 2], NULL]::INTEGER[][]"
    if kind.startswith("STRUCT"):
        return f"{{a: {text}}}"
    if kind.startswith("MAP"):
        return f"MAP {{'k': {text}}}"
    if kind == "BLOB":
        return f"encode({text})"
    return f"TRY_CAST({text} AS {kind})"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _damaged(dice: Random, data: bytes) -> tuple[bytes, str]:
    how = dice.choice((_byte, _footer, _page, _length, _magic, _truncated, _spliced, _byte, _footer, _page))
    return how(dice, data), f"parquet {how.__name__[1:]}"


def _byte(dice: Random, data: bytes) -> bytes:
    return raw.change(dice, data)[0]


def _footer_start(data: bytes) -> int:
    return max(4, len(data) - 8 - int(struct.unpack("<I", data[-8:-4])[0]))


def _changed_between(dice: Random, data: bytes, start: int, end: int) -> bytes:
    made = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(start, max(start + 1, end))
        made[at] = dice.choice((0, 255, 127, 128, made[at] ^ (1 << dice.randrange(8)), (made[at] + 1) % 256))
    return bytes(made)


def _footer(dice: Random, data: bytes) -> bytes:
    """Let the footer lie: about rows, sizes, offsets, types, or about what a list holds."""
    return _changed_between(dice, data, _footer_start(data), len(data) - 8)


def _page(dice: Random, data: bytes) -> bytes:
    return _changed_between(dice, data, 4, _footer_start(data))


def _length(dice: Random, data: bytes) -> bytes:
    length = dice.choice(
        (0, 1, 8, len(data), len(data) - 12, 2**31 - 1, 2**32 - 1, dice.randrange(len(data)))
    )
    return data[:-8] + struct.pack("<I", length % 2**32) + data[-4:]


def _magic(dice: Random, data: bytes) -> bytes:
    start, end = dice.choice(((b"PARE", b"PARE"), (b"PAR1", b"PAR2"), (b"XXXX", b"PAR1"), (b"", b"PAR1")))
    return start + data[4:-4] + end


def _truncated(dice: Random, data: bytes) -> bytes:
    return data[: dice.randrange(len(data))]


def _spliced(dice: Random, data: bytes) -> bytes:
    """The pages of one file under the footer of another."""
    other = _written(dice, rows(dice), list(TYPES.items()))
    return other[: _footer_start(other)] + data[_footer_start(data) :]
