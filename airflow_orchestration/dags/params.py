"""The trigger form of a pipeline Dag: as strict as the models that check a run's conf, and in their words.

Airflow checks each field by its JSON schema when a run is triggered. Its refusal quotes that schema, so the
schema carries `description_md`, the bounds in words: a person reads them in the form and in the refusal.
What fields say about one another, such as a batch that leaves out a required feed, the first task refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import Param

from airflow_orchestration.domain.batch import ModeChoice, Priority
from airflow_orchestration.domain.conf import BatchConf
from airflow_orchestration.domain.deadline import MAX_SECONDS
from airflow_orchestration.domain.defaults import MAX_FEEDS
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_terms import (
    longest_deadline,
    lowest_floor,
    lowest_quality,
    shortest_grace_period,
)
from airflow_orchestration.domain.strict import IDENTIFIER
from airflow_orchestration.insights.evidence import quoted

LISTED_FEEDS = 200
"""Ours: a form with more feeds than this starts empty, which means all of them."""
WAITING, QUALITY, ADVANCED = "Waiting", "Quality", "Advanced"
"""Sections; what has none stands open at the top of the form."""
END = r"$(?!\n)"
"""The end of a text: Python's `$` alone would let a newline follow."""
FOLDER_LETTER = r"(?:\{date\}|[^/\\{}*?\x00-\x1f\x7f])"
FILE_LETTER = r"(?:\{date\}|[^/\\{}\x00-\x1f\x7f])"
BELOW_ROOT = rf"(?:/(?!\.\.?(?:/|$)){FOLDER_LETTER}+)*/(?!\.\.?$){FILE_LETTER}+"
"""What `domain.feed.checked_uri` takes behind a root."""
MODES = {
    ModeChoice.AUTO: "Auto: the analysis chooses",
    ModeChoice.PARALLEL: "Parallel",
    ModeChoice.SEQUENTIAL: "Sequential",
    ModeChoice.ADAPTIVE: "Adaptive",
}
CUT = "A number outside of these is set to the nearest one as soon as the field is left."
"""Airflow's own form does that; a conf that comes otherwise is refused."""
BATCHES = (
    "The feeds of this run as a JSON list. Remove a line to leave a feed out, add keys to change it. "
    "Cleared: those of the preset, or all of them."
)


def trigger_params(pipeline: Pipeline) -> dict[str, Param]:
    """Return the form's fields, one for each that a run may change.

    A field that a preset sets starts empty: what the form sends would win over the preset.
    """
    fields = dict(_fields(pipeline))
    defaults = pipeline.params.model_dump(mode="json", exclude_none=True)
    if "batches" not in defaults and len(pipeline.feeds) <= LISTED_FEEDS:
        defaults["batches"] = [{"id": feed.id} for feed in pipeline.feeds]
    set_by_presets = {name for preset in pipeline.presets.values() for name in preset.said()}
    return {
        name: Param(None if name in set_by_presets else defaults.get(name), schema=schema)
        for name, schema in fields.items()
    }


def _fields(pipeline: Pipeline) -> Iterator[tuple[str, dict[str, Any]]]:
    if pipeline.presets:
        yield "preset", _preset(pipeline)
    yield "batches", _batches(pipeline)
    deadline, grace_period = _deadline(pipeline), _grace_period(pipeline)
    if deadline:
        yield "sync_deadline", deadline
    yield "sync_floor", _floor(pipeline)
    if grace_period:
        yield "sync_grace_period", grace_period
    yield "quality_approve_at", _approve_at(pipeline)
    yield "workflow_mode", _mode(pipeline)


def _preset(pipeline: Pipeline) -> dict[str, Any]:
    titles = {name: preset.title or name for name, preset in pipeline.presets.items()}
    rows = "\n".join(
        f"| {quoted(titles[name])} | `{name}` | {_settings(preset.model_dump(mode='json', exclude_none=True))} |"
        for name, preset in pipeline.presets.items()
    )
    return _choice(
        "Preset",
        "Terms that go together. What you fill in below wins over them.\n\n"
        f"| preset | in conf | sets |\n|---|---|---|\n{rows}",
        dict([(None, "None"), *titles.items()]),
    )


def _settings(said: dict[str, Any]) -> str:
    batches = said.pop("batches", None)
    said.pop("title", None)
    words = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in said.items()
    ]
    return quoted(", ".join([*words, *([f"{len(batches)} batches"] if batches else [])]))


def _batches(pipeline: Pipeline) -> dict[str, Any]:
    ids = [feed.id for feed in pipeline.feeds]
    some = len(ids) <= LISTED_FEEDS
    sentences = _sentences(pipeline)
    roots = "|".join(pipeline.roots)
    properties: dict[str, dict[str, Any]] = {
        "id": {"enum": ids} if some else {"type": "string", "pattern": IDENTIFIER.removesuffix("$") + END},
        "uri": {
            "type": ["null", "string"],
            "minLength": 3,
            "maxLength": 1000,
            "pattern": f"^(?:{roots}){BELOW_ROOT}{END}",
        },
        "required": {"enum": [None, True]},
        "priority": {"enum": [None, *(priority.value for priority in Priority)]},
    }
    if not pipeline.roots:
        properties["uri"] = {"type": "null"}
    return {
        "description_md": _batches_help(pipeline),
        "title": "Batches",
        "type": ["null", "array"],
        "minItems": 1,
        "maxItems": MAX_FEEDS,
        "items": {
            "description_md": f"A feed of this run, with no other keys than {', '.join(properties)}.",
            "type": "object",
            "properties": {
                name: {"description_md": sentences[name], **schema} for name, schema in properties.items()
            },
            "required": ["id"],
            "additionalProperties": False,
        },
    }


