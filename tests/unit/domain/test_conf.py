from __future__ import annotations

import time
from datetime import date
from typing import Any

import pytest

from airflow_orchestration.domain.batch import ModeChoice, Priority
from airflow_orchestration.domain.conf import RunConf, read_conf
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec, resolve
from airflow_orchestration.exceptions import InputRefusedError

CONTRACT = Contract(
    name="airport",
    key=("iata",),
    columns=(
        Column(name="iata", type=ColumnType.STRING, required=True),
        Column(name="elevation", type=ColumnType.NUMBER),
    ),
)


def feed(feed_id: str, **changes: Any) -> dict[str, Any]:
    columns = {"iata": {"column": "code"}}
    return {"id": feed_id, "uri": f"landing/{feed_id}.csv", "format": "csv", "columns": columns, **changes}


def pipeline(**changes: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "id": "airports",
            "roots": {"landing": "/data/landing"},
            "staging": "/data/staging",
            "contract": "/data/airport.odcs.yaml",
            "feeds": [feed("ours", required=True), feed("web"), feed("late", depends_on=["web"])],
            "sync": {"deadline": 60},
            "publish": {"table": "reference.airport"},
            **changes,
        }
    )


REFUSED: list[tuple[object, list[str]]] = [
    ([], [""]),
    ("batches", [""]),
    ({"bathces": []}, ["bathces"]),
    ({"batches": []}, ["batches"]),
    ({"batches": "ours"}, ["batches"]),
    ({"batches": [None]}, ["batches[0]"]),
    ({"batches": [{}]}, ["batches[0].id"]),
    ({"batches": [{"id": "../../etc/passwd"}]}, ["batches[0].id"]),
    ({"batches": [{"id": "ours\n"}]}, ["batches[0].id"]),
    ({"batches": [{"id": ""}]}, ["batches[0].id"]),
    ({"batches": [{"id": "a" * 64}]}, ["batches[0].id"]),
    ({"batches": [{"id": "our\x00s"}]}, ["batches[0].id"]),
    ({"batches": [{"id": "ours", "weight": float("nan")}]}, ["batches[0].weight"]),
    ({"batches": [{"id": "ours", "weight": float("inf")}]}, ["batches[0].weight"]),
    ({"batches": [{"id": "ours", "weight": -1}]}, ["batches[0].weight"]),
    ({"batches": [{"id": "ours", "weight": "2"}]}, ["batches[0].weight"]),
    ({"batches": [{"id": "ours", "weight": True}]}, ["batches[0].weight"]),
    ({"batches": [{"id": "ours", "required": False}]}, ["batches[0].required"]),
    ({"batches": [{"id": "ours", "priority": "urgent"}]}, ["batches[0].priority"]),
    ({"batches": [{"id": "ours", "uri": "/etc/passwd"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "landing/../../etc/passwd"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "file:///etc/passwd"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "landing/{{ conn.x }}"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "sql": "select 1"}]}, ["batches[0].sql"]),
    ({"workflow_mode": "fastest"}, ["workflow_mode"]),
    ({"sync_deadline": 0}, ["sync_deadline"]),
    ({"sync_deadline": -5}, ["sync_deadline"]),
    ({"sync_deadline": 1e999}, ["sync_deadline"]),
    ({"sync_deadline": "tomorrow"}, ["sync_deadline"]),
    ({"sync_floor": 75}, ["sync_floor"]),
    ({"sync_floor": -0.1}, ["sync_floor"]),
    ({"sync_floor": 0}, ["sync_floor"]),
    ({"sync_floor": "0.75"}, ["sync_floor"]),
    ({"sync_floor": float("nan")}, ["sync_floor"]),
    ({"quality_approve_at": 1.1}, ["quality_approve_at"]),
    ({"sync_floor": 2, "sync_deadline": -1, "sql": "x"}, ["sync_deadline", "sync_floor", "sql"]),
]


@pytest.mark.parametrize(("conf", "paths"), REFUSED, ids=lambda value: str(value)[:60])
def test_bad_conf_is_refused_with_every_path(conf: object, paths: list[str]) -> None:
    """A bad conf is refused, and each thing that is wrong is named by its path."""
    with pytest.raises(InputRefusedError) as refused:
        read_conf(conf)

    assert sorted(paths) == sorted(problem.path for problem in refused.value.problems)


def test_refusal_repeats_no_value() -> None:
    """What a stranger wrote never comes back in the message."""
    with pytest.raises(InputRefusedError) as refused:
        read_conf({"batches": [{"id": "S3CRET!", "weight": "S3CRET!"}], "workflow_mode": "S3CRET!"})

    assert "S3CRET!" not in str(refused.value)


