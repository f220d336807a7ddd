"""A contract of the standard is honoured, or refused by name: no part of it is skipped in silence."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from open_data_contract_standard import model

from airflow_orchestration.domain import odcs_parts
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.odcs_parts import Parts
from airflow_orchestration.domain.quality_rule import Metric, Operator, QualityRule, Severity, Threshold
from airflow_orchestration.exceptions import InputRefusedError

KINDS: dict[str, tuple[Parts, Any]] = {
    "": (odcs_parts.DOCUMENT, model.OpenDataContractStandard),
    "schema[0]": (odcs_parts.SCHEMA_OBJECT, model.SchemaObject),
    "schema[0].properties[1]": (odcs_parts.SCHEMA_PROPERTY, model.SchemaProperty),
    "schema[0].properties[1].quality[0]": (odcs_parts.QUALITY, model.DataQuality),
    "schema[0].properties[1].enum[0]": (odcs_parts.ENUM_VALUE, model.EnumValue),
    "slaProperties[0]": (odcs_parts.SLA_PROPERTY, model.ServiceLevelAgreementProperty),
}


def document(**changes: Any) -> dict[str, Any]:
    """A small contract with changes at its top."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "schema": [
            {
                "name": "place",
                "properties": [
                    {"name": "id", "primaryKey": True},
                    {"name": "size", "logicalType": "integer"},
                    {"name": "seen", "logicalType": "timestamp"},
                ],
            }
        ],
        **changes,
    }


def with_property(**changes: Any) -> dict[str, Any]:
    made = document()
    made["schema"][0]["properties"][1].update(changes)
    return made


def with_rule(**rule: Any) -> dict[str, Any]:
    return with_property(quality=[rule])


def with_object_rule(**rule: Any) -> dict[str, Any]:
    made = document()
    made["schema"][0]["quality"] = [rule]
    return made


def with_agreement(**agreement: Any) -> dict[str, Any]:
    return document(slaProperties=[agreement])


def read(folder: Path, made: dict[str, Any]) -> Contract:
    path = folder / "place.odcs.yaml"
    path.write_text(yaml.safe_dump(made))
    return read_contracts(path)[0]


def refusals(folder: Path, made: dict[str, Any]) -> list[str]:
    with pytest.raises(InputRefusedError) as refused:
        read(folder, made)
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("place", KINDS)
def test_every_field_of_the_standard_is_placed(place: str) -> None:
    """A field that a newer version of the standard has must be honoured, called descriptive, or refused."""
    parts, standard = KINDS[place]
    fields = {field.alias or name for name, field in standard.model_fields.items()}

    assert fields == parts.honoured | parts.descriptive | parts.refused.keys()


REFUSED = [(place, name) for place, (parts, _) in KINDS.items() for name in parts.refused]


@pytest.mark.parametrize(("place", "name"), REFUSED)
def test_what_is_not_supported_is_refused_with_its_path_and_a_remedy(
    tmp_path: Path, place: str, name: str
) -> None:
    """Nobody believes that something is checked which isn't."""
    values: dict[str, Any] = {
        "relationships": [{"type": "foreignKey"}], "items": {"name": "x"}, "map": {"key": {"name": "x"}},
        "partitioned": True, "partitionKeyPosition": 1, "properties": [{"name": "x"}], "transformSourceObjects": ["x"],
    }  # fmt: skip
    field = {name: values.get(name, "something")}
    made = {
        "schema[0]": lambda: document(schema=[{**document()["schema"][0], **field}]),
        "schema[0].properties[1]": lambda: with_property(**field),
        "schema[0].properties[1].quality[0]": lambda: with_rule(metric="nullValues", mustBe=0, **field),
        "slaProperties[0]": lambda: with_agreement(
            property="latency", value=1, unit="d", element="place.seen", **field
        ),
    }[place]()

    assert any(line.startswith(f"{place}.{name}: ") and ";" in line for line in refusals(tmp_path, made))


@pytest.mark.parametrize("place", [place for place in KINDS if place])
def test_a_field_that_the_standard_does_not_have_is_refused(tmp_path: Path, place: str) -> None:
    """A slip in a name would otherwise switch a rule off."""
    made = {
        "schema[0]": lambda: document(schema=[{**document()["schema"][0], "qualty": 1}]),
        "schema[0].properties[1]": lambda: with_property(requred=True),
        "schema[0].properties[1].quality[0]": lambda: with_rule(metric="nullValues", mustbe=0),
        "schema[0].properties[1].enum[0]": lambda: with_property(enum=[{"valu": 1}]),
        "slaProperties[0]": lambda: with_agreement(property="retention", value=1, elemnt="x"),
    }[place]()

    assert any("is no part of the standard" in line and place in line for line in refusals(tmp_path, made))


