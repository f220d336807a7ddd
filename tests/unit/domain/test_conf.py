from __future__ import annotations

import time
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_orchestration.domain.batch import ModeChoice, Priority
from airflow_orchestration.domain.conf import RunConf, read_conf
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline, Sync
from airflow_orchestration.domain.run_spec import RunSpec, resolve, structure_problems
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
    ({"batches": [{"id": "ours", "weight": 2}]}, ["batches[0].weight"]),
    ({"batches": [{"id": "ours", "deadline": 5}]}, ["batches[0].deadline"]),
    ({"batches": [{"id": "ours", "required": False}]}, ["batches[0].required"]),
    ({"batches": [{"id": "ours", "priority": "urgent"}]}, ["batches[0].priority"]),
    ({"batches": [{"id": "ours", "uri": "/etc/passwd"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "landing/../../etc/passwd"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "landing//etc/passwd"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "landing/./x.csv"}]}, ["batches[0].uri"]),
    ({"batches": [{"id": "ours", "uri": "landing/x/"}]}, ["batches[0].uri"]),
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
    ({"sync_grace_period": -1}, ["sync_grace_period"]),
    ({"quality_approve_at": 1.1}, ["quality_approve_at"]),
    ({"sync_floor": 2, "sync_deadline": -1, "sql": "x"}, ["sync_deadline", "sync_floor", "sql"]),
    ({"preset": "../quick"}, ["preset"]),
    ({"preset": ["quick"]}, ["preset"]),
    ({"title": "mine"}, ["title"]),
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
    ({"sync_grace_period": 30}, ["sync_grace_period"]),
    ({"quality_approve_at": 0.1}, ["quality_approve_at"]),
    ({"preset": "quick"}, ["preset"]),
    ({"preset": "quick", "sync_deadline": 61}, ["preset", "sync_deadline"]),
]


@pytest.mark.parametrize(("conf", "paths"), OUT_OF_BOUNDS, ids=lambda value: str(value)[:60])
def test_conf_stays_inside_what_the_author_declared(conf: dict[str, Any], paths: list[str]) -> None:
    """A conf that goes beyond the pipeline file is refused by path."""
    with pytest.raises(InputRefusedError) as refused:
        resolve(pipeline(), (CONTRACT,), read_conf(conf), date(2026, 11, 22))

    assert paths == [problem.path for problem in refused.value.problems]


def test_conf_chooses_and_overrides_feeds() -> None:
    """A run takes in the feeds that it names, with what is different about them this time."""
    conf = read_conf(
        {
            "batches": [
                {"id": "ours", "uri": "landing/again.csv", "priority": "high"},
                {"id": "web", "required": True},
            ],
            "workflow_mode": "sequential",
            "sync_deadline": 10,
        }
    )
    spec = resolve(pipeline(), (CONTRACT,), conf, date(2026, 11, 22))

    assert ["ours", "web"] == list(spec.feeds)
    assert ("landing/again.csv", Priority.HIGH) == (spec.feeds["ours"].uri, spec.feeds["ours"].priority)
    assert spec.feeds["web"].required
    assert ModeChoice.SEQUENTIAL is spec.pipeline.workflow_mode
    assert 10 == spec.pipeline.sync.deadline


def test_author_may_open_the_bounds() -> None:
    """Inside the bounds that the author set, a run may wait longer and accept less."""
    bounds = {"max_sync_deadline": 600, "min_sync_floor": 0.5, "min_sync_grace_period": 0, "min_quality": 0.1}
    asked = {"sync_deadline": 600, "sync_floor": 0.5, "sync_grace_period": 0, "quality_approve_at": 0.1}
    declared = pipeline(conf_bounds=bounds, quality={"fail_below": 0.1})
    spec = resolve(declared, (CONTRACT,), read_conf(asked), date(2026, 11, 22))

    assert Sync(deadline=600, floor=0.5, grace_period=0) == spec.pipeline.sync
    assert 0.1 == spec.pipeline.quality.approve_at


