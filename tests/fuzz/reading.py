"""What does a feed's file say? Read in plain Python, where that can be known: the rows in it, and their texts."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Mapping
from typing import Any

from tests.fuzz.raw import unpacked


class RawNumber(str):
    """A number of JSON as it is written: what it becomes in a column of texts."""

    __slots__ = ()


Line = list[str] | dict[str, Any] | None
"""The cells of a line of CSV, or an object; None when it is no row that can be read."""
LONGEST_LINE = 2**20
"""Bytes of a line that are read; a longer one is put aside."""
_CODECS = {"utf-8": "utf-8", "latin-1": "latin-1", "windows-1252": "cp1252", "utf-16": "utf-16"}


def physical_rows(data: bytes, feed: Mapping[str, Any]) -> dict[int, Line] | None:
    """Every row of a file by its position; None where it can't be known how many there are."""
    plain = unpacked(data)
    if plain is None:
        return None
    if feed["format"] == "csv":
        return _csv_rows(plain, feed)
    if feed["format"] == "ndjson":
        lines = plain.removeprefix(codecs.BOM_UTF8).split(b"\n")
        return {number: _parsed(line) for number, line in enumerate(lines, 1) if line.strip()}
    if feed["format"] == "json":
        return _array_rows(plain)
    return None


def _parsed(line: bytes) -> Line:
    if b"\r" in line.removesuffix(b"\r") or len(line) > LONGEST_LINE:
        return None  # a line of its own for some readers
    try:
        read = _loaded(line)
    except (ValueError, RecursionError):
        return None
    return _clear(read)


class _Unclear(dict[str, Any]):
    """An object that says a key twice: nobody knows which is meant."""


def _loaded(text: bytes) -> Any:
    return json.loads(
        text,
        parse_int=RawNumber,
        parse_float=RawNumber,
        parse_constant=RawNumber,
        object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else _Unclear(pairs),
    )


def _clear(read: Any) -> Line:
    """The object of a row; what is no object says nothing, and must not be staged."""
    if isinstance(read, _Unclear):
        return None
    return read if isinstance(read, dict) else {}


def _array_rows(plain: bytes) -> dict[int, Line] | None:
    try:
        read = _loaded(plain.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, list):
        return None
    return {number: _clear(one) for number, one in enumerate(read, 1)}


def _csv_rows(plain: bytes, feed: Mapping[str, Any]) -> dict[int, Line] | None:
    encoding = _codec(plain, feed)
    if encoding == "utf-8":
        lines = plain.removeprefix(codecs.BOM_UTF8).split(b"\n")
    else:
        try:
            lines = [line.encode() for line in plain.decode(encoding).split("\n")]
        except UnicodeError:
            return None
    filled = {number: one for number, line in enumerate(lines, 1) if (one := line.removesuffix(b"\r"))}
    if feed["header"]:
        head = next((number for number, line in filled.items() if line.strip(b"\r")), None)
        filled = {number: line for number, line in filled.items() if head is None or number > head}
    return {number: _cells(line, feed) for number, line in filled.items()}


def _codec(plain: bytes, feed: Mapping[str, Any]) -> str:
    """Python's name of a feed's encoding; without a mark, UTF-16 is the one of two in which more is plain."""
    encoding = _CODECS[feed.get("encoding", "utf-8")]
    if encoding != "utf-16" or plain.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return encoding
    return max("utf-16-le", "utf-16-be", key=lambda one: sum(map(str.isascii, plain.decode(one, "replace"))))


def _cells(line: bytes, feed: Mapping[str, Any]) -> Line:
    delimiter, quote = feed.get("delimiter", ","), feed.get("quote", '"')
    try:
        text = line.decode()
        if "\r" in text or len(line) > LONGEST_LINE:
            return None  # what Python takes for the end of a line
        if not quote:
            return text.split(delimiter)
        if f" {quote}" in text or f"{quote} " in text:
            return None  # blanks beside quotes are read in more than one way
        (cells,) = csv.reader([text], delimiter=delimiter, quotechar=quote, strict=True)
    except (csv.Error, UnicodeError, ValueError):
        return None
    return list(cells)


def header_of(data: bytes, feed: Mapping[str, Any]) -> list[str]:
    """The names of the columns of a CSV file, as far as Python reads them."""
    if not feed["header"]:
        return [str(number) for number in range(1, 10_000)]
    plain = unpacked(data) or b""
    text = plain.removeprefix(codecs.BOM_UTF8).decode(_codec(plain, feed), "replace")
    first = next((line for line in text.split("\n") if line.strip("\r")), "")
    cells = _cells(first.removesuffix("\r").encode("utf-8", "replace"), feed)
    return cells if isinstance(cells, list) else []
