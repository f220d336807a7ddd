"""Every row rule decides as plain Python does, and what a row broke is written down with it."""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.quality_rule import Metric, Operator
from tests.engine.builders import Bench, balanced, rejected, rows_of

FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
INTEGERS = st.integers(-30, 30).map(str)
NUMBERS = st.decimals(-3, 3, places=2, allow_nan=False).map(str)
TEXTS = st.text(alphabet="abAB1 .-@:", min_size=1, max_size=8).filter(lambda text: text.strip() != "")
DAYS = st.dates(date(2025, 12, 20), date(2026, 1, 12)).map(str)
TIMES = st.datetimes(datetime.fromisoformat("2025-12-31"), datetime.fromisoformat("2026-01-02")).map(
    lambda moment: str(moment.replace(microsecond=0))
)
HOSTS = st.sampled_from(
    ["1.2.3.4", "::1", "1.2.3", "a", "::", "fe80::1:2", "300.1.1.1", "1:2:3:4:5:6:7:8", "1::2::3"]
)


def is_ip(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


Keeps = Callable[[str], bool]
RULES: dict[str, tuple[dict[str, Any], st.SearchStrategy[str], Keeps]] = {
    "minimum": ({"type": "integer", "minimum": -3}, INTEGERS, lambda text: int(text) >= -3),
    "exclusive_minimum": ({"type": "integer", "exclusive_minimum": -3}, INTEGERS, lambda text: int(text) > -3),
    "maximum": ({"type": "number", "maximum": 1.5}, NUMBERS, lambda text: float(text) <= 1.5),
    "exclusive_maximum": ({"type": "number", "exclusive_maximum": 1.5}, NUMBERS, lambda text: float(text) < 1.5),
    "multiple_of": ({"type": "integer", "multiple_of": 7}, INTEGERS, lambda text: int(text) % 7 == 0),
    "multiple_of_parts": ({"type": "number", "multiple_of": 0.05}, NUMBERS, lambda text: Decimal(text) % Decimal("0.05") == 0),
    "min_length": ({"type": "string", "min_length": 3}, TEXTS, lambda text: len(text) >= 3),
    "max_length": ({"type": "string", "max_length": 3}, TEXTS, lambda text: len(text) <= 3),
    "pattern": ({"type": "string", "pattern": "[ab]+.?"}, TEXTS, lambda text: re.fullmatch("[ab]+.?", text) is not None),
    "enum": ({"type": "string", "enum": ["a", "b", "1.2.3.4", "it's"]}, st.sampled_from(["a", "b", "c", "A", "it's"]), lambda text: text in {"a", "b", "it's"}),
    "enum_of_integers": ({"type": "integer", "enum": [1, 2, -3]}, st.integers(-4, 4).map(str), lambda text: int(text) in {1, 2, -3}),
    "enum_of_days": ({"type": "date", "enum": ["2026-01-01", "2026-01-05"]}, DAYS, lambda text: text in {"2026-01-01", "2026-01-05"}),
    "format_ipv4": ({"type": "string", "format": "ipv4"}, HOSTS, is_ip(4)),
    "format_ipv6": ({"type": "string", "format": "ipv6"}, HOSTS, is_ip(6)),
    "format_i8": ({"type": "integer", "format": "i8"}, st.integers(-140, 140).map(str), lambda text: -128 <= int(text) <= 127),
    "minimum_day": ({"type": "date", "minimum": "2026-01-01"}, DAYS, lambda text: text >= "2026-01-01"),
    "exclusive_maximum_time": ({"type": "timestamp", "exclusive_maximum": "2026-01-01T12:00:00"}, TIMES, lambda text: text < "2026-01-01 12:00:00"),
}  # fmt: skip


def contract_of(column: dict[str, Any], **more: Any) -> Contract:
    columns = [{"name": "id", "type": "string"}, {"name": "x", **column}]
    return Contract.model_validate({"name": "t", "key": ["id"], "columns": columns, **more})


def as_csv(values: Sequence[str | None]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "x"])
    writer.writerows([[f"k{number}", value or ""] for number, value in enumerate(values)])
    return out.getvalue().encode()


def as_ndjson(values: Sequence[str | None]) -> bytes:
    return "".join(
        json.dumps({"id": f"k{number}", "x": value}) + "\n" for number, value in enumerate(values)
    ).encode()


WRITERS = {"csv": (as_csv, 2), "ndjson": (as_ndjson, 1)}
COLUMNS: dict[str, Any] = {"columns": {"id": "id", "x": "x"}}


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_decides_as_plain_python_does(name: str, layout: str) -> None:
    """On random values, empty ones between them: what keeps the rule is staged, what breaks it is quarantined."""
    column, values, keeps = RULES[name]
    write, first = WRITERS[layout]

    @FEW
    @given(st.lists(st.none() | values, min_size=1, max_size=25))
    def check(texts: list[str | None]) -> None:
        with TemporaryDirectory() as folder:
            done = Bench(Path(folder)).ingest(
                write(texts), rules=contract_of(column), format=layout, name=f"f.{layout}", **COLUMNS
            )
            broken = [n + first for n, text in enumerate(texts) if text is not None and not keeps(text)]

            assert broken == [position for position, _ in rejected(done)]
            assert balanced(done)

    check()


