"""Formats say what Python's own libraries say, and a format of times can be read back."""

from __future__ import annotations

import base64
import ipaddress
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.domain.formats import TEXT_FORMATS, time_format

GROUPS = st.lists(
    st.sampled_from(["", "1", "ab", "FFFF", "12345", "1.2.3.4", "0", "g"]), min_size=1, max_size=10
)


def matches(name: str, text: str) -> bool:
    return re.fullmatch(TEXT_FORMATS[name] or "", text) is not None


def known(parse: object, text: str) -> bool:
    try:
        parse(text)  # type: ignore[operator]  # any of the parsers below
    except ValueError:
        return False
    return True


@given(GROUPS.map(":".join))
def test_an_ipv6_address_is_what_the_standard_library_reads(text: str) -> None:
    """Eight groups, one gap, perhaps an IPv4 tail."""
    assert known(ipaddress.IPv6Address, text) == matches("ipv6", text)


@given(st.lists(st.sampled_from(["0", "1", "01", "255", "256", "99", "", "a"]), max_size=6).map(".".join))
def test_an_ipv4_address_is_what_the_standard_library_reads(text: str) -> None:
    """Four numbers of 0 to 255 without leading zeros."""
    assert known(ipaddress.IPv4Address, text) == matches("ipv4", text)


@given(st.uuids())
def test_a_uuid_is_accepted_in_its_usual_form(number: uuid.UUID) -> None:
    """In small and capital letters, not without its dashes."""
    assert matches("uuid", str(number))
    assert matches("uuid", str(number).upper())
    assert not matches("uuid", number.hex)


@given(st.binary())
def test_a_byte_text_is_base64(data: bytes) -> None:
    """What the standard library writes, with its padding."""
    assert matches("byte", base64.b64encode(data).decode())


TEXTS = [
    ("email", "a.b+c@example.org", True), ("email", "a@b", True), ("email", "a b@c.de", False), ("email", "@c.de", False),
    ("email", "a@-b.de", False), ("email", "a@b..de", False), ("hostname", "example.org", True), ("hostname", "-a", False),
    ("hostname", "a" * 64, False), ("hostname", "a" * 63, True), ("hostname", "a_b", False), ("uri", "https://a.b/c?d=e#f", True),
    ("uri", "urn:isbn:0451450523", True), ("uri", "no scheme", False), ("uri", "a:b c", False), ("uri", "//a.b/c", False),
    ("byte", "A", False), ("byte", "AA=", False), ("byte", "AA==AA==", False), ("byte", "A A=", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "good"), TEXTS)
def test_a_text_is_of_its_format_or_not(name: str, text: str, good: bool) -> None:
    """Addresses of mail, hosts and resources in their everyday form."""
    assert good == matches(name, text)


TIMES = [
    ("yyyy-MM-dd", True, "%Y-%m-%d"), ("dd.MM.yyyy", True, "%d.%m.%Y"), ("d/M/uuuu", True, "%-d/%-m/%Y"),
    ("yyyyMMdd", True, "%Y%m%d"), ("yyyy-MM-dd'T'HH:mm:ss.SSS", False, "%Y-%m-%dT%H:%M:%S.%g"),
    ("yyyy-MM-dd''HH", False, "%Y-%m-%d'%H"), ("yyyy-MM-dd", False, "%Y-%m-%d"),
]  # fmt: skip
LOSSY = [
    ("yy-MM-dd", True, "'yy'"), ("yyyy-MM", True, "lacks dd"), ("HH:mm:ss", False, "lacks yyyy, MM, dd"),
    ("yyyy-MM-dd HH:mm", True, "time of day"), ("dd MMM yyyy", True, "'MMM'"), ("yyyy-MM-dd'T'HH:mmXXX", False, "'XXX'"),
    ("yyyy-MM-dd'T", True, "quote"), ("yyyy-MM-dd dd", True, "twice"), ("yyyy-MM-dd %", True, "%"), ("", True, "lacks"),
    ("d-dd-MM-yyyy", True, "twice"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "date_only", "expected"), TIMES)
def test_a_format_of_times_is_translated(written: str, date_only: bool, expected: str) -> None:
    """Java's letters become those of `strftime`."""
    assert expected == time_format(written, date_only=date_only)


@pytest.mark.parametrize(("written", "date_only", "word"), LOSSY)
def test_a_format_that_loses_something_is_refused(written: str, date_only: bool, word: str) -> None:
    """A century, a month or a zone would have to be guessed."""
    with pytest.raises(ValueError, match=word):
        time_format(written, date_only=date_only)
