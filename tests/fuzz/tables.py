"""Rows that are right, and how they become the bytes of a feed that is not: CSV, JSON and NDJSON."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import hostile, raw
from tests.fuzz.inputs import Made
from tests.fuzz.structure import Changer

FEEDS = Path(__file__).parents[2] / "demo" / "feeds"
COLUMNS = ("id", "name", "size", "value", "seen", "day", "at", "kind")
"""Of the contract `plain` in `contracts.py`."""
CELLS = (
    *(
        "",
        " ",
        "NA",
        "-",
        "null",
        "0",
        "-1",
        "1",
        "1000",
        "1001",
        "1.5",
        "1,5",
        "1e3",
        "1e400",
        "NaN",
        "inf",
        "-inf",
    ),
    *(
        "0x10",
        "1_000",
        "007",
        "9223372036854775807",
        "9223372036854775808",
        "1" * 400,
        "true",
        "T",
        "yes",
        "2026-02-30",
    ),
    *(
        "2026-1-1",
        "22.11.2026",
        "2026-11-22 10:00:00",
        "2026-11-22T10:00:00+02:00",
        "0001-01-01",
        "9999-12-31",
        "infinity",
    ),
    *(
        "a,b",
        'a"b',
        '"',
        '""',
        '"a"',
        "a;b",
        "a\tb",
        "a|b",
        "a\nb",
        "a\r\nb",
        "a\rb",
        "\\",
        "\\N",
        "'",
        "#",
        " x ",
        ' "x" ',
    ),
)


def rows(dice: Random) -> list[list[str]]:
    """Rows that keep the contract `plain`."""
    return [
        [
            f"K{number}",
            dice.choice(("Anna", "caf\u00e9", "", "a b")),
            str(dice.randint(0, 1000)),
            f"{dice.uniform(-1e6, 1e6):.3f}",
            dice.choice(("true", "false")),
            f"2026-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}",
            f"2026-11-22 {dice.randint(0, 23):02}:30:00",
            dice.choice("ab"),
        ]
        for number in range(dice.choice((0, 1, 2, 5, 20, 60)))
    ]


def spoilt(dice: Random, table: list[list[str]]) -> tuple[list[list[str]], list[str]]:
    """Change cells and rows: hostile values, rows that are too short or too long, or stand twice."""
    done: list[str] = []
    for _ in range(dice.choices((0, 1, 2, 8), (20, 40, 25, 15))[0]):
        if not table:
            break
        row = dice.choice(table)
        how = dice.choices(("cell", "text", "ragged", "twice", "blank", "long"), (40, 20, 15, 12, 8, 5))[0]
        done.append(how)
        if how in {"cell", "text", "long"} and row:
            cell = dice.choice(CELLS) if how == "cell" else hostile.text(dice)
            row[dice.randrange(len(row))] = cell if how != "long" else "x" * dice.choice((70_000, 1_100_000))
        elif how == "ragged":
            row[:] = (
                row[: dice.randrange(len(row) + 1)]
                if dice.random() < 0.5
                else [*row, *dice.choices(CELLS, k=2)]
            )
        else:
            table.insert(dice.randint(0, len(table)), list(row) if how == "twice" else [])
    return table, done


def fewer(dice: Random, columns: dict[str, Any]) -> dict[str, Any]:
    """Seldom some columns of a mapping only, the key among them: few columns are read in other ways than many."""
    if dice.random() < 0.85:
        return columns
    kept = dice.choice(((), ("name",), ("size", "at")))
    return {name: source for name, source in columns.items() if name in {"id", *kept}}


# --- CSV ---


def make_csv(dice: Random) -> Made:
    """A CSV feed: its own dialect, a table, and what is wrong with both."""
    feed = _dialect(dice)
    table, done = spoilt(dice, rows(dice))
    names, more = _header(dice)
    if is_narrow := dice.random() < 0.05:
        names, table = names[:1], [row[:1] for row in table]
        feed["columns"] = {"id": feed["columns"]["id"]}
    feed["columns"] = fewer(dice, feed["columns"])
    lines = [_line(dice, row, feed) for row in ([names, *table] if feed["header"] else table)]
    end = dice.choices(("\n", "\r\n", "\r", None), (70, 20, 3, 7))[0]
    text = "".join(line + (end or dice.choice(("\n", "\r\n", "\n\n", "\r"))) for line in lines)
    if dice.random() < 0.2:
        text = text.rstrip("\r\n")
    data, encoded = _encoded(dice, text, feed)
    name = "in/list.csv"
    if dice.random() < 0.15:
        data, how = raw.change(dice, data)
        done.append(how)
    if dice.random() < 0.1:
        data, suffix, how = raw.pack(dice, data)
        name, done = f"{name}{suffix}", [*done, how]
    changes = (*done, *more, *encoded)
    right = not (changes or is_narrow) and end in {"\n", "\r\n"} and feed.keys() == USUAL and _is_direct(feed)
    terms = {
        "contract": "plain",
        "feed": {**feed, "uri": name},
        "apart": dice.random() < APART,
        "right": right,
    }
    return Made(kind="csv", files={name: data}, terms=terms, changes=changes)


USUAL = {"id", "format", "columns", "header"}
"""What a feed of CSV says that is written as most are."""


def _is_direct(feed: dict[str, Any]) -> bool:
    """Whether each column is one of the file as it is; a file without a header and rows is an empty one."""
    return bool(feed["header"]) and all(isinstance(source, str) for source in feed["columns"].values())


APART = 0.1
"""The share of data that goes through the whole path of a branch, in a process of its own."""


def _dialect(dice: Random) -> dict[str, Any]:
    usual = dice.random() < 0.5
    feed: dict[str, Any] = {
        "id": "list",
        "format": "csv",
        "columns": dict(zip(COLUMNS, COLUMNS, strict=True)),
        "header": usual or dice.random() < 0.8,
    }
    if not feed["header"]:
        feed["columns"] = {name: str(number) for number, name in enumerate(COLUMNS, 1)}
    if not usual:
        feed |= {
            "delimiter": dice.choice((",", ";", "\t", "|", " ", ".", ":", "-")),
            "quote": dice.choice(('"', "'", "", "$")),
            "encoding": dice.choice(("utf-8", "utf-8", "utf-16", "latin-1", "windows-1252")),
            "decimal": dice.choice((".", ",")),
            "null_words": dice.choice(([], ["NA"], ["NA", "-", "null"], [" "])),
            "keyless_rows": dice.choice(("invalid", "out_of_scope")),
        }
    if dice.random() < 0.1:
        feed["columns"]["name"] = {"expression": dice.choice(('upper("name")', "1 / 0", "size::INTEGER + 1"))}
    if dice.random() < 0.05:
        feed["limits"] = {"rows": 3, "bytes": 200}
    return feed


def _header(dice: Random) -> tuple[list[str], list[str]]:
    names = list(COLUMNS)
    how = dice.choices(("", "swap", "twice", "drop", "rename", "more", "space"), (70, 8, 4, 5, 5, 5, 3))[0]
    at = dice.randrange(len(names))
    if how == "swap":
        dice.shuffle(names)
    elif how == "twice":
        names[at] = names[0]
    elif how == "drop":
        del names[at]
    elif how == "rename":
        names[at] = hostile.text(dice)
    elif how == "more":
        names += [f"more_{number}" for number in range(dice.choice((1, 3, 1100)))]
    elif how == "space":
        names[at] = f" {names[at]} "
    return names, [f"header {how}"] if how else []


def _line(dice: Random, row: Sequence[str], feed: dict[str, Any]) -> str:
    delimiter, quote = feed.get("delimiter", ","), feed.get("quote", '"')
    careless = dice.random() < 0.03

    def cell(text: str) -> str:
        special = quote and (quote in text or delimiter in text or "\n" in text or "\r" in text)
        if careless or not quote or not (special or dice.random() < 0.1):
            return text
        return quote + text.replace(quote, quote * 2) + quote

    return delimiter.join(map(cell, row))


def _encoded(dice: Random, text: str, feed: dict[str, Any]) -> tuple[bytes, list[str]]:
    encoding = feed.get("encoding", "utf-8")
    done = []
    if dice.random() < 0.04:
        encoding = dice.choice(("utf-16", "latin-1", "utf-8-sig", "utf-32", "cp1252", "utf-16-be"))
        done.append(encoding)
    if encoding == "utf-8" and dice.random() < 0.05:
        return codecs.BOM_UTF8 + text.encode("utf-8", "surrogatepass"), ["bom"]
    if encoding == "utf-16":
        return text.encode("utf-16", "surrogatepass"), done
    errors = "surrogatepass" if encoding.startswith("utf") else "replace"
    return text.encode(encoding, errors), done


# --- JSON ---

TAILS = ("", ",", ",]", "]", "[]", "{}", "\n[1]", "null", "\0", " ", "\n\n", "// x", "\x1a")


@cache
def _json_changer() -> Changer:
    dice = Random(0)
    return Changer([[_object(row) for row in rows(dice)][:3] for _ in range(5)])


def make_json(dice: Random) -> Made:
    """A JSON feed, an array or one object a line: objects, and what is wrong with them."""
    table, done = spoilt(dice, rows(dice))
    objects: Any = [_object(row) for row in table]
    if dice.random() < 0.5:
        objects, more = _json_changer().change(dice, objects)
        done += more
    is_lines = dice.random() < 0.5
    text = _lines(dice, objects) if is_lines else _array(dice, objects)
    if dice.random() < 0.15:
        text, how = _broken(dice, text)
        done.append(how)
    data = text.encode("utf-8", "surrogatepass")
    name = "in/list.ndjson" if is_lines else "in/list.json"
    if dice.random() < 0.15:
        data, how = raw.change(dice, data)
        done.append(how)
    if dice.random() < 0.1:
        data, suffix, how = raw.pack(dice, data)
        name, done = f"{name}{suffix}", [*done, how]
    feed = {"id": "list", "uri": name, "format": "ndjson" if is_lines else "json", "columns": _paths(dice)}
    right = not done and bool(table) and feed["columns"].get("name", "name") == "name"
    terms = {"contract": "plain", "feed": feed, "apart": dice.random() < APART, "right": right}
    return Made(kind="json", files={name: data}, terms=terms, changes=tuple(done))


def _paths(dice: Random) -> dict[str, Any]:
    columns: dict[str, Any] = dict(zip(COLUMNS, COLUMNS, strict=True))
    if dice.random() < 0.2:
        columns["name"] = dice.choice(("$.more.name", "$.more.names[0]", '$."a.b"', "$.size"))
    return fewer(dice, columns)


def _object(row: Sequence[str]) -> dict[str, Any]:
    made: dict[str, Any] = dict(zip(COLUMNS, row, strict=False))
    for name, kind in (("size", int), ("value", float)):
        try:
            made[name] = kind(made.get(name, ""))
        except ValueError:
            continue
    made["more"] = {"name": made.get("name"), "names": [made.get("name")]}
    return made


def _lines(dice: Random, objects: Any) -> str:
    items = objects if isinstance(objects, list) else [objects]
    end = dice.choice(("\n", "\n", "\r\n", "\n\n", "\n \n"))
    return "".join(json.dumps(one, ensure_ascii=dice.random() < 0.5) + end for one in items)


def _array(dice: Random, objects: Any) -> str:
    indent = dice.choice((None, None, 1))
    return json.dumps(objects, indent=indent, ensure_ascii=dice.random() < 0.5)


def _broken(dice: Random, text: str) -> tuple[str, str]:
    """Change the text at what only JSON has."""
    how = dice.choice(("tail", "twin", "again", "deep", "huge", "quotes", "bare", "head"))
    at = dice.randint(0, len(text))
    made = {
        "tail": text + dice.choice(TAILS),
        "twin": text.replace('{"id":', '{"id": "first", "id":', 1),
        "again": text + text,
        "deep": text.replace('"more": {', f'"more": {"[" * 3000}{"]" * 3000}, "other": {{', 1),
        "huge": text.replace('"size": ', f'"size": {"9" * dice.choice((20, 400, 5000))}', 1),
        "quotes": text.replace('"', "'"),
        "bare": text[:at]
        + dice.choice(("NaN", "Infinity", "-0", "01", "\\u0000", "\\ud800", "\\x", "/*x*/"))
        + text[at:],
        "head": dice.choice(("\ufeff", "while(1);", " \n", "[", "[,", "{", "null\n")) + text,
    }
    return made[how], how
