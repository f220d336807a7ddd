from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_orchestration.cli.schemas import SCHEMAS, schema_text
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.exceptions import InputRefusedError

REPOSITORY = Path(__file__).parents[3]
DEMO = REPOSITORY / "dags" / "airport_reference.yaml"


def written(folder: Path, change: dict[str, Any] | None = None, **contract: Any) -> Path:
    """Write the demo's pipeline file with changes, and its contract beside it."""
    document = yaml.safe_load(DEMO.read_text()) | (change or {})
    odcs = yaml.safe_load((DEMO.parent / "airport_reference.odcs.yaml").read_text()) | contract
    (folder / "airport_reference.odcs.yaml").write_text(yaml.safe_dump(odcs))
    path = folder / "airport_reference.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def feeds(**changes: Any) -> list[dict[str, Any]]:
    """The feeds of the demo; the first one changed."""
    declared: list[dict[str, Any]] = yaml.safe_load(DEMO.read_text())["feeds"]
    return [declared[0] | changes, *declared[1:]]


BAD_FILES: list[tuple[dict[str, Any], list[str]]] = [
    ({"id": "Airport Reference"}, ["id"]),
    ({"id": "../x"}, ["id"]),
    ({"feeds": []}, ["feeds"]),
    ({"feeds": feeds(format="xml")}, ["feeds[0].format"]),
    ({"feeds": feeds(uri="landing")}, ["feeds[0].uri"]),
    ({"feeds": feeds(uri="s3://bucket/key")}, ["feeds[0].uri"]),
    ({"roots": {"landing": "file:///data"}}, ["roots.landing"]),
    ({"staging": "s3:///folder"}, ["staging"]),
    ({"feeds": feeds(uri="landing//etc/passwd")}, ["feeds[0].uri"]),
    ({"feeds": feeds(uri="landing/./x.csv")}, ["feeds[0].uri"]),
    ({"feeds": feeds(uri="landing/x.csv/")}, ["feeds[0].uri"]),
    ({"feeds": feeds(uri="landing/*/x.csv")}, ["feeds[0].uri"]),
    ({"feeds": feeds(format="json", columns={"iata": "$.a[x]"})}, ["feeds[0]"]),
    ({"feeds": feeds(weight=0)}, ["feeds[0].weight"]),
    ({"feeds": feeds(delimiter='"')}, ["feeds[0].delimiter"]),
    ({"feeds": feeds(delimiter="'", quote="'")}, ["feeds[0]"]),
    ({"feeds": feeds(format="json", columns={"iata": "$iata"})}, ["feeds[0]"]),
    ({"feeds": feeds(type="general")}, ["feeds[0].type"]),
    ({"feeds": feeds(class_path="os.system")}, ["feeds[0].class_path"]),
    ({"sync": {"deadline": 25, "floor": 1.5}}, ["sync.floor"]),
    ({"sync": {"deadline": float("nan")}}, ["sync.deadline"]),
    ({"sync": {}}, ["sync.deadline"]),
    ({"sync": {"deadline": "6 o'clock"}}, ["sync.deadline"]),
    ({"sync": {"deadline": "06:00 Europe/Atlantis"}}, ["sync.deadline"]),
    ({"feeds": feeds(deadline="late")}, ["feeds[0].deadline"]),
    ({"sync": {"deadline": 25, "late": "perhaps"}}, ["sync.late"]),
    ({"sync": {"deadline": 25, "stragglers": "kill"}}, ["sync.stragglers"]),
    ({"sync": {"deadline": 25, "points": {"core": {"feeds": []}}}}, ["sync.points.core.feeds"]),
    (
        {"sync": {"deadline": 25, "points": {"core": {"feeds": ["nobody", "ourairports", "ourairports"]}}}},
        ["sync.points.core.feeds[0]", "sync.points.core.feeds[2]"],
    ),
    ({"sync": {"deadline": 25, "points": {"feeds": {"feeds": ["ourairports"]}}}}, ["sync.points.feeds"]),
    ({"ask_when": ["always"]}, ["ask_when[0]"]),
    ({"ask_when": "sometimes"}, ["ask_when"]),
    ({"ask_timeout": 0}, ["ask_timeout"]),
    ({"quality": {"approve_at": 0.2, "fail_below": 0.5}}, ["quality"]),
    ({"publish": {"table": "reference.airport; drop table x"}}, ["publish.table"]),
    ({"publish": {"table": "airport"}}, ["publish.table"]),
    ({"max_rounds": 0}, ["max_rounds"]),
    ({"max_rounds": 1000}, ["max_rounds"]),
    ({"capacity": {"workers": 0}}, ["capacity.workers"]),
    ({"merge": {"strategy": "average"}}, ["merge.strategy"]),
    ({"unknown": 1, "sync": {"deadline": -1}}, ["sync.deadline", "unknown"]),
    ({"feeds": feeds(uri="elsewhere/x.csv")}, ["feeds[0].uri"]),
    ({"feeds": feeds(depends_on=["nobody"])}, ["feeds[0].depends_on"]),
    ({"feeds": feeds(depends_on=["airportsdata"])}, ["feeds"]),
    ({"feeds": feeds(id="vega")}, ["feeds[5].id"]),
    (
        {"feeds": feeds(id="vega", uri="elsewhere/x.csv", depends_on=["nobody"])},
        ["feeds[0].uri", "feeds[0].depends_on", "feeds[5].id"],
    ),
]


