"""A pipeline file whose contract has several schema objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import contract_problems, resolve
from airflow_orchestration.exceptions import InputRefusedError

TODAY = date(2026, 11, 22)


def contract(name: str) -> Contract:
    columns = (Column(name="code", type=ColumnType.STRING), Column(name="size", type=ColumnType.NUMBER))
    return Contract(name=name, key=("code",), columns=columns)


CONTRACTS = (contract("plane"), contract("weather"))


def feed(feed_id: str, dataset: str | None, **changes: Any) -> dict[str, Any]:
    source = {"uri": f"landing/{feed_id}.csv", "format": "csv"}
    return {"id": feed_id, "dataset": dataset, **source, "columns": {"code": "code"}, **changes}


def publish(table: str, **changes: Any) -> dict[str, Any]:
    return {"publish": {"table": table}, **changes}


def pipeline(**changes: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "id": "fleet",
            "roots": {"landing": "/landing"},
            "staging": "/staging",
            "contract": "unused",
            "feeds": [feed("planes", "plane"), feed("metar", "weather"), feed("taf", "weather")],
            "datasets": {"plane": publish("fleet.plane"), "weather": publish("fleet.weather")},
            "sync": {"deadline": 60},
            **changes,
        }
    )


def problems(declared: Pipeline) -> Mapping[str, str]:
    return {found.path: found.message for found in contract_problems(declared, CONTRACTS)}


def test_a_feed_brings_rows_of_its_dataset() -> None:
    """Each dataset has its contract, its merge, its table and its feeds, in the order of the contract."""
    merged = {
        "plane": publish("fleet.plane", merge={"tolerance": {"size": 2}}),
        "weather": publish("fleet.weather"),
    }
    spec = resolve(pipeline(datasets=merged), CONTRACTS, read_conf({}), TODAY)

    assert {"plane": ("planes",), "weather": ("metar", "taf")} == {
        name: dataset.feeds for name, dataset in spec.datasets.items()
    }
    assert {"size": 2} == spec.dataset_of("planes").merge.tolerance
    assert "fleet.weather" == spec.dataset_of("taf").publish.table
    assert CONTRACTS[1] is spec.dataset_of("taf").contract


def test_a_run_without_a_datasets_feeds_does_without_the_dataset() -> None:
    """What conf leaves out isn't merged or published."""
    conf = read_conf({"batches": [{"id": "metar"}]})
    assert ["weather"] == list(resolve(pipeline(), CONTRACTS, conf, TODAY).datasets)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"feeds": [feed("planes", None)]},
            "feeds[0].dataset",
            "must be one of the contract's objects: plane, weather",
        ),
        ({"feeds": [feed("planes", "ship")]}, "feeds[0].dataset", "must be one of"),
        (
            {"datasets": {"plane": publish("fleet.plane"), "ship": publish("fleet.ship")}},
            "datasets.ship",
            "is no schema object of the contract",
        ),
        ({"datasets": {"plane": publish("fleet.plane")}}, "datasets", "lacks 'weather'"),
        (
            {"datasets": {"plane": publish("fleet.all"), "weather": publish("fleet.all")}},
            "datasets.weather.publish.table",
            "is the table of 'plane' already",
        ),
        ({"datasets": {}, **publish("fleet.all")}, "publish", "write datasets instead"),
        (
            {
                "datasets": {
                    "plane": publish("fleet.plane", merge={"tolerance": {"code": 1}}),
                    "weather": publish("fleet.weather"),
                }
            },
            "datasets.plane.merge.tolerance.code",
            "no numeric attribute",
        ),
    ],
)
def test_datasets_and_contract_must_agree(changes: dict[str, Any], path: str, message: str) -> None:
    """What a pipeline says of datasets in vain is refused by path."""
    assert message in problems(pipeline(**changes))[path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (publish("fleet.plane"), "needs publish, or datasets"),
        ({"datasets": {}}, "needs publish, or datasets"),
        ({"merge": {"tolerance": {"size": 1}}}, "move merge there"),
        (
            {"feeds": [feed("planes", "plane", database={"conn_id": "x", "table": "a.b"})]},
            "has uri, database",
        ),
        ({"feeds": [{"id": "planes", "columns": {"code": "code"}}]}, "has none"),
        ({"feeds": [feed("planes", "plane", format=None)]}, "format goes with uri"),
        (
            {"feeds": [feed("planes", "plane", columns={"code": {"expression": "x", "column": "x"}})]},
            "not both",
        ),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    """What can't be meant is refused when the file is read."""
    with pytest.raises(ValidationError, match=message):
        pipeline(**changes)


def test_conf_names_no_file_for_a_feed_of_a_table() -> None:
    """A run can't turn a table into a file."""
    table = feed("planes", "plane", uri=None, format=None, database={"conn_id": "erp", "table": "erp.plane"})
    conf = read_conf({"batches": [{"id": "planes", "uri": "landing/mine.csv"}]})
    with pytest.raises(InputRefusedError, match=r"batches\[0\]\.uri.*no file"):
        resolve(pipeline(feeds=[table]), CONTRACTS, conf, TODAY)
