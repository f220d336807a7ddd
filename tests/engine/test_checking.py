"""A value counts when its text says exactly that value, in every format that can carry the text."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest

from tests.engine.builders import Bench, contract, rejected, rows_of

# Type: [(text, what is staged as text)], None for a text that is rejected.
CASTS: dict[str, list[tuple[str, str | None]]] = {
    "integer": [
        ("0", "0"), ("-7", "-7"), ("+5", "5"), ("007", "7"), (" 5 ", "5"), ("1.0", "1"), ("1.", "1"), ("-0", "0"),
        ("9223372036854775807", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", None), ("1.7", None), (".5", None), ("1e5", None), ("1e-1", None), ("1_000", None),
        ("0x10", None), ("0b11", None), ("1,000", None), ("true", None), ("NaN", None), ("--1", None), ("\N{FULLWIDTH DIGIT FIVE}", None),
        ("1.00000000000000000001", None), ("99999999999999999999999", None), ("1 2", None), ("one", None),
    ],
    "number": [
        ("0", "0.0"), ("1.5", "1.5"), ("-.5", "-0.5"), ("5.", "5.0"), ("+5", "5.0"), (" 5 ", "5.0"), ("1e5", "100000.0"),
        ("1E-3", "0.001"), ("1e300", "1e+300"), ("NaN", None), ("nan", None), ("inf", None), ("-Infinity", None),
        ("1e400", None), ("1_0", None), ("0x10", None), ("1,5", None), ("1 2", None), ("--1", None), ("e5", None),
        ("1d", None), ("true", None),
    ],
    "boolean": [
        ("true", "true"), ("FALSE", "false"), ("t", "true"), ("f", "false"), ("1", "true"), ("0", "false"), ("yes", "true"),
        ("no", "false"), ("2", None), ("1.0", None), ("on", None), ("maybe", None),
    ],
    "date": [
        ("2026-11-22", "2026-11-22"), ("2026/11/22", "2026-11-22"), ("2026-1-5", "2026-01-05"),
        (" 2026-11-22 ", "2026-11-22"), ("2026-11-22 00:00:00", "2026-11-22"), ("2026-11-22T00:00", "2026-11-22"),
        ("0001-01-01", "0001-01-01"), ("9999-12-31", "9999-12-31"), ("2026-02-30", None), ("2026-11-22 10:00", None),
        ("2026-11-22T00:00:01", None), ("22.11.2026", None), ("20261122", None), ("infinity", None), ("epoch", None),
        ("0000-01-01", None), ("12026-01-01", None), ("12026-1-1", None), ("1-1-1 (BC)", None), ("-2026-01-1", None),
        ("today", None),
    ],
    "timestamp": [
        ("2026-11-22 10:00:00", "2026-11-22 10:00:00"), ("2026-11-22T10:00:00", "2026-11-22 10:00:00"),
        ("2026-11-22T10:00:00Z", "2026-11-22 10:00:00"), ("2026-11-22 10:00:00+00", "2026-11-22 10:00:00"),
        ("2026-11-22 10:00:00+00:00", "2026-11-22 10:00:00"), ("2026-11-22 10:00:00 UTC", "2026-11-22 10:00:00"),
        ("2026-11-22", "2026-11-22 00:00:00"), ("2026-11-22 10:00", "2026-11-22 10:00:00"),
        ("2026-11-22 10:00:00.5", "2026-11-22 10:00:00.5"), ("2026-11-22 10:00:00.123456", "2026-11-22 10:00:00.123456"),
        ("2026-11-22 10:00:00.123456000", "2026-11-22 10:00:00.123456"), ("2026-11-22 10:00:00.1234567", None),
        ("2026-11-22 10:00:00+02", None), ("2026-11-22 10:00:00+02:30", None), ("2026-11-22 10:00-02", None),
        ("2026-11-22 10:00:00 Europe/Berlin", None), ("2026-11-22 10:00:00 PM", None), ("2026-11-22 10:00:60", None),
        ("infinity", None), ("-infinity", None), ("epoch", None), ("now", None), ("12026-11-22 10:00:00", None),
        ("1-1-1 1:1:1.1234567", None), ("0044-03-15 (BC) 00:00:00", None),
    ],
}  # fmt: skip
CASES = [(kind, text, value) for kind, cases in CASTS.items() for text, value in cases]


def as_csv(texts: list[str]) -> bytes:
    return "".join(["id,x\n", *(f'{n},"{text}"\n' for n, text in enumerate(texts))]).encode()


def as_json(texts: list[str]) -> bytes:
    return json.dumps([{"id": str(n), "x": text} for n, text in enumerate(texts)]).encode()


def as_ndjson(texts: list[str]) -> bytes:
    return "".join(json.dumps({"id": str(n), "x": text}) + "\n" for n, text in enumerate(texts)).encode()


WRITERS = {"csv": as_csv, "json": as_json, "ndjson": as_ndjson}


def staged_texts(done: Any, count: int) -> list[str | None]:
    found = dict(rows_of(done.staged, "id, x::VARCHAR"))
    return [found.get(str(number)) for number in range(count)]


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("kind", CASTS)
def test_texts_are_cast_without_loss_or_rejected(bench: Bench, kind: str, layout: str) -> None:
    """Nothing is rounded, cut or guessed; the same in every text format."""
    texts = [text for text, _ in CASTS[kind]]
    done = bench.ingest(
        WRITERS[layout](texts),
        rules=contract({"name": "x", "type": kind}),
        columns={"id": "id", "x": "x"},
        format=layout,
    )
    assert [value for _, value in CASTS[kind]] == staged_texts(done, len(texts))
    assert {"type"} == {rule for _, rule in rejected(done)}


@pytest.mark.parametrize("kind", CASTS)
def test_texts_in_parquet_are_cast_the_same_way(bench: Bench, kind: str) -> None:
    """A Parquet column of texts goes through the same checks."""
    texts = [text for text, _ in CASTS[kind]]
    path = bench.write(b"", "list.parquet")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (id VARCHAR, x VARCHAR)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?)", [(str(n), text) for n, text in enumerate(texts)]
        )
        connection.execute(f"COPY t TO '{path}'")
    done = bench.ingest(
        path.read_bytes(),
        name="list.parquet",
        rules=contract({"name": "x", "type": kind}),
        columns={"id": "id", "x": "x"},
        format="parquet",
    )
    assert [value for _, value in CASTS[kind]] == staged_texts(done, len(texts))


@pytest.mark.parametrize(("kind", "text", "value"), CASES, ids=[f"{kind}-{text}" for kind, text, _ in CASES])
@pytest.mark.parametrize("required", [True, False])
def test_required_and_optional_columns_judge_alike(
    bench: Bench, kind: str, text: str, value: str | None, required: bool
) -> None:
    """What is a value doesn't depend on whether one is needed."""
    rules = contract({"name": "x", "type": kind, "required": required})
    done = bench.ingest(as_csv([text, ""]), rules=rules, columns={"id": "id", "x": "x"})
    assert ([] if value is None else [value]) == [
        found for (found,) in rows_of(done.staged, "x::VARCHAR") if found is not None
    ]
    assert [*([(2, "type")] if value is None else []), *([(3, "required")] if required else [])] == rejected(
        done
    )