@pytest.mark.parametrize(("change", "paths"), BAD_FILES, ids=lambda value: str(value)[:50])
def test_bad_pipeline_file_is_refused_with_every_path(
    tmp_path: Path, change: dict[str, Any], paths: list[str]
) -> None:
    """A bad pipeline file is refused, and each thing that is wrong is named by its path."""
    with pytest.raises(InputRefusedError) as refused:
        read_pipeline_file(written(tmp_path, change))

    assert sorted(paths) == sorted(problem.path for problem in refused.value.problems)


DISAGREEMENTS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"feeds": feeds(columns={"iata": "iata", "name": "name", "runways": "x"})},
        ["feeds[0].columns.runways"],
    ),
    ({"feeds": feeds(columns={"name": "name"})}, ["feeds[0].columns"]),
    ({"feeds": feeds(columns={"iata": "iata"})}, ["feeds[0].columns"]),
    ({"merge": {"tolerance": {"name": 1}}}, ["merge.tolerance.name"]),
    ({"merge": {"attributes": {"iata": "vote"}}}, ["merge.attributes.iata"]),
    ({"merge": {"attributes": {"name": "median"}}}, ["merge.attributes.name"]),
    ({"merge": {"attributes": {"name": "mean"}}}, ["merge.attributes.name"]),
    ({"merge": {"strategy": "mean"}}, ["merge.strategy"]),
    ({"merge": {"strategy": "newest", "newest_by": "name"}}, ["merge.newest_by"]),
    (
        {"publish": {"table": "a.b", "mode": "partition", "partition_by": "name"}},
        ["publish.partition_by"],
    ),
]


@pytest.mark.parametrize(("change", "paths"), DISAGREEMENTS, ids=lambda value: str(value)[:50])
def test_pipeline_and_contract_must_agree(tmp_path: Path, change: dict[str, Any], paths: list[str]) -> None:
    """What a pipeline asks of its contract in vain is refused by path."""
    found = read_pipeline_file(written(tmp_path, change))
    with pytest.raises(InputRefusedError) as refused:
        found.read_contracts()

    assert paths == [problem.path for problem in refused.value.problems]


def test_circle_is_printed(tmp_path: Path) -> None:
    """Feeds that depend on each other in a circle are named along the circle."""
    declared = feeds(depends_on=["vega"])
    declared[5]["depends_on"] = ["airportsdata"]
    with pytest.raises(InputRefusedError, match="airportsdata -> vega -> airportsdata"):
        read_pipeline_file(written(tmp_path, {"feeds": declared}))


