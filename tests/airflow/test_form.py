from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import ParamValidationError
from airflow.sdk.definitions.param import ParamsDict
from airflow.serialization.definitions.param import SerializedParamsDict
from airflow.serialization.serialized_objects import DagSerialization
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.exceptions import ValidationError

from airflow_orchestration.dags.params import LISTED_FEEDS, trigger_params
from airflow_orchestration.dags.pipeline_dag import build_pipeline_dag
from airflow_orchestration.domain.conf import RunConf, read_conf, validated
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.run_spec import resolve
from airflow_orchestration.exceptions import InputRefusedError

CONTRACT = Contract(
    name="plane", key=("key",), columns=(Column(name="key", type=ColumnType.STRING, required=True),)
)
QUICK = {"title": "Quick and rough", "sync_deadline": 20, "sync_floor": 0.5}
TITLE = "x|</td>[a](http://y)`<img src=x>"
BOUNDS = {"max_sync_deadline": 600, "min_sync_floor": 0.4, "min_sync_grace_period": 5, "min_quality": 0.2}


def feed(feed_id: str, **changes: Any) -> dict[str, Any]:
    """A feed that a conf may leave out."""
    columns = {"key": {"column": "key"}}
    return {"id": feed_id, "uri": f"landing/{feed_id}.csv", "format": "csv", "columns": columns, **changes}


def pipeline(**changes: Any) -> Pipeline:
    """A pipeline whose fields of conf don't depend on one another."""
    document = {
        "id": "planes",
        "roots": {"landing": "/data/landing", "archive": "/data/archive"},
        "staging": "/data/staging",
        "contract": "/data/planes.odcs.yaml",
        "feeds": [feed("ours"), feed("web")],
        "sync": {"deadline": 60},
        "publish": {"table": "north.planes"},
        "presets": {"quick": {"workflow_mode": "parallel"}},
        **changes,
    }
    return validated(Pipeline, document, subject="pipeline")


def form_of(declared: Pipeline) -> SerializedParamsDict:
    """The form as the API server has it, after it was in the database."""
    dag = build_pipeline_dag(PipelineFile(pipeline=declared, path=Path("/dags/planes.yaml")))
    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    params: SerializedParamsDict = DagSerialization.from_dict(stored).params
    return params


DECLARED = {
    "bounds": pipeline(presets={"quick": QUICK}, conf_bounds=BOUNDS, quality={"fail_below": 0.1}),
    "no bounds": pipeline(quality={"approve_at": 0.7, "fail_below": 0.6}),
    "low bounds": pipeline(conf_bounds={"min_quality": 0.1}, quality={"fail_below": 0.3}),
    "time of day": pipeline(sync={"deadline": "06:00 Europe/Berlin", "grace_period": 9}),
    "no presets": pipeline(presets={}, conf_bounds=BOUNDS, params={"sync_deadline": 30}),
    "many feeds": pipeline(
        feeds=[feed("ours"), feed("web"), *(feed(f"feed_{number}") for number in range(LISTED_FEEDS))]
    ),
}
FORMS = {name: form_of(declared) for name, declared in DECLARED.items()}
WEIRD: list[Any] = [None, "", "x", True, False, [], {}, [None], 0, -1, 1, 1.5, "0.5", 10**30]
NUMBERS = [
    0.01,
    0.1,
    0.2,
    0.3,
    0.39,
    0.4,
    0.59,
    0.6,
    0.69,
    0.7,
    0.75,
    0.8,
    1.01,
    4.9,
    5,
    8,
    9,
    20,
    60,
    61,
    600,
]
URIS = [
    "landing/x.csv",
    "archive/{date}/*.csv",
    "landing/..",
    "landing/../x",
    "landing/..x",
    "landing/x..",
    "landing//x",
    "landing/x/",
    "landing/./x",
    "landing",
    "landings/x",
    "elsewhere/x",
    "landing/*/x",
    "landing/x\n",
    "landing/x y",
    "landing/{x}",
    "landing/{d{date}ate}",
    "landing/{date}{date}?",
    "landing/\\x",
    "landing/\x7f",
    "file:///etc/passwd",
    "landing://x",
    "landing/a:b",
    "/etc/passwd",
    f"landing/{'x' * 992}",
    f"landing/{'x' * 993}",
]
UNKNOWN = [{"id": "nobody"}]
BATCHES = [
    UNKNOWN,
    [{"id": "ours"}],
    [{"id": "feed_3"}],
    [{"id": "ours\n"}],
    [{"id": ""}],
    [{"id": None}],
    [{"id": 1}],
    [{}],
    [{"id": "web", "weight": 2}],
    "ours",
    *([{"id": "web", "priority": value}] for value in ("high", "low", "urgent", None, 1)),
    *([{"id": "web", "required": value}] for value in (True, False, None, 1, 1.0, "true")),
    *([{"id": "web", "uri": value}] for value in (*URIS, None, 1, "")),
]
VALUES: dict[str, list[Any]] = {
    "preset": [*WEIRD, "quick", "slow", "quick\n"],
    "batches": [*WEIRD, *BATCHES],
    "sync_deadline": [*WEIRD, *NUMBERS, 60 * 60 * 24 * 7, 60 * 60 * 24 * 7 + 1],
    "sync_floor": [*WEIRD, *NUMBERS],
    "sync_grace_period": [*WEIRD, *NUMBERS, 60 * 60 * 24 * 7, 60 * 60 * 24 * 7 + 1],
    "quality_approve_at": [*WEIRD, *NUMBERS],
    "workflow_mode": [*WEIRD, "auto", "parallel", "sequential", "adaptive", "fastest", "Auto"],
}


