"""Nothing is lost: seeded bad lines are all found at their numbers, random files add up against plain Python."""

from __future__ import annotations

import csv
import io
import math
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.builders import Bench, balanced, contract, rejected, rows_of

LONG = os.environ.get("ORCHESTRATION_LONG") == "1"
ORDERS = contract(
    {"name": "customer", "type": "integer", "required": True, "minimum": 0},
    {"name": "amount", "type": "number"},
    {"name": "note", "type": "string", "max_length": 40},
    {"name": "paid", "type": "boolean"},
    {"name": "day", "type": "date"},
)
COLUMNS = {column.name: column.name for column in ORDERS.columns}
BAD = {
    "open quote": (b'O%d,1,2.5,"never closed,true,2026-01-01', "malformed"),
    "open quote at the end": (b'O%d,1,2.5,n,true,"2026-01-01', "malformed"),
    "even quotes, one open": (b'O%d,1,2.5,a"b,true,"2026-01-01', "malformed"),
    "text after a quote": (b'O%d,1,2.5,"a"b,true,2026-01-01', "malformed"),
    "too few": (b"O%d,1,2.5", "malformed"),
    "too many": (b"O%d,1,2.5,n,true,2026-01-01,more", "malformed"),
    "bad byte": (b"O%d,1,2.5,caf\xe9,true,2026-01-01", "malformed"),
    "NUL": (b"O%d,1,2.5,\0,true,2026-01-01", "malformed"),
    "lone CR": (b"O%d,1,2.5,a\rb,true,2026-01-01", "malformed"),
    "fraction": (b"O%d,1.7,2.5,n,true,2026-01-01", "type"),
    "underscore": (b"O%d,1_000,2.5,n,true,2026-01-01", "type"),
    "hexadecimal": (b"O%d,0x10,2.5,n,true,2026-01-01", "type"),
    "not a number": (b"O%d,1,NaN,n,true,2026-01-01", "type"),
    "infinite": (b"O%d,1,inf,n,true,2026-01-01", "type"),
    "out of range": (b"O%d,9223372036854775808,2.5,n,true,2026-01-01", "type"),
    "no such day": (b"O%d,1,2.5,n,true,2026-02-30", "type"),
    "cut time": (b"O%d,1,2.5,n,true,2026-01-01 10:00:00", "type"),
    "no boolean": (b"O%d,1,2.5,n,perhaps,2026-01-01", "type"),
    "missing": (b"O%d,,2.5,n,true,2026-01-01", "required"),
    "negative": (b"O%d,-1,2.5,n,true,2026-01-01", "minimum"),
}


def order_lines(count: int, places: dict[int, bytes], *, quoted: bool) -> Iterator[bytes]:
    note = b'"Note, %d"' if quoted else b"Note %d"
    for number in range(count):
        line = b"O%d,%d,%d.25," + note + b",%s,2026-01-%02d"
        yield places.get(number) or line % (
            number, number % 977, number % 1000, number, (b"true", b"false")[number % 2], 1 + number % 28
        )  # fmt: skip


def seeded(count: int, seed: int) -> dict[int, tuple[bytes, str]]:
    """100 places with bad lines of every kind, some of them side by side."""
    dice = random.Random(seed)
    places = dice.sample(range(count), 80)
    places += [place + 1 for place in places if place + 1 not in places and place + 1 < count][
        : 100 - len(places)
    ]
    kinds = [*BAD.values()] * 5
    dice.shuffle(kinds)
    return {place: (line % place, rule) for place, (line, rule) in zip(places, kinds, strict=True)}


def check_hundred(bench: Bench, count: int, *, seed: int, quoted: bool, end: bytes) -> None:
    bad = seeded(count, seed)
    lines = order_lines(count, {place: line for place, (line, _) in bad.items()}, quoted=quoted)
    data = end.join([",".join(COLUMNS).encode(), *lines, b""])
    done = bench.ingest(data, rules=ORDERS, columns=COLUMNS)
    assert 100 == len(bad)
    assert (count, count - 100, 100) == (done.rows_in, done.rows_staged, done.rows_quarantined)
    assert sorted((place + 2, rule) for place, (_, rule) in bad.items()) == rejected(done)
    assert Counter(rule for _, rule in bad.values()) == done.rejects
    assert [(True, count - 100)] == rows_of(
        done.staged, "bool_and(id = 'O' || (_position - 2)), count(DISTINCT _position)"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_bad_lines_are_found(bench: Bench, seed: int, quoted: bool, end: bytes) -> None:
    """20,000 lines, 100 of them bad in 20 ways: all found at their exact line numbers, none unaccounted."""
    check_hundred(bench, 20_000, seed=seed, quoted=quoted, end=end)


@pytest.mark.skipif(not LONG, reason="ORCHESTRATION_LONG=1 runs it (a minute)")
@pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])
def test_a_hundred_bad_lines_in_two_million_are_found(bench: Bench, quoted: bool) -> None:
    """The same at the size at which the engine alone loses 875,486 lines."""
    check_hundred(bench, 2_000_000, seed=4, quoted=quoted, end=b"\n")