def _sentences(pipeline: Pipeline) -> dict[str, str]:
    """What each key of a batch says, in the words of the model that checks it."""
    said = {name: field.description or "" for name, field in BatchConf.model_fields.items()}
    roots = ", ".join(f"`{root}`" for root in pipeline.roots) or "none"
    return said | {"id": f"{said['id']} It must be there.", "uri": f"{said['uri']} Declared are: {roots}."}


def _batches_help(pipeline: Pipeline) -> str:
    more = len(pipeline.feeds) - LISTED_FEEDS
    return "\n".join(
        [
            BATCHES,
            "",
            "| key | what it says |",
            "|---|---|",
            *(f"| `{name}` | {sentence} |" for name, sentence in _sentences(pipeline).items()),
            "",
            "| feed | type | weight | |",
            "|---|---|---|---|",
            *map(_feed_row, pipeline.feeds[:LISTED_FEEDS]),
            *([f"\n… and {more:,} more feeds."] if more > 0 else []),
        ]
    )


def _feed_row(feed: Feed) -> str:
    needs = ", ".join(f"`{needed}`" for needed in feed.depends_on[:LISTED_FEEDS])
    notes = [*(["must be there"] if feed.required else []), *([f"needs {needs}"] if needs else [])]
    return f"| `{feed.id}` | {feed.type.value} | {feed.weight:g} | {'; '.join(notes)} |"


def _deadline(pipeline: Pipeline) -> dict[str, Any] | None:
    longest, usual = longest_deadline(pipeline), pipeline.params.sync_deadline or pipeline.sync.deadline
    if isinstance(longest, str):
        return None
    title, what = "Deadline", "Seconds from the start of a round until the gate decides with what is there"
    most = min(longest, MAX_SECONDS)
    otherwise = f"until {usual}" if isinstance(usual, str) else f"{usual:g}"
    words = f"{what}: more than 0, at most {most:g}. {_empty(pipeline, otherwise)}"
    return _number(title, words, WAITING, exclusiveMinimum=0, maximum=most)


def _floor(pipeline: Pipeline) -> dict[str, Any]:
    lowest, usual = lowest_floor(pipeline), pipeline.params.sync_floor or pipeline.sync.floor
    what = f"The share of the feeds' weight that is good enough: at least {lowest:g}, at most 1."
    return _number("Floor", f"{what} {_empty(pipeline, f'{usual:g}')}", WAITING, minimum=lowest, maximum=1)


def _grace_period(pipeline: Pipeline) -> dict[str, Any] | None:
    shortest, usual = shortest_grace_period(pipeline), pipeline.params.sync_grace_period
    usual = pipeline.sync.grace_period if usual is None else usual
    title, what = "Grace period", "Seconds to wait for the others once the floor is reached"
    if shortest is None:
        return None
    otherwise = "the gate holds to the deadline" if usual is None else f"{usual:g}"
    words = f"{what}: at least {shortest:g}, at most {MAX_SECONDS}. {_empty(pipeline, otherwise)}"
    return _number(title, words, WAITING, minimum=shortest, maximum=MAX_SECONDS)


def _approve_at(pipeline: Pipeline) -> dict[str, Any]:
    lowest, usual = lowest_quality(pipeline), pipeline.params.quality_approve_at
    usual = pipeline.quality.approve_at if usual is None else usual
    what = f"A feed below this score is run again: at least {lowest:g}, at most 1."
    return _number(
        "Approve at", f"{what} {_empty(pipeline, f'{usual:g}')}", QUALITY, minimum=lowest, maximum=1
    )


def _mode(pipeline: Pipeline) -> dict[str, Any]:
    usual = pipeline.params.workflow_mode or pipeline.workflow_mode
    words = f"How many branches share the work. {_empty(pipeline, MODES[usual])}"
    labels: dict[str | None, str] = {
        None: "Not chosen here",
        **{mode.value: label for mode, label in MODES.items()},
    }
    return _choice("Workflow mode", words, labels, section=ADVANCED)


def _empty(pipeline: Pipeline, otherwise: str) -> str:
    """Say what an empty field means."""
    return f"Empty: {'as the preset says, or else ' if pipeline.presets else ''}{otherwise}."


def _number(title: str, words: str, section: str, **bounds: float) -> dict[str, Any]:
    return {
        "description_md": f"{words} {CUT}",
        "title": title,
        "section": section,
        "type": ["null", "number"],
        **bounds,
    }


def _choice(title: str, words: str, labels: Mapping[str | None, str], **more: str) -> dict[str, Any]:
    """A list to choose from; Airflow looks the label of nothing up under `null`."""
    shown = {"null" if value is None else value: label for value, label in labels.items()}
    return {
        "description_md": words,
        "title": title,
        "type": ["null", "string"],
        "enum": list(labels),
        "values_display": shown,
        **more,
    }


def _fixed(title: str, words: str) -> dict[str, Any]:
    """A field that can only stay empty, so that the form says why."""
    return _choice(title, words, {None: "As the pipeline file says"}, section=WAITING)