def form_takes(form: SerializedParamsDict, conf: dict[str, Any]) -> bool:
    (name,) = conf
    try:
        form.deep_merge(conf).get_param(name).resolve(raises=True)
    except ValidationError:
        return False
    return True


def models_take(declared: Pipeline, conf: dict[str, Any]) -> bool:
    try:
        resolve(declared, (CONTRACT,), read_conf(conf), date(2026, 11, 22))
    except InputRefusedError:
        return False
    return True


@pytest.mark.parametrize(("which", "name"), [(which, name) for which in FORMS for name in FORMS[which]])
def test_the_form_takes_exactly_what_the_models_take(which: str, name: str) -> None:
    """Of each value the schema of the field says what the first task would say, bounds of the author included."""
    declared, form = DECLARED[which], FORMS[which]
    wrong = [
        value
        for value in VALUES[name]
        if form_takes(form, {name: value}) != models_take(declared, {name: value})
        and not (which == "many feeds" and value == UNKNOWN)  # a form can't list them all
    ]

    assert [] == wrong


PIECES = ["a", ".", "..", "*", "?", "/", "\\", "{", "}", "{date}", "\n", "\x7f", " ", ":", "://"]


@given(path=st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@settings(max_examples=100, deadline=None)
def test_the_form_knows_what_leaves_a_root(path: str) -> None:
    """The pattern of a uri refuses what the model refuses, whatever follows the root."""
    conf = {"batches": [{"id": "ours", "uri": f"landing/{path}"}]}

    assert models_take(DECLARED["bounds"], conf) == form_takes(FORMS["bounds"], conf)


def test_the_form_has_every_field_of_a_conf() -> None:
    """What conf may say, a person may fill in."""
    assert set(RunConf.model_fields) == set(FORMS["bounds"])


@pytest.mark.parametrize("which", DECLARED)
def test_what_the_form_sends_untouched_changes_nothing(which: str) -> None:
    """A person who only presses the button gets the run of an empty conf."""
    declared = DECLARED[which]
    sent = ParamsDict(trigger_params(declared)).validate()
    plain, pressed = (
        resolve(declared, (CONTRACT,), read_conf(conf), date(2026, 11, 22)) for conf in ({}, sent)
    )

    assert plain == pressed


def test_what_a_preset_sets_starts_empty() -> None:
    """A default that the form sends along would win over the preset that the person chose."""
    declared = pipeline(
        presets={"quick": QUICK},
        conf_bounds=BOUNDS,
        params={"sync_deadline": 30, "workflow_mode": "parallel"},
    )
    sent = ParamsDict(trigger_params(declared)).validate() | {"preset": "quick"}
    spec = resolve(declared, (CONTRACT,), read_conf(sent), date(2026, 11, 22))

    assert (20, 0.5, "parallel") == (
        spec.pipeline.sync.deadline,
        spec.pipeline.sync.floor,
        spec.pipeline.workflow_mode,
    )


@pytest.mark.parametrize(
    ("which", "conf", "words"),
    [
        (
            "bounds",
            {"sync_deadline": 601},
            "more than 0, at most 600. Empty: as the preset says, or else 60.",
        ),
        ("no presets", {"sync_deadline": 601}, "at most 600. Empty: 30."),
        ("bounds", {"sync_floor": 0.3}, "at least 0.4, at most 1"),
        ("bounds", {"sync_floor": 0.3}, "A number outside of these is set to the nearest one"),
        ("low bounds", {"quality_approve_at": 0.2}, "at least 0.3, at most 1"),
        ("bounds", {"workflow_mode": "fastest"}, "How many branches share the work"),
        ("bounds", {"sync_grace_period": 3}, "at least 5, at most 604800"),
        ("bounds", {"batches": [{"id": "nobody"}]}, "A feed of the pipeline file. It must be there."),
        ("many feeds", {"batches": [{"id": "NOBODY"}]}, "A feed of the pipeline file. It must be there."),
        ("bounds", {"batches": [{"id": "web", "uri": "/x"}]}, "Declared are: `landing`, `archive`."),
        ("bounds", {"batches": [{"id": "web", "required": False}]}, "may ask for more than the author did"),
        ("bounds", {"batches": [{"id": "web", "priority": "urgent"}]}, "`high`, `medium` or `low` this time"),
        (
            "bounds",
            {"batches": [{"id": "web", "weight": 2}]},
            "no other keys than id, uri, required, priority",
        ),
        ("bounds", {"batches": [{}]}, "A feed of this run, with no other keys"),
        ("bounds", {"batches": []}, "The feeds of this run as a JSON list."),
        ("bounds", {"preset": "slow"}, "What you fill in below wins over them."),
    ],
)
def test_a_refusal_says_the_bounds_in_words(which: str, conf: dict[str, Any], words: str) -> None:
    """Airflow words the refusal itself and quotes the schema, which tells what the form told before."""
    with pytest.raises(ParamValidationError) as refused:
        FORMS[which].deep_merge(conf).validate()
    told = " ".join(str(refused.value).replace("'\n", "").replace('"\n', "").split())

    assert words in told.replace(" '", " ").replace(' "', " ").replace("  ", " ")


@pytest.mark.parametrize(
    ("which", "name"), [("no bounds", "sync_grace_period"), ("time of day", "sync_deadline")]
)
def test_what_a_run_can_t_change_is_no_field(which: str, name: str) -> None:
    """The form asks for nothing that the first task would refuse whatever it is."""
    assert name not in FORMS[which]
    with pytest.raises(InputRefusedError, match=name):
        resolve(DECLARED[which], (CONTRACT,), read_conf({name: 60}), date(2026, 11, 22))


def test_a_preset_s_title_is_no_markup() -> None:
    """The author's words stand as plain text in the list, and as code in the help."""
    field = form_of(pipeline(presets={"odd": {"title": TITLE, "sync_floor": 0.8}})).get_param("preset")

    assert TITLE == field.schema["values_display"]["odd"]
    assert (
        "| `x¦</td>[a](http://y)'<img src=x>` | `odd` | `sync_floor 0.8` |" in field.schema["description_md"]
    )


def test_a_form_of_many_feeds_stays_small() -> None:
    """Of 10,000 feeds the form lists the first, and starts empty."""
    params = trigger_params(pipeline(feeds=[feed(f"feed_{number}") for number in range(10_000)]))

    assert params["batches"].value is None
    assert len(json.dumps(params["batches"].schema)) < 20_000
    assert "… and 9,800 more feeds." in params["batches"].schema["description_md"]
