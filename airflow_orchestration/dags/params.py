"""The trigger form of a pipeline Dag, made from the models that check a run's conf."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.sdk import Param

from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.pipeline import Pipeline

LISTED_FEEDS = 200
"""A form with more feeds than this starts empty, which means all of them."""
SECTION = "Waiting and quality"


def trigger_params(pipeline: Pipeline) -> dict[str, Param]:
    """Return the form's fields. Airflow checks the same JSON schema again when a run is triggered."""
    schema = _conf_schema()
    fields: dict[str, Any] = schema["properties"]
    feeds = [{"id": feed.id} for feed in pipeline.feeds] if len(pipeline.feeds) <= LISTED_FEEDS else None
    modes = schema["$defs"]["ModeChoice"]["enum"]
    default = pipeline.params.model_dump(mode="json", exclude_none=True)
    return {
        "batches": Param(
            default.get("batches", feeds),
            **_field(fields["batches"], schema),
            title="Batches",
            description_md=_batches_help(pipeline),
        ),
        "workflow_mode": Param(
            default.get("workflow_mode"),
            type=["null", "string"],
            enum=[None, *modes],
            title="Workflow mode",
            description="Empty: what the pipeline file says.",
        ),
        **{
            name: Param(
                default.get(name),
                **_field(fields[name], schema),
                title=name.replace("_", " ").capitalize(),
                section=SECTION,
            )
            for name in ("sync_deadline", "sync_floor", "sync_grace_period", "quality_approve_at")
        },
    }


@cache
def _conf_schema() -> dict[str, Any]:
    return RunConf.model_json_schema()


def _field(declared: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Turn pydantic's `anyOf [X, null]` into the one typed field that the form can show."""
    options = [_inlined(option, schema) for option in declared["anyOf"]]
    chosen = next(option for option in options if option.get("type") != "null")
    return {**chosen, "type": ["null", chosen["type"]], "description": declared.get("description")}


def _inlined(value: Any, schema: dict[str, Any]) -> Any:
    """Replace references by what they refer to: a param's schema stands alone."""
    if isinstance(value, list):
        return [_inlined(item, schema) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(schema["$defs"][value["$ref"].rsplit("/", 1)[1]], schema)
    return {name: _inlined(item, schema) for name, item in value.items()}


def _batches_help(pipeline: Pipeline) -> str:
    rows = "\n".join(
        f"| {feed.id} | {feed.type.value} | {feed.weight:g} | {'yes' if feed.required else ''} |"
        for feed in pipeline.feeds[:LISTED_FEEDS]
    )
    return (
        "The feeds of this run. Remove a line to leave a feed out; add `priority`, `uri` or `required` "
        "to change it.\n\n| feed | type | weight | required |\n|---|---|---|---|\n" + rows
    )