FORMATS = [
    ("date", "dd.MM.yyyy", [("22.11.2026", "2026-11-22"), ("1.2.2026", None), ("31.02.2026", None), ("2026-11-22", None)]),
    ("date", "d/M/yyyy", [("1/2/2026", "2026-02-01"), ("01/2/2026", None)]),
    ("date", "yyyyMMdd", [("20261122", "2026-11-22"), ("infinity", None), ("2026-11-22", None), ("20261322", None)]),
    ("timestamp", "dd.MM.yyyy HH:mm", [("22.11.2026 09:05", "2026-11-22 09:05:00"), ("22.11.2026 9:05", None)]),
    ("timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSS", [("2026-11-22T09:05:01.120", "2026-11-22 09:05:01.12")]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "written", "cases"), FORMATS)
def test_dates_in_a_format_of_their_own_are_read_without_loss(
    bench: Bench, kind: str, written: str, cases: list[tuple[str, str | None]]
) -> None:
    """A text counts when the value, written in the format, is the text again."""
    rules = contract_of({"type": kind, "format": written})
    done = bench.ingest(as_csv([text for text, _ in cases]), rules=rules, **COLUMNS)
    found = dict(rows_of(done.staged, "id, x::VARCHAR"))

    assert [value for _, value in cases] == [found.get(f"k{n}") for n in range(len(cases))]
    assert all(reason.endswith(f"written {written}.") for (reason,) in rows_of(done.quarantine, "reason"))


def row_rule(metric: Metric, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"{metric} of x",
        "metric": metric,
        "columns": ["x"],
        "threshold": {"operator": Operator.MUST_BE, "low": 0},
        **changes,
    }


QUALITY = [
    (row_rule(Metric.INVALID_VALUES, valid=["a", "b"]), ["a", "c", None, "b"], [(3, "invalid_value")]),
    (row_rule(Metric.INVALID_VALUES, pattern="[ab]+"), ["ab", "c", None], [(3, "invalid_value")]),
    (row_rule(Metric.INVALID_VALUES, valid=["a", "cc"], pattern="."), ["a", "cc", "b"], [(3, "invalid_value"), (4, "invalid_value")]),
    (row_rule(Metric.MISSING_VALUES, missing=[None, "N/A"]), ["a", "N/A", None], [(3, "missing_value"), (4, "required")]),
    (row_rule(Metric.MISSING_VALUES, missing=["N/A"]), ["a", "N/A", None], [(3, "missing_value")]),
    (row_rule(Metric.MISSING_VALUES, missing=[None]), ["a", None], [(3, "required")]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "values", "expected"), QUALITY)
def test_a_quality_rule_that_no_row_may_break_quarantines_rows(
    bench: Bench, rule: dict[str, Any], values: list[str | None], expected: list[tuple[int, str]]
) -> None:
    """`mustBe: 0` with severity error is a rule of each row."""
    rules = contract_of({"type": "string"}, quality=[rule])
    done = bench.ingest(as_csv(values), rules=rules, **COLUMNS)

    assert expected == rejected(done)
    assert () == done.rules


def test_numbers_that_mean_missing_are_compared_as_numbers(bench: Bench) -> None:
    """-999.0 is -999, and a word that is no number breaks the type."""
    rule = row_rule(Metric.MISSING_VALUES, missing=[-999, "N/A"])
    done = bench.ingest(
        as_csv(["-999.0", "1", "N/A"]), rules=contract_of({"type": "integer"}, quality=[rule]), **COLUMNS
    )

    assert [(2, "missing_value"), (4, "type")] == rejected(done)


STAND_FOR: list[tuple[dict[str, Any], list[Any], list[str], list[str]]] = [
    ({"type": "integer"}, ["N/A", "-999", -1], ["N/A", "-999", "-1"], ["5", "999"]),
    ({"type": "integer"}, ["1.7", "1_0"], ["1.7", "1_0"], ["2", "10", "1"]),
    ({"type": "integer"}, ["9" * 400, "inf"], ["9" * 400, "inf"], ["9"]),
    ({"type": "number"}, ["-999", "none"], ["-999.0", "-9.99e2", "none"], ["999", "0.5"]),
    ({"type": "string"}, [-1, "N/A"], ["-1", "N/A"], ["-1.0", "1", "n/a"]),
    ({"type": "boolean"}, ["unknown"], ["unknown"], ["true", "false"]),
    ({"type": "date"}, ["1900/1/1", 0, "1901-01-01 00:00:00"], ["1900-01-01", "0", "1901-01-01"], ["2026-01-01"]),
    ({"type": "date", "format": "dd.MM.yyyy"}, ["01.01.1900", "-"], ["01.01.1900", "-"], ["01.02.1900"]),
    ({"type": "timestamp"}, ["1900-01-01 00:00:00Z", "never"], ["1900-01-01 00:00:00", "never"], ["1900-01-01 00:00:01"]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "missing", "meant", "others"), STAND_FOR)
