"""Finds every place where a file may say something, by the models that read it, also where an example says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

Place = tuple[str | int, ...]
Models = frozenset[type[BaseModel]]


def models_in(annotation: Any) -> Models:
    """The models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return frozenset([annotation])
    return frozenset(model for part in get_args(annotation) for model in models_in(part))


def reachable(model: type[BaseModel]) -> Models:
    """A model and everything that it is made of."""
    found, waiting = {model}, [model]
    while waiting:
        inside = {one for field in waiting.pop().model_fields.values() for one in models_in(field.annotation)}
        waiting += inside - found
        found |= inside
    return frozenset(found)


def model_of(value: object, models: Models) -> type[BaseModel] | None:
    """The one of these models that a mapping is written as; None for a mapping of names."""
    if not isinstance(value, Mapping):
        return None
    return next((one for one in models if value and value.keys() <= one.model_fields.keys()), None)


def places(value: object, models: Models, at: Place = ()) -> Iterator[Place]:
    """Where a text may be put: at every value that is no list and no mapping, and at every field that is left out."""
    model = model_of(value, models)
    left_out = model.model_fields.keys() - value.keys() if model and isinstance(value, Mapping) else set()
    yield from ((*at, name) for name in sorted(left_out))
    inside = list(_inside(value, models, model))
    for part, child, of in inside:
        yield from places(child, of, (*at, part))
    if not inside and not left_out:
        yield at


def names(value: object, models: Models, at: Place = ()) -> Iterator[Place]:
    """Every name that an author chose: the keys of mappings that are no model."""
    model = model_of(value, models)
    for part, child, of in _inside(value, models, model):
        if isinstance(part, str) and model is None:
            yield (*at, part)
        yield from names(child, of, (*at, part))


def met(value: object, models: Models) -> Models:
    """The models that a document has an example of."""
    model = model_of(value, models)
    found = [met(child, of) for _, child, of in _inside(value, models, model)]
    return frozenset([model] if model else []).union(*found)


def _inside(
    value: object, models: Models, model: type[BaseModel] | None
) -> Iterator[tuple[str | int, object, Models]]:
    """The parts of a value, each with the models that it may be."""
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield name, child, models_in(model.model_fields[name].annotation) if model else models
    elif isinstance(value, list):
        yield from ((index, child, models) for index, child in enumerate(value))


def renamed(value: Any, place: Place, name: str) -> Any:
    """A copy of a document in which one name is another."""
    first, rest = place[0], place[1:]
    if not rest:
        return {name if key == first else key: child for key, child in value.items()}
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[first] = renamed(value[first], rest, name)
    return copy