def test_hundred_thousand_batches_are_refused_at_once() -> None:
    """A queue that is far too long gets one clear problem, quickly."""
    started = time.monotonic()
    with pytest.raises(InputRefusedError) as refused:
        read_conf({"batches": [{"id": f"b{number}"} for number in range(100_000)]})

    assert ["batches"] == [problem.path for problem in refused.value.problems]
    assert time.monotonic() - started < 5


def test_deep_nesting_is_refused() -> None:
    """A conf that is nested very deeply is refused before anything walks through it."""
    deep: dict[str, Any] = {}
    for _ in range(1000):
        deep = {"batches": deep}
    with pytest.raises(InputRefusedError, match="nested deeper"):
        read_conf(deep)


def test_large_conf_is_refused() -> None:
    """A conf of more than a megabyte is refused with its size."""
    with pytest.raises(InputRefusedError, match="at most 1048576 are allowed"):
        read_conf({"workflow_mode": "x" * 2_000_000})


OUT_OF_BOUNDS: list[tuple[dict[str, Any], list[str]]] = [
    ({"batches": [{"id": "nobody"}, {"id": "ours"}]}, ["batches[0].id"]),
    ({"batches": [{"id": "ours"}, {"id": "ours"}]}, ["batches[1].id"]),
    ({"batches": [{"id": "web"}]}, ["batches"]),
    ({"batches": [{"id": "ours"}, {"id": "late"}]}, ["batches"]),
    ({"batches": [{"id": "ours", "uri": "elsewhere/x.csv"}]}, ["batches[0].uri"]),
    ({"sync_deadline": 61}, ["sync_deadline"]),
    ({"sync_floor": 0.5}, ["sync_floor"]),
    ({"quality_approve_at": 0.1}, ["quality_approve_at"]),
]


@pytest.mark.parametrize(("conf", "paths"), OUT_OF_BOUNDS, ids=lambda value: str(value)[:60])
def test_conf_stays_inside_what_the_author_declared(conf: dict[str, Any], paths: list[str]) -> None:
    """A conf that goes beyond the pipeline file is refused by path."""
    with pytest.raises(InputRefusedError) as refused:
        resolve(pipeline(), CONTRACT, read_conf(conf), date(2026, 11, 22))

    assert paths == [problem.path for problem in refused.value.problems]


def test_conf_chooses_and_overrides_feeds() -> None:
    """A run takes in the feeds that it names, with what is different about them this time."""
    conf = read_conf(
        {
            "batches": [{"id": "ours", "weight": 5, "priority": "high"}, {"id": "web", "required": True}],
            "workflow_mode": "sequential",
            "sync_deadline": 10,
        }
    )
    spec = resolve(pipeline(), CONTRACT, conf, date(2026, 11, 22))

    assert ["ours", "web"] == list(spec.feeds)
    assert (5, Priority.HIGH) == (spec.feeds["ours"].weight, spec.feeds["ours"].priority)
    assert spec.feeds["web"].required
    assert ModeChoice.SEQUENTIAL is spec.pipeline.workflow_mode
    assert 10 == spec.pipeline.sync.deadline


def test_author_may_open_the_bounds() -> None:
    """Inside the bounds that the author set, a run may wait longer and accept less."""
    bounds = {"max_sync_deadline": 600, "min_sync_floor": 0.5, "min_quality": 0.1}
    conf = read_conf({"sync_deadline": 600, "sync_floor": 0.5, "quality_approve_at": 0.1})
    spec = resolve(pipeline(conf_bounds=bounds), CONTRACT, conf, date(2026, 11, 22))

    assert (600, 0.5, 0.1) == (
        spec.pipeline.sync.deadline,
        spec.pipeline.sync.floor,
        spec.pipeline.quality.approve_at,
    )


def test_empty_conf_is_the_pipeline_as_declared() -> None:
    """Without a conf everything is as the author wrote it."""
    assert RunConf() == read_conf(None) == read_conf({})
    assert pipeline() == resolve(pipeline(), CONTRACT, read_conf(None), date(2026, 11, 22)).pipeline


def test_date_placeholder_names_the_file_of_the_run() -> None:
    """`{date}` in a uri is the run's date, so that yesterday's file is never taken for today's."""
    dated = pipeline(feeds=[feed("ours", uri="landing/{date}/ours.csv")])
    spec = resolve(dated, CONTRACT, RunConf(), date(2026, 11, 22))

    assert "/data/landing/2026-11-22/ours.csv" == str(spec.location("ours")[1])


def test_spec_survives_the_store() -> None:
    """A specification read back from plain data is the same one."""
    spec = resolve(pipeline(), CONTRACT, RunConf(), date(2026, 11, 22))

    assert spec == RunSpec.model_validate(spec.as_json())
