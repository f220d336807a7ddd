"""What does a text of a feed say in the types of the contract `plain`? Read in plain Python, by the words of contracts.md."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.fuzz.contracts import ALLOWED
from tests.fuzz.reading import Line, RawNumber

NOTHING = object()
"""A text that says no value of the type: its row has to be put aside."""
TRUE, FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})
_DAY = r"\s*(\d{4})[-/ \\](\d{1,2})[-/ \\](\d{1,2})"
_DATE = re.compile(_DAY + r"(?:[ T]00:00(?::00(?:\.0+)?)?)?\s*", re.ASCII)
_TIME = re.compile(
    _DAY + r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6})0*)?)?(?:Z| ?UTC|\+00(?::?00)?)?)?\s*", re.ASCII
)
_PLAIN: Mapping[str, str] = {
    "id": r"[A-Z0-9]{1,8}",
    "name": r"[A-Za-z ]{0,50}",
    "size": r"|0|[1-9]\d{0,2}",
    "value": r"|-?\d{1,6}\.\d{1,3}",
    "seen": r"|true|false",
    "day": r"|20\d\d-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
    "at": r"|20\d\d-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d",
    "kind": r"|a|b",
}
"""What nobody can read in another way, and every rule of the contract allows."""


def agrees(name: str, value: Any, said: Any, feed: Mapping[str, Any]) -> bool:
    """Whether a staged value is what its row says."""
    if said is None or said == "" or said in feed.get("null_words", ()):
        return value is None
    if isinstance(said, dict | list):
        is_text = name in {"id", "name", "kind"} and isinstance(value, str)
        return is_text and (feed.get("format") == "parquet" or _is_json(value, said))
    if not isinstance(said, str | bool | int | float | Decimal | date):
        return True  # types that Parquet alone has
    meaning = _meaning(name, said, feed.get("decimal", "."))
    if name in {"id", "name", "kind"} and not isinstance(said, str | bool):
        return isinstance(value, str)  # the engine's own text of a day or a number
    return type(value) is type(meaning) and value == meaning


def _is_json(value: Any, said: Any) -> bool:
    """A list or an object in a column of texts is JSON again."""
    try:
        return bool(json.loads(value) == _unmarked(said))
    except (TypeError, ValueError):
        return False


def _unmarked(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _unmarked(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_unmarked(value) for value in tree]
    return json.loads(tree) if isinstance(tree, RawNumber) else tree


def _meaning(name: str, said: Any, decimal: str) -> Any:
    text = str(said).lower() if isinstance(said, bool) else str(said)
    match name:
        case "size":
            return _whole(_pointed(text, decimal))
        case "value":
            return _number(_pointed(text, decimal))
        case "seen":
            return True if text.lower() in TRUE else False if text.lower() in FALSE else NOTHING
        case "day":
            return _moment(_DATE, text, is_date=True)
        case "at":
            return _moment(_TIME, text, is_date=False)
        case _:
            return text


def _pointed(text: str, decimal: str) -> str:
    return text if decimal == "." else text.translate({ord("."): ",", ord(","): "."})


def _whole(text: str) -> Any:
    return int(text.partition(".")[0]) if re.fullmatch(r"\s*[+-]?\d+(\.0*)?\s*", text, re.ASCII) else NOTHING


def _number(text: str) -> Any:
    try:
        found = float(text)
    except ValueError:
        return NOTHING
    return found if math.isfinite(found) and "_" not in text else NOTHING


def _moment(form: re.Pattern[str], text: str, *, is_date: bool) -> Any:
    found = form.fullmatch(text)
    if found is None:
        return NOTHING
    *parts, fraction = (found.groups() + (None,) * 7)[:7]
    try:
        if is_date:
            return date(*(int(part or 0) for part in parts[:3]))
        whole = [int(part or 0) for part in [*parts, (fraction or "").ljust(6, "0")]]
        ends = whole[3:] == [24, 0, 0, 0]  # the end of a day is the beginning of the next
        whole[3] = 0 if ends else whole[3]
        return datetime(*whole) + timedelta(days=ends)  # type: ignore[misc,arg-type]  # noqa: DTZ001  # seven parts, in UTC as the contract has it
    except (OverflowError, ValueError):
        return NOTHING


def good_rows(rows: Mapping[int, Line], feed: Mapping[str, Any], header: Sequence[str]) -> set[int]:
    """The positions of rows that must be staged whatever stands beside them: plain in every cell, and alone with their key."""
    if any(not isinstance(source, str) or source.startswith("$") for source in feed["columns"].values()):
        return set()
    if len(set(header)) != len(header):
        return set()
    told = {position: _cells(line, feed, header) for position, line in rows.items()}
    keys = [str(cell) for line in rows.values() for cell in _values(line)]
    return {
        position
        for position, cells in told.items()
        if cells is not None
        and _is_for_every_reader(rows[position])
        and keys.count(str(cells["id"])) == 1
        and all(_is_plain(name, cell, feed) for name, cell in cells.items())
    }


def _is_for_every_reader(line: Line) -> bool:
    """Whether it holds no half letter in JSON and no NUL in CSV, also in what isn't mapped: not every reader takes such."""
    try:
        text = json.dumps(line, ensure_ascii=False, default=str).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return isinstance(line, dict) or rb"\u0000" not in text


def _values(line: Line) -> Iterable[Any]:
    """All that a row says: in one that is cut, any of it may be its key."""
    return line.values() if isinstance(line, dict) else line or ()


def _cells(line: Line, feed: Mapping[str, Any], header: Sequence[str]) -> dict[str, Any] | None:
    """A row by the columns of the contract; None for one that can't be read, or has too few or too many cells."""
    if isinstance(line, list):
        if len(line) != (len(header) if feed["header"] else len(feed["columns"])):
            return None
        line = dict(zip(header, line, strict=False))
    if line is None or any(source not in line for source in feed["columns"].values()):
        return None
    return {name: line[source] for name, source in feed["columns"].items()}


def _is_plain(name: str, cell: Any, feed: Mapping[str, Any]) -> bool:
    text = "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)
    if isinstance(cell, dict | list) or (name == "id" and text in feed.get("null_words", ())):
        return False
    if name == "value" and feed.get("decimal", ".") != ".":
        return text == ""
    return re.fullmatch(_PLAIN[name], text, re.ASCII) is not None and (
        not text or ALLOWED[name](_meaning(name, cell, "."))
    )