BAD_YAML = [
    ("id: a\nid: b\n", "line 2: key 'id' stands twice"),
    ("a: &x [1]\nb: *x\n", "line 2: aliases are not allowed"),
    ("- a list\n", "holds no mapping"),
    ("", "holds no mapping"),
    ("a: [1\n", "line 2"),
    ("id: a\n? [a, b]\n: c\n", "line 2: a key must be one word"),
    ("id: a\nfeeds:\n  ? {a: b}\n  : c\n", "line 3: a key must be one word"),
    ("a: !!python/object/apply:os.system ['true']\n", "line 1"),
    ("x: " + "y" * 1_100_000, "at most 1048576 are allowed"),
]


@pytest.mark.parametrize(("text", "message"), BAD_YAML, ids=[message for _, message in BAD_YAML])
def test_bad_yaml_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """A file that is no plain YAML mapping is refused, with the line where it can be said."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(InputRefusedError, match=message):
        read_pipeline_file(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A pipeline file or a contract that is not there is named."""
    with pytest.raises(InputRefusedError, match=r"file nothing\.yaml"):
        read_pipeline_file(tmp_path / "nothing.yaml")
    found = read_pipeline_file(written(tmp_path, {"contract": "gone.odcs.yaml"}))
    with pytest.raises(InputRefusedError, match=r"file gone\.odcs\.yaml"):
        found.read_contracts()


def schema(**property_changes: Any) -> list[dict[str, Any]]:
    """One schema object whose only property is changed."""
    return [{"name": "t", "properties": [{"name": "iata", "primaryKey": True, **property_changes}]}]


UNSUPPORTED = [
    ({"apiVersion": "v2.2.2"}, "apiVersion"),
    ({"schema": []}, "schema"),
    ({"schema": schema(encryptedName="x")}, "encryptedName"),
    ({"schema": schema(quality=[{"metric": "nullValues"}])}, "quality"),
    ({"schema": schema(logicalTypeOptions={"format": "binary"})}, "properties[0]"),
    ({"schema": schema(logicalType="object")}, "logicalType"),
    ({"schema": schema(primaryKey=False)}, "key"),
    ({"schema": schema(logicalTypeOptions={"pattern": "("})}, "pattern"),
    ({"schema": schema(logicalTypeOptions={"pattern": "(?=x)y"})}, "pattern"),
    ({"schema": schema(logicalTypeOptions={"minimum": 1})}, "properties[0]"),
    ({"schema": schema(logicalType="date", logicalTypeOptions={"pattern": "x"})}, "properties[0]"),
]


@pytest.mark.parametrize(("contract", "part"), UNSUPPORTED, ids=[part for _, part in UNSUPPORTED])
def test_what_the_contract_cannot_promise_is_refused_by_name(
    tmp_path: Path, contract: dict[str, Any], part: str
) -> None:
    """A part of the standard that is not honoured is refused by name, never skipped."""
    found = read_pipeline_file(written(tmp_path, **contract))
    with pytest.raises(InputRefusedError) as refused:
        found.read_contracts()

    assert any(part in problem.path for problem in refused.value.problems)


def test_paths_are_relative_to_the_pipeline_file(tmp_path: Path) -> None:
    """Roots, staging and contract are found beside the file, wherever it is read from."""
    pipeline = read_pipeline_file(written(tmp_path)).pipeline

    assert str(tmp_path.parent / ".orchestration" / "landing") == pipeline.roots["landing"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_exported_schemas_are_those_of_the_models(name: str) -> None:
    """`make schemas` has been run since the models changed."""
    assert schema_text(name) == (REPOSITORY / "docs" / "schemas" / name).read_text()


def test_a_deadline_may_be_a_time_of_day(tmp_path: Path) -> None:
    """It is kept as the author wrote it."""
    found = read_pipeline_file(written(tmp_path, {"sync": {"deadline": "06:00 Europe/Berlin"}}))

    assert "06:00 Europe/Berlin" == found.pipeline.sync.deadline
