"""A run's conf: data from someone who may trigger runs and nothing more."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from airflow_orchestration.domain.batch import ModeChoice, Priority
from airflow_orchestration.domain.control_characters import control_problems
from airflow_orchestration.domain.defaults import MAX_FEEDS
from airflow_orchestration.domain.feed import checked_uri
from airflow_orchestration.domain.problems import pydantic_problems
from airflow_orchestration.domain.strict import (
    IDENTIFIER,
    Floor,
    GracePeriod,
    Identifier,
    Seconds,
    Share,
    Strict,
)
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode, RefusedValueError

MAX_CONF_BYTES = 1024 * 1024
MAX_CONF_DEPTH = 20

Model = TypeVar("Model", bound=BaseModel)


class BatchConf(Strict):
    """One feed that this run takes in, and what is different about it this time."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    """A feed of the pipeline file."""
    uri: Annotated[str, Field(min_length=3, max_length=1000)] | None = None
    """Another file below a declared root, `<root>/<path>`."""
    required: Literal[True] | None = None
    """A run may ask for more than the author did, never for less."""
    priority: Priority | None = None
    """`high`, `medium` or `low` this time."""

    @field_validator("required", mode="before")
    @classmethod
    def _only_true(cls, required: object) -> object:
        if required is not None and required is not True:  # a literal would take 1 for true
            raise RefusedValueError(
                "must be true, or left out: a run may ask for more than the author, never for less",
                code=ProblemCode.NOT_ALLOWED,
            )
        return required

    @field_validator("uri")
    @classmethod
    def _stays_below_its_root(cls, uri: str | None) -> str | None:
        return None if uri is None else checked_uri(uri)


class RunTerms(Strict):
    """What may be different about a run, inside the bounds that the author set."""

    batches: Annotated[tuple[BatchConf, ...], Field(min_length=1, max_length=MAX_FEEDS)] | None = None
    """The feeds of this run; left out, all of them."""
    workflow_mode: ModeChoice | None = None
    """`auto` lets the analysis choose."""
    sync_deadline: Seconds | None = None
    """Seconds from the start of a round until the gate decides with what is there."""
    sync_floor: Floor | None = None
    """The share of the feeds' weight that is good enough."""
    sync_grace_period: GracePeriod | None = None
    """Seconds to wait for the others once the floor is reached."""
    quality_approve_at: Share | None = None
    """A feed below this score is run again."""

    def said(self) -> dict[str, Any]:
        """Return the fields that say something, as they are."""
        values = {name: getattr(self, name) for name in RunTerms.model_fields}
        return {name: value for name, value in values.items() if value is not None}


class Preset(RunTerms):
    """Terms that go together, under a name that a run may choose."""

    title: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What the trigger form calls it; left out, its name."""

    @model_validator(mode="after")
    def _sets_something(self) -> Self:
        if not self.said():
            raise RefusedValueError(
                "sets nothing; name what it changes, such as sync_deadline, or leave it out",
                code=ProblemCode.EMPTY,
            )
        return self


class RunConf(RunTerms):
    """What a run chooses."""

    preset: Identifier | None = None
    """One of the pipeline file's `presets`; what conf says itself wins over it."""


def read_conf(conf: object) -> RunConf:
    """Check a conf as it came; raises `InputRefusedError` with every problem and its path."""
    if conf is None:
        return RunConf()
    if not isinstance(conf, dict):
        raise InputRefusedError(
            "conf", [Problem(code=ProblemCode.WRONG_TYPE, path="", message="must be a JSON object")]
        )
    problem = _size_problem(conf)
    if problem:
        raise InputRefusedError("conf", [problem])
    return validated(RunConf, conf, subject="conf")


def validated(model: type[Model], document: object, *, subject: str) -> Model:
    """Validate plain data as strictly as JSON: no number out of a text, no text out of a number."""
    try:
        return model.model_validate_json(_as_json(document, subject), strict=True)
    except ValidationError as error:
        raise InputRefusedError(subject, pydantic_problems(error, model=model)) from None


def _as_json(document: object, subject: str) -> bytes:
    """Write plain data as JSON; dates become texts. Raises `InputRefusedError` for what JSON can't hold."""
    try:
        return json.dumps(document, default=str, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputRefusedError(subject, list(control_problems(document))) from None
    except (TypeError, ValueError, RecursionError) as error:
        if "digits" in str(error):  # Python tells how to change the interpreter
            error = ValueError("a number has more than 4,300 digits; write a smaller one")
        problem = Problem(code=ProblemCode.WRONG_TYPE, path="", message=f"is no plain data: {error}")
        raise InputRefusedError(subject, [problem]) from None


def _size_problem(conf: dict[str, Any]) -> Problem | None:
    batches = conf.get("batches")
    if isinstance(batches, list) and len(batches) > MAX_FEEDS:
        return Problem(
            code=ProblemCode.TOO_MANY,
            path="batches",
            message=f"has {len(batches)} entries, at most {MAX_FEEDS} are allowed",
        )
    if _depth(conf) > MAX_CONF_DEPTH:
        return Problem(
            code=ProblemCode.TOO_DEEP, path="", message=f"is nested deeper than {MAX_CONF_DEPTH} levels"
        )
    size = len(_as_json(conf, "conf"))
    if size > MAX_CONF_BYTES:
        return Problem(
            code=ProblemCode.TOO_LARGE,
            path="",
            message=f"has {size} bytes, at most {MAX_CONF_BYTES} are allowed",
        )
    return None


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_CONF_DEPTH:
        depth += 1
        level = [child for item in level for child in _children(item)]
    return depth


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []
