"""Reads a YAML file that may be anything: size, depth, aliases and duplicate keys are checked before it is trusted.

PyYAML's parser in C is ten times as fast as the one in Python, which stands in where a build has none. Its
recursive part knows no bounds, so the events, which come without recursion, are looked at first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

MAX_BYTES = 256 * 1024
MAX_DEPTH = 50
"""Ours: lists and mappings inside each other; a pipeline file has 10."""
MAX_PARTS = 60_000
"""Ours: words, and beginnings and ends of lists and mappings, of a file; a pipeline file of `MAX_BYTES` has 45,000."""
BYTES_OF_PART = 2
"""Ours: the fewest bytes that a part of a longer file takes; in a pipeline file it is 6. Time goes by parts."""
FREE_PARTS = 200
"""Ours: parts that a file may have whatever its size."""
MAX_KEY_LENGTH = 1_000
"""Ours: letters of a key, which stands in the path of each problem below it."""
MAX_NUMBER_LENGTH = 100
"""Ours: letters of a number or a time. YAML 1.1 multiplies `1:1:1:...` out, which takes a minute at `MAX_BYTES`."""

PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHOWN = 100
_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_WORD = "tag:yaml.org,2002:str"
_UNPLAIN = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("binary", "set", "omap", "pairs"))
"""Tags of values that JSON has not: what was kept of them would not be what was written."""
_COMPUTED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


def strict_loader(parser: Any) -> Any:
    """Return a loader that refuses keys that are no word or stand twice, and values that are not what they say."""

    class Strict(parser):  # type: ignore[misc]  # one of two classes, both safe
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            _check_keys(node)
            return super().construct_mapping(node, deep=deep)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            kind = node.tag.rpartition(":")[2]
            if node.tag in _UNPLAIN:
                raise _marked(
                    f"is a !!{kind}; write a text, a list or a mapping", node, ProblemCode.WRONG_TYPE
                )
            if node.tag in _COMPUTED and len(node.value) > MAX_NUMBER_LENGTH:
                length = len(node.value)
                raise _marked(
                    f"has {length} letters; a number or a time has at most {MAX_NUMBER_LENGTH}",
                    node,
                    ProblemCode.TOO_LARGE,
                )
            try:
                return super().construct_object(node, deep=deep)
            except (
                AttributeError,
                LookupError,
                TypeError,
                ValueError,
            ):  # PyYAML's answers to `!!timestamp x`
                raise _marked(f"is no {kind}; put a text in quotes", node, ProblemCode.WRONG_TYPE) from None

    return Strict


def _check_keys(node: Any) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _marked("a key must be one word, not a list or a mapping", key, ProblemCode.WRONG_TYPE)
        if key.tag != _WORD:
            kind = key.tag.rpartition(":")[2]
            raise _marked(
                f"key {key.value[:_SHOWN]!r} is a {kind}, not a text; put it in quotes",
                key,
                ProblemCode.WRONG_TYPE,
            )
        if len(key.value) > MAX_KEY_LENGTH:
            raise _marked(
                f"a key has {len(key.value)} letters, at most {MAX_KEY_LENGTH} are allowed",
                key,
                ProblemCode.TOO_LARGE,
            )
        if key.value in seen:
            raise _marked(f"key {key.value[:_SHOWN]!r} stands twice", key, ProblemCode.DUPLICATE)
        seen.add(key.value)


class _RefusedYAMLError(yaml.MarkedYAMLError):
    code = ProblemCode.BAD_SYNTAX


def _marked(problem: str, place: Any, code: ProblemCode) -> _RefusedYAMLError:
    refused = _RefusedYAMLError(problem=problem, problem_mark=place.start_mark)
    refused.code = code
    return refused


_StrictLoader = strict_loader(PARSER)


def read_yaml(path: Path, *, times: int = 1) -> dict[str, Any]:
    """Read one YAML mapping; raises `InputRefusedError` naming the line of what is wrong.

    :param times: how many times as large as others the file may be, and have as many parts.
    """
    most = times * MAX_BYTES
    try:
        with path.open("rb") as file:
            text = file.read(most + 1)
    except OSError as error:
        raise _refused(path, f"can't be read ({error.strerror}); check the path", unread(error)) from None
    if len(text) > most:
        raise _refused(path, f"has too many bytes, at most {most} are allowed", ProblemCode.TOO_LARGE)
    try:
        _check_events(text, times * MAX_PARTS)
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _refused(
            path, f"{line}{error.problem}", getattr(error, "code", ProblemCode.BAD_SYNTAX)
        ) from None
    except yaml.YAMLError as error:
        raise _refused(path, f"is not YAML: {error}", ProblemCode.BAD_SYNTAX) from None
    except (RecursionError, ValueError) as error:
        raise _refused(path, f"is not usable YAML: {type(error).__name__}", ProblemCode.BAD_SYNTAX) from None
    if not isinstance(document, dict):
        raise _refused(
            path, "holds no mapping; it must be a list of `name: value` lines", ProblemCode.WRONG_TYPE
        )
    return document


def _check_events(text: bytes, most: int) -> None:
    depth = 0
    most = min(most, FREE_PARTS + len(text) // BYTES_OF_PART)
    for number, event in enumerate(yaml.parse(text, Loader=PARSER)):
        if number > most:
            raise _marked(
                f"is more than {most} words, lists and mappings in {len(text)} bytes",
                event,
                ProblemCode.TOO_MANY,
            )
        if isinstance(event, _STARTS):
            depth += 1
            if depth > MAX_DEPTH:
                raise _marked(f"is nested deeper than {MAX_DEPTH} levels", event, ProblemCode.TOO_DEEP)
        elif isinstance(event, _ENDS):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise _marked("aliases are not allowed", event, ProblemCode.NOT_ALLOWED)


def unread(error: OSError) -> ProblemCode:
    """Why a file could not be read, in one word."""
    return ProblemCode.NOT_FOUND if isinstance(error, FileNotFoundError) else ProblemCode.UNREADABLE


def _refused(path: Path, message: str, code: ProblemCode) -> InputRefusedError:
    return InputRefusedError(f"file {path.name}", [Problem(code=code, path="", message=message)])