def test_a_refused_part_that_asks_for_nothing_passes(tmp_path: Path) -> None:
    """Tools write `partitioned: false` into every contract."""
    found = read(tmp_path, with_property(partitioned=False, partitionKeyPosition=-1, relationships=[]))

    assert Contract.model_validate(found.model_dump()) == found


OPTIONS = [
    ("integer", {"minimum": 1, "maximum": 9}, {"minimum": 1, "maximum": 9}),
    ("integer", {"exclusiveMinimum": 1, "exclusiveMaximum": 9}, {"exclusive_minimum": 1, "exclusive_maximum": 9}),
    ("number", {"multipleOf": 0.5, "format": "f32"}, {"multiple_of": 0.5, "format": "f32"}),
    ("integer", {"format": "u16"}, {"format": "u16"}),
    ("string", {"minLength": 1, "maxLength": 3, "pattern": "a+"}, {"min_length": 1, "max_length": 3, "pattern": "a+"}),
    ("string", {"format": "uuid"}, {"format": "uuid"}),
    ("date", {"minimum": "2026-01-01", "format": "dd.MM.yyyy"}, {"minimum": "2026-01-01", "format": "dd.MM.yyyy"}),
    ("timestamp", {"maximum": "2026-01-01T10:00:00", "timezone": False, "defaultTimezone": "UTC"}, {"maximum": "2026-01-01T10:00:00"}),
    ("date", {"minimum": date(2026, 1, 1)}, {"minimum": "2026-01-01"}),
    ("boolean", {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "expected"), OPTIONS)
def test_logical_type_options_become_rules_of_the_column(
    tmp_path: Path, kind: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Under our own names, and nothing beside them."""
    found = read(tmp_path, with_property(logicalType=kind, logicalTypeOptions=options)).by_name["size"]

    assert {"name": "size", "type": kind, **expected} == found.model_dump(exclude_defaults=True)


BAD_PROPERTIES: list[tuple[dict[str, Any], str]] = [
    ({"logicalType": "time"}, "properties[1].logicalType: 'time' isn't supported"),
    ({"logicalType": "object"}, "properties[1].logicalType: 'object'"),
    ({"logicalType": "array"}, "properties[1].logicalType: 'array'"),
    ({"logicalType": "map"}, "properties[1].logicalType: 'map'"),
    ({"logicalType": "vector"}, "properties[1].logicalType: 'vector'"),
    ({"semanticType": "measure"}, "properties[1].semanticType"),
    ({"logicalTypeOptions": {"minItems": 1}}, "logicalTypeOptions.minItems: isn't supported"),
    ({"logicalTypeOptions": {"minimum": "a"}}, "minimum 'a' is no integer"),
    ({"logicalTypeOptions": {"minimum": 5, "maximum": 4}}, "its minimum 5 is above its maximum 4"),
    ({"logicalTypeOptions": {"minimum": "many", "multipleOf": -1}}, "logicalTypeOptions.multipleOf: must be greater than 0"),
    ({"logicalTypeOptions": {"format": "u64"}}, "format 'u64' isn't supported here; use one of: i8"),
    ({"logicalTypeOptions": {"format": "email"}}, "format 'email' isn't supported"),
    ({"logicalType": "string", "logicalTypeOptions": {"format": "binary"}}, "format 'binary' isn't supported"),
    ({"logicalType": "string", "logicalTypeOptions": {"pattern": "("}}, "logicalTypeOptions.pattern: is not a regular"),
    ({"logicalType": "string", "logicalTypeOptions": {"minLength": -1}}, "logicalTypeOptions.minLength"),
    ({"logicalType": "date", "logicalTypeOptions": {"format": "yy-MM-dd"}}, "'yy' isn't supported in a format"),
    ({"logicalType": "date", "logicalTypeOptions": {"minimum": 5}}, "minimum 5 is no date"),
    ({"logicalType": "timestamp", "logicalTypeOptions": {"timezone": True}}, "timezone: isn't supported"),
    ({"logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "Europe/Berlin"}}, "defaultTimezone: isn't"),
    ({"enum": [{"value": "a"}]}, "its enum holds 'a', which is no integer"),
    ({"logicalTypeOptions": {"minimum": 5, "exclusiveMaximum": 3}}, "its minimum 5 is above its maximum 3"),
    ({"logicalTypeOptions": {"exclusiveMinimum": 5, "maximum": 3}}, "its minimum 5 is above its maximum 3"),
    ({"logicalTypeOptions": {"minimum": 5, "exclusiveMaximum": 5}}, "its minimum 5 and its maximum 5 leave no value"),
    ({"logicalType": None, "physicalType": "INTEGER"}, "properties[1].logicalType: must stand beside physicalType"),
    ({"required": "false"}, "properties[1].required: 'false' is no truth; write true or false, without quotes"),
    ({"unique": "no"}, "properties[1].unique: 'no' is no truth"),
    ({"primaryKey": "false"}, "properties[1].primaryKey: 'false' is no truth"),
    ({"primaryKey": True, "primaryKeyPosition": "2"}, "properties[1].primaryKeyPosition: '2' is no whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD_PROPERTIES)
def test_a_property_that_cannot_be_honoured_is_refused_at_its_path(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """With the value that is wrong, where the author wrote it."""
    assert any(message in line for line in refusals(tmp_path, with_property(**changes)))


def rule(**changes: Any) -> QualityRule:
    return QualityRule.model_validate(
        {
            "name": f"{changes['metric']} of size",
            "threshold": Threshold(operator=Operator.LESS_THAN, low=5, high=5),
            "columns": ("size",),
            **changes,
        }
    )


RULES: list[tuple[dict[str, Any], QualityRule]] = [
    ({"metric": "nullValues", "mustBeLessThan": 5}, rule(metric=Metric.NULL_VALUES)),
    ({"type": "library", "rule": "nullCheck", "mustBeLessThan": 5, "unit": "rows"}, rule(metric=Metric.NULL_VALUES)),
    ({"metric": "nullValues", "mustBeLessThan": 5, "unit": "percent", "severity": "Warning"},
     rule(metric=Metric.NULL_VALUES, percent=True, severity=Severity.WARNING)),
    ({"metric": "missingValues", "mustBeLessThan": 5}, rule(metric=Metric.MISSING_VALUES, missing=(None,))),
    ({"metric": "missingValues", "mustBeLessThan": 5, "arguments": {"missingValues": [None, "", -999]}},
     rule(metric=Metric.MISSING_VALUES, missing=(None, "", -999))),
    ({"metric": "invalidValues", "mustBeLessThan": 5, "arguments": {"validValues": [1, 2], "pattern": "1|2"}},
     rule(metric=Metric.INVALID_VALUES, valid=(1, 2), pattern="1|2")),
    ({"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [1]}, "name": "known", "description": "d", "dimension": "accuracy"},
     rule(metric=Metric.INVALID_VALUES, valid=(1,), name="known", description="d", dimension="accuracy",
          threshold=Threshold(operator=Operator.MUST_BE, low=0))),
    ({"metric": "duplicateValues", "mustBeLessThan": 5}, rule(metric=Metric.DUPLICATE_VALUES)),
    ({"rule": "duplicateCount", "mustBeBetween": [0, 3]},
     rule(metric=Metric.DUPLICATE_VALUES, threshold=Threshold(operator=Operator.BETWEEN, low=0, high=3))),
    ({"type": "sql", "query": "SELECT max(${property}) FROM ${object}", "mustBeLessThan": 5, "unit": "m", "severity": "info"},
     rule(metric=Metric.SQL, query="SELECT max(${property}) FROM ${object}", severity=Severity.INFO)),
    ({"query": "SELECT bool_and(size > 1) FROM ${object}", "mustBe": True, "type": "sql"},
     rule(metric=Metric.SQL, query="SELECT bool_and(size > 1) FROM ${object}",
          threshold=Threshold(operator=Operator.MUST_BE, low=1, high=1))),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), RULES)
def test_a_quality_entry_becomes_a_rule(
    tmp_path: Path, written: dict[str, Any], expected: QualityRule
) -> None:
    """With its metric, arguments, threshold, unit and severity; an error where none is said."""
    assert (expected,) == read(tmp_path, with_rule(**written)).quality


def test_a_text_is_documentation(tmp_path: Path) -> None:
    """It asks for nothing that a machine could check."""
    assert () == read(tmp_path, with_rule(type="text", description="Sizes are plausible.")).quality


def test_a_count_that_must_be_nothing_is_a_rule_of_each_row(tmp_path: Path) -> None:
    """No empty value: required. No repeated value: unique. The row is to blame, not the feed."""
    none = {"mustBe": 0}
    found = read(
        tmp_path,
        with_property(quality=[{"metric": "nullValues", **none}, {"metric": "duplicateValues", **none}]),
    )

    assert (True, True) == (found.by_name["size"].required, found.by_name["size"].unique)
    assert () == found.quality


@pytest.mark.parametrize("severity", ["warning", "info"])
def test_a_count_that_should_be_nothing_is_measured(tmp_path: Path, severity: str) -> None:
    """A warning quarantines nothing."""
    found = read(tmp_path, with_rule(metric="nullValues", mustBe=0, severity=severity))

    assert not found.by_name["size"].required
    assert (Metric.NULL_VALUES,) == tuple(one.metric for one in found.measured)


def test_columns_that_are_unique_together_come_from_the_schema_object(tmp_path: Path) -> None:
    """`duplicateValues` with `properties`, at most nothing."""
    written = {"metric": "duplicateValues", "arguments": {"properties": ["size", "seen"]}, "mustBe": 0}

    assert (("size", "seen"),) == read(tmp_path, with_object_rule(**written)).unique


BAD_RULES: list[tuple[dict[str, Any], str]] = [
    ({"metric": "nullValues"}, "quality[0]: needs one of mustBe"),
    ({"metric": "nullValues", "mustBe": 0, "mustBeLessThan": 5}, "quality[0]: needs one of mustBe"),
    ({"metric": "nullValues", "mustBe": "none"}, "quality[0].mustBe: 'none' is no number"),
    ({"metric": "nullValues", "mustBe": True}, "quality[0].mustBe: True is no number"),
    ({"metric": "nullValues", "mustBeBetween": [5, 1]}, "quality[0].mustBeBetween: wants the smaller number first"),
    ({"metric": "nullValues", "mustBe": [0, 5]}, "quality[0].mustBe: [0, 5] is no number"),
    ({"metric": "nullValues", "mustBe": []}, "quality[0].mustBe: [] is no number"),
    ({"metric": "nullValues", "mustBeBetween": [0, 5, 9]}, "quality[0].mustBeBetween: "),
    ({"metric": "nullValues", "mustBeBetween": [3]}, "quality[0].mustBeBetween: "),
    ({"metric": "nullValues", "mustNotBeBetween": 3}, "quality[0].mustNotBeBetween: must be a valid list"),
    ({"metric": "missingValues", "mustBe": 0, "arguments": {"missingValues": [True]}}, "missingValues holds True, which is no integer"),
    ({"metric": "medianValues", "mustBe": 0}, "quality[0].metric: 'medianValues' isn't supported; use one of: nullValues"),
    ({"rule": "freshnessCheck", "mustBe": 0}, "quality[0].rule: 'freshnessCheck' isn't supported"),
    ({"type": "custom", "mustBe": 0}, "quality[0].type: 'custom' isn't supported; write library, sql or text"),
    ({"type": "sql", "mustBe": 0}, "quality[0].query: is required"),
    ({"type": "library", "metric": "nullValues", "query": "SELECT 1", "mustBe": 0}, "quality[0].query: goes with type: sql"),
    ({"metric": "nullValues", "mustBe": 0, "unit": "bananas"}, "quality[0].unit: 'bananas'"),
    ({"metric": "nullValues", "mustBe": 0, "severity": "grave"}, "quality[0].severity: 'grave' isn't supported; write error"),
    ({"metric": "nullValues", "mustBe": 0, "arguments": {"x": 1}}, "quality[0].arguments.x: isn't an argument of nullValues"),
    ({"metric": "invalidValues", "mustBe": 0}, "quality[0].arguments: needs validValues or pattern"),
    ({"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "("}}, "arguments.pattern: is not a regular"),
    ({"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": []}}, "validValues: must be a list"),
    ({"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [[1]]}}, "[1] is no single value"),
    ({"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["a"]}}, "validValues holds 'a', which is no integer"),
    ({"metric": "rowCount", "mustBe": 1}, "quality[0].metric: rowCount is about all rows"),
    ({"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["nothing"]}}, "arguments.properties: must be"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "message"), BAD_RULES)
def test_a_quality_entry_that_cannot_be_honoured_is_refused_at_its_path(
    tmp_path: Path, written: dict[str, Any], message: str
) -> None:
    """With what may be written instead."""
    assert any(message in line for line in refusals(tmp_path, with_rule(**written)))


def test_a_metric_of_a_column_stands_at_a_column(tmp_path: Path) -> None:
    """At the schema object it would be about nothing."""
    found = refusals(tmp_path, with_object_rule(metric="nullValues", mustBe=0))

    assert any("nullValues is about a column; write it at a property" in line for line in found)


FRESH = [
    ({"property": "latency", "value": 2, "unit": "d", "element": "place.seen"}, 172_800.0),
    ({"property": "freshness", "value": 90, "unit": "min", "element": "seen"}, 5_400.0),
    ({"property": "frequency", "value": 1, "element": "place.seen"}, 86_400.0),
]


@pytest.mark.parametrize(("agreement", "seconds"), FRESH)
def test_an_agreement_about_age_is_a_rule_of_freshness(
    tmp_path: Path, agreement: dict[str, Any], seconds: float
) -> None:
    """The newest value of the element may be at most so old."""
    (found,) = read(tmp_path, with_agreement(**agreement)).quality

    assert (Metric.FRESHNESS, ("seen",), f"mustBeLessOrEqualTo {seconds:g}") == (
        found.metric,
        found.columns,
        str(found.threshold),
    )


def test_an_agreement_may_be_a_warning(tmp_path: Path) -> None:
    """The standard has no severity for agreements; a custom property gives one."""
    agreement = {"property": "latency", "value": 2, "element": "seen"}
    own = [{"property": "severity", "value": "warning"}]
    (found,) = read(tmp_path, with_agreement(**agreement, customProperties=own)).quality

    assert Severity.WARNING is found.severity


def test_agreements_about_a_service_pass(tmp_path: Path) -> None:
    """Nothing of them can be seen in the rows."""
    assert () == read(tmp_path, with_agreement(property="retention", value=3, unit="y")).quality


BAD_AGREEMENTS = [
    ({"property": "latency", "value": 1}, "slaProperties[0].element"),
    ({"property": "latency", "value": 1, "element": "place.nothing"}, "slaProperties[0].element: 'place.nothing'"),
    ({"property": "latency", "value": 1, "element": "place.size"}, "slaProperties[0].element: 'size' must be a date"),
    ({"property": "latency", "value": 1, "unit": "m", "element": "seen"}, "slaProperties[0].unit: 'm' isn't supported"),
    ({"property": "latency", "value": "x", "element": "seen"}, "slaProperties[0].value"),
    ({"property": "happiness", "value": 1}, "slaProperties[0].property: 'happiness' isn't supported"),
]  # fmt: skip


@pytest.mark.parametrize(("agreement", "message"), BAD_AGREEMENTS)
def test_an_agreement_that_cannot_be_honoured_is_refused_at_its_path(
    tmp_path: Path, agreement: dict[str, Any], message: str
) -> None:
    """With what may be written instead."""
    assert any(message in line for line in refusals(tmp_path, with_agreement(**agreement)))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """An author mends a contract in one go."""
    made = with_property(encryptedName="x", logicalTypeOptions={"minItems": 1}, quality=[{"metric": "no"}])

    assert 3 <= len(refusals(tmp_path, made))


def test_descriptions_are_kept(tmp_path: Path) -> None:
    """They become comments on the table and its columns."""
    made = with_property(description="In square metres.")
    made["schema"][0]["description"] = "Places of interest."
    found = read(tmp_path, made)

    assert ("Places of interest.", "In square metres.") == (
        found.description,
        found.by_name["size"].description,
    )


def test_a_contract_survives_being_stored(tmp_path: Path) -> None:
    """A run keeps its contract as JSON."""
    made = with_rule(metric="invalidValues", mustBeLessThan=5, arguments={"validValues": [1, 2]})
    made["schema"][0]["properties"][1]["enum"] = [{"value": 1}, {"value": 2}]
    found = read(tmp_path, made)

    assert found == Contract.model_validate(found.model_dump(mode="json", exclude_defaults=True))


def test_a_bare_value_of_an_enum_is_told_how_it_is_written(tmp_path: Path) -> None:
    """The standard writes an object for each value; the name of a class would help nobody."""
    assert [
        "schema[0].properties[1].enum[0]: write {value: ok}",
        "schema[0].properties[1].enum[2]: write {value: 3}",
    ] == refusals(tmp_path, with_property(enum=["ok", {"value": "late"}, 3]))
