"""Rules about many rows are measured in one scan, as plain Python measures them, and act by their severity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.quality_rule import (
    Metric,
    Operator,
    QualityRule,
    RuleResult,
    Severity,
    Threshold,
)
from airflow_orchestration.engine import ingest as ingesting
from airflow_orchestration.engine.ingest import Ingested
from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import Bench, balanced, feed

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
AS_OF = datetime(2026, 11, 22, 6, tzinfo=UTC)
MANY = 1e9


def rule(
    metric: Metric, *, operator: Operator = Operator.LESS_OR_EQUAL, low: float = MANY, **changes: Any
) -> QualityRule:
    """A rule about column `x` that nearly everything keeps, and that quarantines nothing."""
    threshold = {"operator": operator, "low": low, "high": low}
    return QualityRule.model_validate(
        {
            "name": changes.pop("name", metric),
            "metric": metric,
            "threshold": threshold,
            "columns": ["x"],
            **changes,
        }
    )


def contract(*rules: QualityRule, kind: str = "integer", **changes: Any) -> Contract:
    columns = [
        {"name": "id", "type": "string"},
        {"name": "x", "type": kind, **changes},
        {"name": "y", "type": "string"},
    ]
    return Contract.model_validate({"name": "t", "key": ["id"], "columns": columns, "quality": rules})


def ingested(bench: Bench, text: str, rules: Contract) -> Ingested:
    described = feed(columns={"id": "id", "x": "x", "y": "y"})
    path = bench.write(text.encode())
    return ingesting.ingest(
        described,
        fetched=bench.fetched(described, path),
        contract=rules,
        scratch=bench.scratch(),
        as_of=AS_OF,
    )


def table(rows: Sequence[tuple[str, str]]) -> str:
    return "id,x,y\n" + "".join(f"k{number},{x},{y}\n" for number, (x, y) in enumerate(rows))


def values(done: Ingested) -> dict[str, float | None]:
    return {result.name: result.value for result in done.rules}


Rows = list[tuple[str, str]]
CELLS = st.lists(
    st.tuples(st.sampled_from(["", "1", "2", "3", "-9", "bad"]), st.sampled_from(["", "a", "b"])), max_size=20
)


def good(rows: Rows) -> Rows:
    """The rows that are staged: those without a bad number."""
    return [row for row in rows if row[0] != "bad"]


def repeated(cells: list[Any]) -> int:
    return len(cells) - len(set(cells))


MEASURED: dict[str, tuple[QualityRule, Callable[[Rows], float | None]]] = {
    "nulls": (rule(Metric.NULL_VALUES), lambda rows: sum(x == "" for x, _ in rows)),
    "missing": (rule(Metric.MISSING_VALUES, missing=[None, -9]), lambda rows: sum(x in {"", "-9"} for x, _ in rows)),
    "missing words": (rule(Metric.MISSING_VALUES, missing=[-9]), lambda rows: sum(x == "-9" for x, _ in rows)),
    "invalid": (rule(Metric.INVALID_VALUES, valid=[1, 2]), lambda rows: sum(x not in {"", "1", "2"} for x, _ in rows)),
    "pattern": (rule(Metric.INVALID_VALUES, pattern="[12]"), lambda rows: sum(x not in {"", "1", "2"} for x, _ in rows)),
    "duplicates": (rule(Metric.DUPLICATE_VALUES), lambda rows: repeated([x for x, _ in good(rows) if x])),
    "pairs": (rule(Metric.DUPLICATE_VALUES, columns=["x", "y"]),
              lambda rows: repeated([row for row in good(rows) if all(row)])),
    "rows": (rule(Metric.ROW_COUNT, columns=[]), lambda rows: len(good(rows))),
    "query": (rule(Metric.SQL, query="SELECT count(*) FROM ${object} WHERE y = 'a' AND ${property} > 1"),
              lambda rows: sum(y == "a" and x in {"2", "3"} for x, y in good(rows))),
    "mean": (rule(Metric.SQL, query="SELECT sum(x) FROM ${object}", severity="warning"),
             lambda rows: sum(int(x) for x, _ in good(rows) if x) if any(x for x, _ in good(rows)) else None),
}  # fmt: skip


@FEW
@given(CELLS)
def test_every_metric_is_what_plain_python_counts(rows: Rows) -> None:
    """Ten rules of all kinds at once; quarantined rows count for the rules about one value."""
    rules = contract(*(one.model_copy(update={"name": name}) for name, (one, _) in MEASURED.items()))
    with TemporaryDirectory() as folder:
        done = ingested(Bench(Path(folder)), table(rows), rules)

        assert {name: measure(rows) for name, (_, measure) in MEASURED.items()} == values(done)
        assert balanced(done)


def test_percentages_are_of_the_rows_that_were_judged(bench: Bench) -> None:
    """Staged and quarantined for a value; one null and one bad value in four rows."""
    rules = contract(
        rule(Metric.NULL_VALUES, percent=True), rule(Metric.INVALID_VALUES, valid=[1, 2], percent=True)
    )
    done = ingested(bench, table([("", "a"), ("bad", "a"), ("1", "a"), ("2", "a")]), rules)

    assert {"nullValues": 25.0, "invalidValues": 25.0} == values(done)


def test_no_rows_are_no_share(bench: Bench) -> None:
    """A feed without rows has no empty values, and no mean."""
    mean = rule(Metric.SQL, name="mean", query="SELECT avg(x) FROM ${object}", severity="warning")
    done = ingested(bench, table([]), contract(rule(Metric.NULL_VALUES, percent=True), mean))

    assert {"nullValues": 0.0, "mean": None} == values(done)
    assert [True, False] == [result.passed for result in done.rules]


UNMAPPED = [
    rule(Metric.NULL_VALUES, operator=Operator.MUST_BE, low=1),
    rule(Metric.FRESHNESS, low=60),
    rule(Metric.DUPLICATE_VALUES, columns=["x", "y"], operator=Operator.MUST_BE, low=1),
    rule(Metric.SQL, columns=[], query="SELECT count(x) FROM ${object} WHERE y = 'a'", operator=Operator.MUST_BE, low=1),
]  # fmt: skip


@pytest.mark.parametrize("about_x", UNMAPPED)
def test_a_rule_about_a_column_that_the_feed_does_not_map_is_not_measured(
    bench: Bench, about_x: QualityRule
) -> None:
    """It is written down as that, neither broken nor in silence; the others are measured."""
    described = feed(columns={"id": "id", "y": "x"})
    path = bench.write(b"id,x\n1,a\n2,b\n")
    about_y = rule(Metric.SQL, name="y", query="SELECT count(y) FROM ${object}")
    done = ingesting.ingest(
        described,
        fetched=bench.fetched(described, path),
        contract=contract(about_x, about_y, kind="date"),
        scratch=bench.scratch(),
        as_of=AS_OF,
    )

    assert [(None, True, ("x",)), (2.0, True, None)] == [
        (one.value, one.passed, one.not_mapped) for one in done.rules
    ]


NO_NUMBERS = ["SELECT avg(x / 0) FROM ${object}", "SELECT sum(x) / 0 FROM ${object}", "SELECT avg(x) FROM ${object} WHERE x > 5"]  # fmt: skip


@pytest.mark.parametrize("query", NO_NUMBERS)
def test_a_result_that_is_no_finite_number_breaks_its_rule_and_nothing_else(bench: Bench, query: str) -> None:
    """For information only it costs nobody a row."""
    endless = rule(Metric.SQL, name="endless", query=query, severity="info")
    done = ingested(bench, table([("1", "a"), ("2", "a")]), contract(endless))

    assert [(None, False, 2)] == [(one.value, one.passed, done.rows_staged) for one in done.rules]


def test_a_broken_rule_of_severity_error_fails_the_feed(bench: Bench) -> None:
    """With every such rule, its value and its threshold."""
    rules = contract(
        rule(Metric.NULL_VALUES, name="few gaps", operator=Operator.LESS_THAN, low=2),
        rule(Metric.ROW_COUNT, name="enough", columns=[], operator=Operator.GREATER_THAN, low=5),
        rule(
            Metric.SQL,
            name="big",
            query="SELECT max(x) FROM ${object}",
            operator=Operator.GREATER_THAN,
            low=0,
        ),
    )
    with pytest.raises(FeedError) as failed:
        ingested(bench, table([("", "a"), ("", "a"), ("1", "a")]), rules)

    told = "list: the contract's quality rules are broken: few gaps is 2, mustBeLessThan 2; enough is 3, mustBeGreaterThan 5."
    assert str(failed.value).startswith(told)


def test_a_broken_warning_keeps_the_rows_and_says_how_many_break_it(bench: Bench) -> None:
    """A quarter of the rows: that lowers the score."""
    warning = rule(
        Metric.NULL_VALUES,
        severity=Severity.WARNING,
        operator=Operator.MUST_BE,
        low=0,
        dimension="completeness",
    )
    done = ingested(bench, table([("", "a"), ("1", "a"), ("2", "a"), ("3", "a")]), contract(warning))

    expected = RuleResult(
        name="nullValues", column="x", severity=Severity.WARNING, value=1.0, threshold="mustBe 0", passed=False, rows=1,
        share=0.25, dimension="completeness",
    )  # fmt: skip
    assert (expected,) == done.rules
    assert 4 == done.rows_staged
    assert done.rules[0].warns


def test_a_broken_warning_about_the_whole_feed_counts_in_full(bench: Bench) -> None:
    """It has no rows of its own."""
    warning = rule(Metric.ROW_COUNT, columns=[], severity="warning", operator=Operator.GREATER_THAN, low=5)
    done = ingested(bench, table([("1", "a")]), contract(warning))

    assert (1.0, None) == (done.rules[0].share, done.rules[0].rows)


AGES = [
    ("timestamp", ["2026-11-20 06:00:00", "2026-11-21 18:00:00"], 12 * 3600.0),
    ("timestamp", ["2026-11-22 07:00:00"], -3600.0),
    ("date", ["2026-11-20", "2026-11-21"], 86_400.0),
    ("date", ["2026-11-22"], 0.0),
    ("date", [""], None),
    ("date", ["2020-11-22", "2062-11-21"], 2191 * 86_400.0),
    ("date", ["2026-11-20", "2026-11-23"], -86_400.0),
    ("timestamp", ["2026-11-21 18:00:00", "2026-11-23 06:00:01"], 12 * 3600.0),
    ("timestamp", ["2062-11-21 18:00:00"], None),
]


@pytest.mark.parametrize(("kind", "texts", "age"), AGES)
def test_freshness_is_the_age_of_the_newest_value(
    bench: Bench, kind: str, texts: list[str], age: float | None
) -> None:
    """At the moment that was given, never by a clock; what lies more than a day ahead is no news but a slip."""
    fresh = rule(Metric.FRESHNESS, severity="warning", low=3000 * 86_400)
    done = ingested(bench, table([(text, "a") for text in texts]), contract(fresh, kind=kind))

    assert {"freshness": age} == values(done)
    assert (age is not None) == done.rules[0].passed


def test_stale_rows_fail_the_feed(bench: Bench) -> None:
    """An agreement about age is an error unless it is called a warning."""
    fresh = rule(Metric.FRESHNESS, low=3600)
    stale = (AS_OF - timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S")
    with pytest.raises(FeedError, match="freshness is 7200, mustBeLessOrEqualTo 3600 seconds old"):
        ingested(bench, table([(stale, "a")]), contract(fresh, kind="timestamp"))


QUERIES = [
    ("SELECT max(nothing) FROM ${object}", "names 'nothing'"), ("SELECT max(y) FROM ${object}", "gives a VARCHAR"), ("SELECT max(x, 3) FROM ${object}", r"gives a BIGINT\[\]"),
    ("SELECT count(*) FROM other", "must be SELECT"), ("SELECT repeat(y, 9) FROM ${object}", "calls repeat"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "word"), QUERIES)
def test_a_query_that_cannot_run_fails_the_feed_before_a_row_is_read(
    bench: Bench, query: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is named, and what to write."""
    monkeypatch.setattr(ingesting, "read_file", None)
    with pytest.raises(FeedError, match=rf"^list: the query of the contract's rule 'mine' .*{word}"):
        ingested(bench, table([("1", "a")]), contract(rule(Metric.SQL, name="mine", query=query)))


