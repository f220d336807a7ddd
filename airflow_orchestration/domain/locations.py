"""Where a deployment keeps what pipeline files name: their staging folder, and their roots by name.

A pipeline file says where its folders are on the machine of its author. Where several machines share the work the
deployer says it once for all files, and the files stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from airflow_orchestration.domain.location import OBJECT_URI, REMOTE
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.strict import IDENTIFIER
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

Locations = Mapping[str, str]
"""Name of a root, or `staging` -> a full path, or an object storage URI as `s3://my_connection@bucket/folder`."""

STAGING = "staging"
"""The name under which a deployment says where checked rows lie between tasks."""
SETTING = "[orchestration] locations"
"""What Airflow's configuration calls it."""
EXAMPLE = '{"staging": "s3://my_connection@bucket/staging", "landing": "/data/landing"}'


def read_locations(text: str) -> Locations:
    """Read the setting, a JSON object, or nothing; raises `InputRefusedError` with every problem.

    >>> read_locations('{"landing": "/data/landing/"}')
    {'landing': '/data/landing'}
    """
    if not text.strip():
        return {}
    try:
        said = json.loads(text, object_pairs_hook=_pairs)
    except ValueError as error:
        said, code = None, ProblemCode.BAD_SYNTAX
        message = f"is no JSON ({error}); write it as {EXAMPLE}"
    else:
        code, message = ProblemCode.WRONG_TYPE, f"must be a JSON object; write it as {EXAMPLE}"
    if not isinstance(said, _Pairs):
        raise _refusal([Problem(code=code, path="", message=message)])
    problems = list(_problems(said))
    if problems:
        raise _refusal(problems)
    return {name: str(place).rstrip("/") or "/" for name, place in said}


def scheme_of(place: str) -> str | None:
    """What kind of object store a location is in; None for a folder."""
    return place.partition(REMOTE)[0] if REMOTE in place else None


def unknown_schemes(locations: Locations, unknown: frozenset[str]) -> InputRefusedError:
    """Refuse the locations in object stores that nothing here can open."""
    message = (
        "begins with {}://, which no provider here opens; install the provider that does, or name another"
    )
    problems = [
        Problem(code=ProblemCode.UNSUPPORTED, path=name, message=message.format(scheme))
        for name, place in locations.items()
        if (scheme := scheme_of(place)) in unknown
    ]
    return _refusal(problems)


def location_problems(pipeline: Pipeline, locations: Locations) -> Iterator[Problem]:
    """What a pipeline file calls so that the deployment's names don't fit it."""
    if STAGING in locations and STAGING in pipeline.roots:
        message = f"is what {SETTING} calls the folder of checked rows; give the root another name"
        yield Problem(code=ProblemCode.CONFLICT, path=f"roots.{STAGING}", message=message)


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its names as they were written, twice or not."""


def _pairs(found: list[tuple[str, object]]) -> _Pairs:
    return _Pairs(found)


def _problems(said: _Pairs) -> Iterator[Problem]:
    first: set[str] = set()
    for name, place in said:
        if not re.fullmatch(IDENTIFIER, name):
            message = f"is no name of a root; write {STAGING}, or what pipeline files have below roots"
            yield Problem(code=ProblemCode.BAD_NAME, path=name, message=message)
        elif name in first:
            yield Problem(code=ProblemCode.DUPLICATE, path=name, message="stands here twice")
        elif not _is_place(place):
            message = "must be a full path as /data/landing, or a URI as s3://my_connection@bucket/folder"
            yield Problem(code=ProblemCode.BAD_FORMAT, path=name, message=message)
        first.add(name)


def _is_place(said: object) -> bool:
    return isinstance(said, str) and (Path(said).is_absolute() or OBJECT_URI.fullmatch(said) is not None)


def _refusal(problems: list[Problem]) -> InputRefusedError:
    return InputRefusedError(f"Airflow's setting {SETTING}", problems)