BOUNDS = [
    ({"type": "integer", "minimum": 2, "maximum": 4}, ["2", "4"], ["1", "5"], ["minimum", "maximum"]),
    ({"type": "integer", "minimum": 2.5}, ["3"], ["2"], ["minimum"]),
    ({"type": "integer", "maximum": 9007199254740992}, ["9007199254740992"], ["9007199254740994"], ["maximum"]),
    ({"type": "number", "minimum": -0.5, "maximum": 1e10}, ["-0.5", "1e10"], ["-0.51", "1.1e10"], ["minimum", "maximum"]),
    ({"type": "string", "min_length": 2, "max_length": 3}, ["éé", "𝄞𝄞𝄞"], ["é", "éééé"], ["min_length", "max_length"]),
    ({"type": "string", "pattern": "a+|b"}, ["aa", "b"], ["ab", "xa", "c"], ["pattern"] * 3),
    ({"type": "string", "pattern": "it's"}, ["it's"], ["its"], ["pattern"]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "good", "bad", "rules"), BOUNDS)
def test_bounds_and_patterns(
    bench: Bench, column: dict[str, Any], good: list[str], bad: list[str], rules: list[str]
) -> None:
    """Bounds include themselves, lengths are in characters, a pattern matches the whole text."""
    done = bench.ingest(
        as_csv([*good, *bad]), rules=contract({"name": "x", **column}), columns={"id": "id", "x": "x"}
    )
    assert len(good) == done.rows_staged
    assert [(len(good) + 2 + n, rule) for n, rule in enumerate(rules)] == rejected(done)