GRACE: list[tuple[dict[str, Any], dict[str, Any], float, str | None]] = [
    ({}, {}, 30, "the author declares no grace period"),
    ({}, {"min_sync_grace_period": 10}, 10, None),
    ({}, {"min_sync_grace_period": 10}, 9, "the author allows no less than 10 s"),
    ({"grace_period": 20}, {}, 20, None),
    ({"grace_period": 20}, {}, 19, "the author allows no less than 20 s"),
    ({"grace_period": 20}, {"min_sync_grace_period": 10}, 10, None),
    ({"grace_period": 20}, {"min_sync_grace_period": 10}, 9, "the author allows no less than 10 s"),
]


@pytest.mark.parametrize(("sync", "bounds", "asked", "message"), GRACE)
def test_conf_shortens_the_grace_period_only_as_far_as_the_author_lets_it(
    sync: dict[str, Any], bounds: dict[str, Any], asked: float, message: str | None
) -> None:
    """The gate opens no earlier than the bound, which is the author's own period when it is left out."""
    declared = pipeline(sync={"deadline": 60, **sync}, conf_bounds=bounds)
    conf = read_conf({"sync_grace_period": asked})

    assert message is None or message in refusal(declared, conf)
    if message is None:
        assert asked == resolve(declared, (CONTRACT,), conf, date(2026, 11, 22)).pipeline.sync.grace_period


def refusal(declared: Pipeline, conf: RunConf) -> str:
    """The text with which a conf is refused."""
    with pytest.raises(InputRefusedError) as refused:
        resolve(declared, (CONTRACT,), conf, date(2026, 11, 22))
    assert 1 == len(refused.value.problems)
    return str(refused.value)


def test_conf_approves_nothing_that_the_pipeline_calls_a_failure() -> None:
    """The bound may be low; the score below which a table is a failure is lower still, or the conf is refused."""
    declared = pipeline(conf_bounds={"min_quality": 0.1}, quality={"approve_at": 0.9, "fail_below": 0.5})

    assert "fail_below" in refusal(declared, read_conf({"quality_approve_at": 0.4}))
    assert resolve(declared, (CONTRACT,), read_conf({"quality_approve_at": 0.5}), date(2026, 11, 22))


def test_feeds_that_conf_left_out_are_told() -> None:
    """A run of fewer feeds doesn't look like a full one, not even after it was stored."""
    spec = resolve(pipeline(), (CONTRACT,), read_conf({"batches": [{"id": "ours"}]}), date(2026, 11, 22))

    assert ["web", "late"] == [feed.id for feed in spec.left_out]
    assert spec == RunSpec.model_validate(spec.as_json())
    assert () == resolve(pipeline(), (CONTRACT,), RunConf(), date(2026, 11, 22)).left_out


def test_empty_conf_is_the_pipeline_as_declared() -> None:
    """Without a conf everything is as the author wrote it."""
    assert RunConf() == read_conf(None) == read_conf({})
    assert pipeline() == resolve(pipeline(), (CONTRACT,), read_conf(None), date(2026, 11, 22)).pipeline


def test_date_placeholder_names_the_file_of_the_run() -> None:
    """`{date}` in a uri is the run's date, so that yesterday's file is never taken for today's."""
    dated = pipeline(feeds=[feed("ours", uri="landing/{date}/ours.csv")])
    spec = resolve(dated, (CONTRACT,), RunConf(), date(2026, 11, 22))

    assert "/data/landing/2026-11-22/ours.csv" == str(spec.location("ours"))


def test_spec_survives_the_store() -> None:
    """A specification read back from plain data is the same one."""
    spec = resolve(pipeline(), (CONTRACT,), RunConf(), date(2026, 11, 22))

    assert spec == RunSpec.model_validate(spec.as_json())


