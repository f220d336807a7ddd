"""Does the fuzzer know what a file and a contract say, so closely that another value, rule or bound would be noticed?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime

import pytest
from pydantic import BaseModel

from airflow_orchestration.domain.agent import AgentRequirement, AgentSpecification
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.quality_rule import Metric, Operator, QualityRule, Severity, Threshold
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.insights.arrivals_file import Arrivals
from tests.fuzz.appearing import BOUNDS
from tests.fuzz.contracts import PLAIN
from tests.fuzz.meaning import agrees
from tests.fuzz.reading import RawNumber
from tests.fuzz.rules import lost_rules


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seen", False, "yes"),
        ("seen", True, "0"),
        ("seen", True, "on"),
        ("day", date(2026, 11, 22), "2026-11-23"),
        ("day", date(2026, 12, 11), "2026-11-12"),
        ("day", date(2026, 11, 22), "2026-11-22 10:00:00"),
        ("at", datetime.fromisoformat("2026-11-22 10:00"), "2026-11-22T10:00:00+02:00"),
        ("at", datetime.fromisoformat("2026-11-22 10:00"), "2026-11-22 10:00:01"),
        ("at", datetime.fromisoformat("2026-11-22 10:00"), "10:00"),
        ("at", datetime.fromisoformat("2026-11-22 00:00"), "2026-11-22T24:00"),
        ("at", datetime.fromisoformat("2026-11-23 00:00"), "2026-11-22T24:00:01"),
        ("size", 1, True),
        ("size", 2, "1.7"),
        ("size", 1000, "1_000"),
        ("value", 1.5, "1,5"),
        ("value", 0.1, "0.10000000000000002"),
        ("name", None, "a"),
        ("name", "a", None),
        ("name", '{"a": 1}', {"a": RawNumber("2")}),
    ],
)
def test_another_value_than_the_file_says_is_noticed(name: str, value: object, said: object) -> None:
    """A value that was rounded, guessed, moved to another zone or swapped is not what the file says."""
    assert not agrees(name, value, said, {})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seen", True, "Yes"),
        ("seen", False, False),
        ("day", date(2026, 1, 2), "2026/1/2"),
        ("at", datetime.fromisoformat("2026-01-02 10:00:00.500"), "2026-01-02T10:00:00.5Z"),
        ("at", datetime.fromisoformat("2027-01-01 00:00"), "2026-12-31 24:00:00"),
        ("size", 5, "+5.0"),
        ("value", 1500.0, "1.5e3"),
        ("name", "1.50", RawNumber("1.50")),
        ("name", None, "NA"),
    ],
)
def test_the_value_that_the_file_says_is_known(name: str, value: object, said: object) -> None:
    """Another way to write the same is none that is wrong."""
    assert agrees(name, value, said, {"null_words": ["NA"]})


def test_a_rule_that_is_lost_or_another_is_noticed() -> None:
    """A rule counts as read when measure, columns, bounds and severity are those that were written."""
    written = {"metric": "rowCount", "mustBeBetween": [1, 9], "severity": "warning"}
    kept = QualityRule(
        name="rows",
        metric=Metric.ROW_COUNT,
        threshold=Threshold(operator=Operator.BETWEEN, low=1, high=9),
        severity=Severity.WARNING,
    )
    with_it = PLAIN.model_copy(update={"quality": (kept,)})
    other = PLAIN.model_copy(update={"quality": (kept.model_copy(update={"severity": Severity.ERROR}),)})

    assert [] == list(lost_rules([(None, written)], with_it))
    assert ["lost"] == [it.split()[-1] for it in lost_rules([(None, written)], PLAIN)]
    assert ["made"] == [it.split()[-2] for it in lost_rules([], with_it)]
    assert ["lost", "up"] == [it.split()[-1] for it in lost_rules([(None, written)], other)]
    empty = {"metric": "nullValues", "mustBe": 0}
    assert ["lost"] == [it.split()[-1] for it in lost_rules([("name", empty)], PLAIN)]


def numbers_of(model: type[BaseModel]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each field of a model, and of those inside it, that is a number, with the bounds of its schema."""
    schema = model.model_json_schema()
    for described in (schema, *schema.get("$defs", {}).values()):
        for name, field in described.get("properties", {}).items():
            for one in (field, *field.get("anyOf", ())):
                if one.get("type") in {"integer", "number"}:
                    yield name, one


@pytest.mark.parametrize(
    "model",
    [Pipeline, RunSpec, Contract, AgentRequirement, AgentSpecification, Arrivals],
    ids=lambda model: model.__name__,
)
def test_every_number_has_a_bound_that_the_fuzzer_knows(model: type[BaseModel]) -> None:
    """A field that is not in the fuzzer's table, or takes more than it, would be looked at in vain."""
    found = list(numbers_of(model))
    wider = [
        (name, bounds)
        for name, bounds in found
        if name not in BOUNDS
        or bounds.get("minimum", bounds.get("exclusiveMinimum", -math.inf)) < BOUNDS[name][0] - 1e-300
        or bounds.get("maximum", bounds.get("exclusiveMaximum", math.inf)) - 1e-9 > BOUNDS[name][1]
    ]

    assert found
    assert [] == wider