@pytest.mark.parametrize("seed", [1, 2])
def test_bad_ndjson_lines_are_found(bench: Bench, seed: int) -> None:
    """The same for NDJSON: broken objects, other values and lossy numbers among 20,000."""
    dice = random.Random(seed)
    kinds = {
        b"{": "malformed",
        b"null": "malformed",
        b'{"id":"X","size":1.5}': "type",
        b'{"size":1}': "required",
    }
    bad = {place: dice.choice([*kinds]) for place in dice.sample(range(20_000), 100)}
    lines = [bad.get(n) or b'{"id":"O%d","name":"n","size":%d}' % (n, n % 1000) for n in range(20_000)]
    done = bench.ingest(b"\n".join(lines), format="ndjson")
    assert sorted((place + 1, kinds[line]) for place, line in bad.items()) == rejected(done)
    assert (20_000, 19_900) == (done.rows_in, done.rows_staged)


# --- random tables of known content, judged by plain Python ---

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters='\0\r\n"', exclude_categories=["Cs"]), max_size=8
)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["1_0", "0x1", "007", "", "NA"]),
)
CELLS = st.tuples(st.one_of(st.sampled_from(["A", "B", "C", ""]), TEXTS), TEXTS, NUMBERS)
WRONG = st.sampled_from(['A,"b,1', "A", "A,b,1,x", 'A,"b"x,1', "\0,,", "A\rB,b,1"])
LINES = st.lists(st.one_of(CELLS, WRONG, st.just("")), max_size=12)
INTEGER = re.compile(r"\s*[+-]?[0-9]+(\.0*)?\s*", re.ASCII)


def judge(cells: tuple[str, str, str], seen: set[str]) -> str | None:
    """What plain Python says about one row of `id, name, size`, in the order of the contract."""
    key, _, size = (None if cell in {"", "NA"} else cell for cell in cells)
    if key is None:
        return "required"
    if size is not None:
        number = float(size) if INTEGER.fullmatch(size) else math.nan
        if not INTEGER.fullmatch(size) or not -(2**63) <= int(size.split(".")[0]) < 2**63:
            return "type"
        if number < -100:
            return "minimum"
    if key in seen:
        return "duplicate_key"
    seen.add(key)
    return None


def written(cells: tuple[str, str, str], quoting: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=quoting, lineterminator="").writerow(cells)
    return buffer.getvalue()


@settings(max_examples=500 if LONG else 75, deadline=None)
@given(LINES, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]))
def test_random_tables_agree_with_plain_python(lines: list[Any], quoting: Any, end: str) -> None:
    """Each line's rule, each staged value and all counts are those of an oracle that knows no engine."""
    rules = contract({"name": "name", "type": "string"}, {"name": "size", "type": "integer", "minimum": -100})
    seen: set[str] = set()
    expected: list[tuple[int, str]] = []
    staged: list[tuple[str, int]] = []
    for number, line in enumerate(lines, 2):
        if line == "":
            continue
        rule = judge(line, seen) if isinstance(line, tuple) else "malformed"
        if rule:
            expected.append((number, rule))
        else:
            staged.append((line[0], number))
    texts = [written(line, quoting) if isinstance(line, tuple) else line for line in lines]
    with TemporaryDirectory() as folder:
        data = end.join(["id,name,size", *texts, ""]).encode()
        done = Bench(Path(folder)).ingest(
            data, rules=rules, null_words=["NA"], columns={"id": "id", "name": "name", "size": "size"}
        )
        assert expected == rejected(done)
        assert staged == rows_of(done.staged, "id, _position")
        assert sum(1 for line in lines if line != "") == done.rows_in
        assert balanced(done)


# --- random bytes: whatever they are, every line is somewhere, and what is staged is what the line says ---

BYTES = st.lists(
    st.sampled_from(
        [b"a", b"1", b",", b",", b'"', b'"', b"\n", b"\r", b"\r\n", b" ", b"\0", b"\xc3\xa9", b"\xe9"]
    ),
    max_size=60,
)


@settings(max_examples=2000 if LONG else 100, deadline=None)
@given(BYTES)
def test_random_bytes_add_up(pieces: list[bytes]) -> None:
    """All lines that aren't blank are staged or put aside once, and a staged row is its line read alone."""
    data = b"".join(pieces)
    physical = (data + b"\n").replace(b"\r\n", b"\n").split(b"\n")  # a CR at the very end is half a line end
    present = {number for number, line in enumerate(physical, 2) if line}
    with TemporaryDirectory() as folder:
        done = Bench(Path(folder)).ingest(
            b"id,name\n" + data,
            rules=contract({"name": "name", "type": "string"}),
            columns={"id": "id", "name": "name"},
        )
        staged = rows_of(done.staged, "_position, id, name")
        assert len(present) == done.rows_in
        assert present == {row[0] for row in staged} | {position for position, _ in rejected(done)}
        assert balanced(done)
        for position, *values in staged:
            line = physical[position - 2].decode()
            assert values == alone(line)


def alone(line: str) -> list[str | None]:
    """A line's fields, read letter by letter; blanks beside a quoted field belong to no field."""
    fields: list[str | None] = []
    for field in re.findall(r'( *"(?:[^"]|"")*" *|(?! *")[^,]*)(?:,|$)', line)[: line.count(",") + 1]:
        quoted = field.strip(" ").startswith('"')
        fields.append((field.strip(" ")[1:-1].replace('""', '"') if quoted else field) or None)
    return fields[:2]