def test_what_stands_for_no_value_may_be_of_another_type(
    bench: Bench, column: dict[str, Any], missing: list[Any], meant: list[str], others: list[str]
) -> None:
    """Compared as the text that the feed writes, and as the value which that text says."""
    some = row_rule(
        Metric.MISSING_VALUES, missing=missing, threshold={"operator": Operator.LESS_THAN, "low": 99}
    )
    rules = contract_of(column, quality=[some])
    done = bench.ingest(as_csv([*meant, *others, None]), rules=rules, **COLUMNS)

    assert [float(len(meant))] == [one.value for one in done.rules]


@pytest.mark.parametrize(("column", "missing", "meant", "others"), STAND_FOR)
def test_a_row_with_what_stands_for_no_value_is_quarantined(
    bench: Bench, column: dict[str, Any], missing: list[Any], meant: list[str], others: list[str]
) -> None:
    """And no other row, be it empty: only a listed null would forbid that."""
    rules = contract_of(column, quality=[row_rule(Metric.MISSING_VALUES, missing=missing)])
    done = bench.ingest(as_csv([*meant, *others, None]), rules=rules, **COLUMNS)

    assert list(range(2, 2 + len(meant))) == [position for position, _ in rejected(done)]


def first_of(rows: list[tuple[str, str | None, str | None]]) -> list[tuple[int, str]]:
    """Plain Python's answer: keys first, then each unique column among the rows that are left."""
    found: dict[int, str] = {}
    for column, rule in ((0, "duplicate_key"), (1, "duplicate_value"), (2, "duplicate_value")):
        seen: set[str] = set()
        for number, row in enumerate(rows):
            value = row[column]
            if number in found or value is None:
                continue
            if value in seen:
                found[number] = rule
            seen.add(value)
    return sorted((number + 2, rule) for number, rule in found.items())


FEW_VALUES = st.none() | st.sampled_from("abcde")


@FEW
@given(st.lists(st.tuples(st.sampled_from("KLMNOPQRS"), FEW_VALUES, FEW_VALUES), max_size=14))
def test_of_rows_with_one_unique_value_the_first_stays(rows: list[tuple[str, Any, Any]]) -> None:
    """Keys first, then each unique column in the contract's order; empty values repeat nothing."""
    text = "id,u,v\n" + "".join(f"{key},{u or ''},{v or ''}\n" for key, u, v in rows)
    columns = [
        {"name": "id", "type": "string"},
        {"name": "u", "type": "string", "unique": True},
        {"name": "v", "type": "string", "unique": True},
    ]
    rules = Contract.model_validate({"name": "t", "key": ["id"], "columns": columns})
    with TemporaryDirectory() as folder:
        done = Bench(Path(folder)).ingest(
            text.encode(), rules=rules, columns={"id": "id", "u": "u", "v": "v"}
        )

        assert first_of(rows) == rejected(done)
        assert balanced(done)


def test_columns_may_be_unique_together(bench: Bench) -> None:
    """Each may repeat, both at once not."""
    rules = Contract.model_validate(
        {
            "name": "t",
            "key": ["id"],
            "columns": [{"name": name, "type": "string"} for name in ("id", "a", "b")],
            "unique_together": [["a", "b"]],
        }
    )
    data = b"id,a,b\n1,x,y\n2,x,z\n3,x,y\n4,x,\n5,x,\n"
    done = bench.ingest(data, rules=rules, columns={"id": "id", "a": "a", "b": "b"})

    assert [(4, "duplicate_value")] == rejected(done)
    assert [("a", "An earlier row of the feed has the same a, b.")] == rows_of(
        done.quarantine, "column_name, reason"
    )
    assert 0.8 == done.measures.uniqueness


def test_unique_values_are_unique_over_all_files_of_a_feed(bench: Bench) -> None:
    """The row of the earlier file stays."""
    rules = contract_of({"type": "string", "unique": True})
    files = {"a.csv": b"id,x\n1,p\n2,q\n", "b.csv": b"id,x\n3,q\n4,r\n1,s\n"}
    done = bench.ingest_files(files, rules=rules, **COLUMNS)

    assert [(2, "duplicate_value"), (4, "duplicate_key")] == rejected(done)
    assert {"duplicate_value": 1, "duplicate_key": 1} == done.rejects
    assert [("1", "p"), ("2", "q"), ("4", "r")] == rows_of(done.staged, "id, x")


def test_the_bits_of_a_double_do_not_break_a_multiple(bench: Bench) -> None:
    """0.07 / 0.01 is 7.000000000000001."""
    texts = [f"{number / 100:.2f}" for number in range(100)]
    done = bench.ingest(as_csv(texts), rules=contract_of({"type": "number", "multiple_of": 0.01}), **COLUMNS)

    assert not math.isclose(0.07 / 0.01, 7, rel_tol=0, abs_tol=0)
    assert 100 == done.rows_staged