PRESETS = {
    "quick": {"title": "Quick and rough", "sync_deadline": 20, "workflow_mode": "parallel"},
    "ours_alone": {"batches": [{"id": "ours"}]},
}


@pytest.mark.parametrize(
    ("conf", "deadline", "mode"),
    [
        ({}, 40, "sequential"),
        ({"preset": None}, 40, "sequential"),
        ({"preset": "quick"}, 20, "parallel"),
        ({"preset": "quick", "sync_deadline": 10}, 10, "parallel"),
        ({"preset": "quick", "sync_deadline": None}, 20, "parallel"),
        ({"sync_deadline": 10}, 10, "sequential"),
    ],
)
def test_conf_wins_over_its_preset_and_that_over_the_params(
    conf: dict[str, Any], deadline: float, mode: str
) -> None:
    """The closer somebody is to the run, the more it counts what they say."""
    declared = pipeline(presets=PRESETS, params={"sync_deadline": 40, "workflow_mode": "sequential"})
    spec = resolve(declared, (CONTRACT,), read_conf(conf), date(2026, 11, 22))

    assert (deadline, mode) == (spec.pipeline.sync.deadline, spec.pipeline.workflow_mode)
    assert conf.get("preset") == RunSpec.model_validate(spec.as_json()).preset


@pytest.mark.parametrize(
    ("conf", "asked"),
    [
        ({}, {}),
        ({"batches": [{"id": "ours"}, {"id": "web"}, {"id": "late"}], "sync_deadline": 30}, {}),
        ({"batches": [{"id": "ours"}]}, {"batches": [{"id": "ours"}]}),
        ({"sync_deadline": 20}, {"sync_deadline": 20}),
        ({"preset": "quick", "sync_deadline": 20}, {}),
        ({"preset": "quick", "sync_deadline": 30}, {"sync_deadline": 30}),
    ],
)
def test_a_run_keeps_what_conf_asked_for(conf: dict[str, Any], asked: dict[str, Any]) -> None:
    """What the file or the preset says anyway is nothing that a run was asked for; that survives the store too."""
    declared = pipeline(params={"sync_deadline": 30}, presets={"quick": {"sync_deadline": 20}})
    spec = resolve(declared, (CONTRACT,), read_conf(conf), date(2026, 11, 22))
    stored = RunSpec.model_validate_json(spec.model_dump_json())

    assert asked == stored.asked.model_dump(mode="json", exclude_none=True)


def test_a_preset_chooses_feeds() -> None:
    """Feeds that a preset leaves out are told as those that conf leaves out."""
    spec = resolve(
        pipeline(presets=PRESETS), (CONTRACT,), read_conf({"preset": "ours_alone"}), date(2026, 11, 22)
    )

    assert (["ours"], ["web", "late"]) == (list(spec.feeds), [feed.id for feed in spec.left_out])


def test_a_preset_stays_inside_the_bounds() -> None:
    """A preset beyond what conf may ask for is refused with the file that declares it."""
    beyond = {
        "quick": {"sync_deadline": 61},
        "poor": {"sync_floor": 0.1, "batches": [{"id": "web"}]},
        "fine": {"sync_deadline": 60},
    }

    assert ["presets.quick.sync_deadline", "presets.poor.batches", "presets.poor.sync_floor"] == [
        problem.path for problem in structure_problems(pipeline(presets=beyond))
    ]


@pytest.mark.parametrize(
    "presets",
    [
        {"Quick": {"sync_floor": 0.8}},
        {"quick": {"sync_floor": 0.8, "preset": "other"}},
        {"quick": {"sync_floor": 2}},
        {"quick": {"sync_floor": 0.8, "title": ""}},
        {"quick": {"title": "Quick"}},
    ],
    ids=str,
)
def test_a_preset_is_as_strict_as_conf(presets: dict[str, Any]) -> None:
    """Names, unknown fields and values are refused as in conf, and so is one that changes nothing."""
    with pytest.raises(ValidationError):
        pipeline(presets=presets)