def test_a_query_that_fails_on_the_rows_names_its_rule(bench: Bench) -> None:
    """Among others that can be computed."""
    mine = rule(Metric.SQL, name="mine", query="SELECT sum(y::INTEGER) FROM ${object}")
    with pytest.raises(FeedError, match="the contract's rule 'mine' can't be computed on these rows"):
        ingested(bench, table([("1", "a")]), contract(rule(Metric.NULL_VALUES), mine))


def test_a_query_looks_only_at_rows_that_its_condition_lets_through(bench: Bench) -> None:
    """A cast that would fail elsewhere is not tried there."""
    mine = rule(
        Metric.SQL,
        name="mine",
        query="SELECT sum(y::INTEGER) FROM ${object} WHERE regexp_full_match(y, '[0-9]+')",
    )
    done = ingested(bench, table([("1", "a"), ("1", "5"), ("1", "6")]), contract(mine))

    assert {"mine": 11.0} == values(done)


def test_a_pattern_that_only_python_knows_is_refused(bench: Bench) -> None:
    """The engine matches in linear time and knows a little less."""
    with pytest.raises(FeedError, match="'invalidValues' is no RE2 expression"):
        ingested(bench, table([("1", "a")]), contract(rule(Metric.INVALID_VALUES, pattern="(?P<a>x)(?P=a)")))


THRESHOLDS = [
    (Operator.MUST_BE, 2, {2}), (Operator.MUST_NOT_BE, 2, {1, 3}), (Operator.GREATER_THAN, 2, {3}),
    (Operator.GREATER_OR_EQUAL, 2, {2, 3}), (Operator.LESS_THAN, 2, {1}), (Operator.LESS_OR_EQUAL, 2, {1, 2}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "low", "met"), THRESHOLDS)
def test_thresholds_compare_as_the_standard_says(operator: Operator, low: float, met: set[int]) -> None:
    """Each operator with a value below, at and above its bound."""
    assert met == {value for value in (1, 2, 3) if Threshold(operator=operator, low=low).is_met(value)}


def test_both_ends_of_an_interval_belong_to_it() -> None:
    """For being between and for not being between."""
    inside = Threshold(operator=Operator.BETWEEN, low=1, high=3)
    outside = Threshold(operator=Operator.NOT_BETWEEN, low=1, high=3)

    assert [False, True, True, False] == [inside.is_met(value) for value in (0, 1, 3, 4)]
    assert [True, False, False, True] == [outside.is_met(value) for value in (0, 1, 3, 4)]
    assert not inside.is_met(None)
