"""What an aggregate asks of the feeds that it reads, and of its own dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import contract_problems, structure_problems


def contract(name: str, key: list[str], **types: str) -> Contract:
    columns = [{"name": column, "type": kind} for column, kind in types.items()]
    return Contract.model_validate({"name": name, "key": key, "columns": columns})


FLIGHT = contract("flight", ["number"], number="string", carrier="string", day="date", delay="integer")
BOAT = contract("boat", ["number"], number="string", carrier="integer", day="date", delay="number")
DELAY = contract(
    "delay",
    ["carrier", "day"],
    carrier="string",
    day="date",
    flights="integer",
    mean="number",
    worst="integer",
)
CONTRACTS = (FLIGHT, BOAT, DELAY)
MEASURES: dict[str, Any] = {
    "flights": {"function": "count"},
    "mean": {"function": "mean", "column": "delay"},
    "worst": {"function": "max", "column": "delay"},
}
FILE = {"uri": "landing/file.csv", "format": "csv"}


def aggregate(*, feeds: tuple[str, ...] = ("flights",), **changes: Any) -> dict[str, Any]:
    made = {"feeds": list(feeds), "group_by": ["carrier", "day"], "measures": MEASURES}
    made |= {name: changes.pop(name) for name in ("group_by", "measures") if name in changes}
    return {
        "id": "delays",
        "dataset": "delay",
        "type": "data_aggregation",
        "depends_on": list(feeds),
        "aggregate": made,
        **changes,
    }


def problems(declared: dict[str, Any]) -> Mapping[str, str]:
    columns = {name: name for name in ("number", "carrier", "day", "delay")}
    pipeline = Pipeline.model_validate(
        {
            "id": "travel",
            "roots": {"landing": "/landing"},
            "staging": "/staging",
            "contract": "unused",
            "feeds": [
                {"id": "flights", "dataset": "flight", **FILE, "columns": columns},
                {"id": "boats", "dataset": "boat", **FILE, "columns": columns},
                declared,
            ],
            "datasets": {name: {"publish": {"table": f"t.{name}"}} for name in ("flight", "boat", "delay")},
            "sync": {"deadline": 60},
        }
    )
    found = [*structure_problems(pipeline), *contract_problems(pipeline, CONTRACTS)]
    return {problem.path: problem.message for problem in found}


def test_an_aggregate_that_fits_has_no_problems() -> None:
    """Its groups fill the key of its dataset, its measures other columns, by their names."""
    assert {} == problems(aggregate())


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"feeds": ("ships",)}, "feeds[2].aggregate.feeds[0]", "there is no feed 'ships'"),
        ({"depends_on": []}, "feeds[2].aggregate.feeds[0]", "'flights' must stand in depends_on too"),
        ({"feeds": ("flights", "flights")}, "feeds[2].aggregate.feeds[1]", "its rows would count twice"),
        (
            {"type": "data_ingestion"},
            "feeds[2].type",
            "an aggregate is data_aggregation or quality_monitoring",
        ),
        ({"group_by": ["carrier", "day", "day"]}, "feeds[2].aggregate.group_by[2]", "stands here twice"),
        (
            {"group_by": ["carrier", "harbour"]},
            "feeds[2].aggregate.group_by[1]",
            "no column of the rows of flights",
        ),
        (
            {"feeds": ("flights", "boats")},
            "feeds[2].aggregate.feeds",
            "'carrier' has type string in one feed and integer in boats",
        ),
        (
            {"measures": {**MEASURES, "mean": {"function": "mean", "column": "gate"}}},
            "feeds[2].aggregate.measures.mean.column",
            "is no column of the feeds",
        ),
        (
            {"measures": {**MEASURES, "mean": {"function": "sum", "column": "number"}}},
            "feeds[2].aggregate.measures.mean.function",
            "sum is for numbers, 'number' has type string",
        ),
        (
            {"measures": {**MEASURES, "carrier": {"function": "count"}}},
            "feeds[2].aggregate.measures.carrier",
            "fills a column of the key of delay; group by it instead",
        ),
        ({"group_by": ["carrier"]}, "feeds[2].columns", "maps nothing to 'day', which is part of the key"),
        (
            {"group_by": ["carrier", "day", "number"]},
            "feeds[2].aggregate.group_by",
            "'number' fills no column of the key of delay",
        ),
        (
            {"measures": {**MEASURES, "speed": {"function": "count"}}},
            "feeds[2].columns.speed",
            "is no column of the dataset contract",
        ),
        (
            {"measures": {**MEASURES, "worst": {"function": "mean", "column": "delay"}}},
            "feeds[2].columns.worst",
            "mean makes type number, the contract's column has type integer",
        ),
        (
            {"columns": {"carrier": "carrier", "day": "day", "mean": "median"}},
            "feeds[2].columns.mean",
            "'median' is neither in group_by nor in measures",
        ),
        (
            {"columns": {"carrier": "carrier", "day": "day", "mean": {"expression": "flights + 1"}}},
            "feeds[2].columns.mean",
            "compute it in a column of the feeds that are aggregated",
        ),
    ],
)
def test_what_an_aggregate_asks_in_vain(changes: dict[str, Any], path: str, message: str) -> None:
    """Each contradiction is named by its path before anything runs."""
    assert message in problems(aggregate(**changes))[path]


def test_whole_numbers_and_others_go_together() -> None:
    """A column that is whole in one feed and a number in another is a number."""
    found = problems(
        aggregate(feeds=("flights", "boats"), group_by=["day"], columns={"day": "day", "mean": "mean"})
    )

    assert "feeds[2].aggregate.feeds" not in found
