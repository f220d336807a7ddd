"""The formats of the standard's `logicalTypeOptions`: texts as patterns, numbers as bounds, times as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_HEX = "[0-9A-Fa-f]"
_GROUP = f"{_HEX}{{1,4}}"


def _ipv6() -> str:
    """Eight groups, the last two perhaps as IPv4, one run of zeros perhaps left out (RFC 4291)."""
    tail = f"(?:{_GROUP}:{_GROUP}|{_IPV4})"
    forms = [f"(?:{_GROUP}:){{6}}{tail}"]
    for after in range(6):
        before = 5 - after
        lead = f"(?:(?:{_GROUP}:){{0,{before - 1}}}{_GROUP})?" if before else ""
        forms.append(f"{lead}::(?:{_GROUP}:){{{after}}}{tail}")
    forms += [f"(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}", f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::"]
    return "|".join(f"(?:{form})" for form in forms)


TEXT_FORMATS: Mapping[str, str | None] = MappingProxyType(
    {
        "email": rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_HOSTNAME}",
        "uuid": f"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}",
        "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+",
        "hostname": _HOSTNAME,
        "ipv4": _IPV4,
        "ipv6": _ipv6(),
        "byte": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
        "password": None,
    }
)
"""What a text of each format matches as a whole. A password may be anything: the format asks to hide it on forms."""

NUMBER_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "i8": (-(2**7), 2**7 - 1),
        "i16": (-(2**15), 2**15 - 1),
        "i32": (-(2**31), 2**31 - 1),
        "i64": (-(2**63), 2**63 - 1),
        "u8": (0, 2**8 - 1),
        "u16": (0, 2**16 - 1),
        "u32": (0, 2**32 - 1),
        "f32": (-3.4028234663852886e38, 3.4028234663852886e38),
        "f64": (-1.7976931348623157e308, 1.7976931348623157e308),
    }
)
"""The least and the greatest value. Wider ones than a whole number of 64 bits can't be stored here."""

TIME_PARTS: Mapping[str, str] = MappingProxyType(
    {
        "yyyy": "%Y",
        "uuuu": "%Y",
        "MM": "%m",
        "M": "%-m",
        "dd": "%d",
        "d": "%-d",
        "HH": "%H",
        "H": "%-H",
        "mm": "%M",
        "ss": "%S",
        "SSS": "%g",
        "SSSSSS": "%f",
    }
)
_DATE_PARTS = ("%Y", "%m", "%d")
_PIECE = re.compile(r"'(?P<quoted>(?:[^']|'')*)'|(?P<letters>([A-Za-z])\3*)|(?P<between>[^A-Za-z'])")


def time_format(written: str, *, date_only: bool) -> str:
    """Translate a format of Java's `DateTimeFormatter` into one of `strftime`.

    Raises `ValueError` for what can't be read back without loss: a year of two digits, names of months,
    zones, or a format that leaves out a part of the date.

    >>> time_format("dd.MM.yyyy", date_only=True)
    '%d.%m.%Y'
    """
    made: list[str] = []
    position = 0
    for piece in _PIECE.finditer(written):
        if piece.start() != position:
            break
        position = piece.end()
        made.append(_translated(piece))
    if position != len(written):
        raise RefusedValueError(f"{written!r} has a quote that isn't closed", code=ProblemCode.BAD_FORMAT)
    _check_parts(written, [part.replace("-", "") for part in made if part[:1] == "%"], date_only=date_only)
    return "".join(made)


def _translated(piece: re.Match[str]) -> str:
    letters = piece["letters"]
    if letters is None:
        text = piece["between"] if piece["quoted"] is None else piece["quoted"].replace("''", "'") or "'"
        if "%" in text:
            raise RefusedValueError("a format can't hold %", code=ProblemCode.BAD_FORMAT)
        return text
    if letters not in TIME_PARTS:
        raise RefusedValueError(
            f"{letters!r} isn't supported in a format; these are: {', '.join(TIME_PARTS)}",
            code=ProblemCode.UNSUPPORTED,
        )
    return TIME_PARTS[letters]


def _check_parts(written: str, parts: list[str], *, date_only: bool) -> None:
    if len(set(parts)) != len(parts):
        raise RefusedValueError(f"{written!r} names a part twice", code=ProblemCode.DUPLICATE)
    if missing := [part for part in _DATE_PARTS if part not in parts]:
        names = {"%Y": "yyyy", "%m": "MM", "%d": "dd"}
        raise RefusedValueError(
            f"{written!r} lacks {', '.join(names[part] for part in missing)}", code=ProblemCode.REQUIRED
        )
    if date_only and len(parts) > len(_DATE_PARTS):
        raise RefusedValueError(f"{written!r} has a time of day; a date has none", code=ProblemCode.CONFLICT)
