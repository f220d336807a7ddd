"""Reads a YAML file that may be anything: size, depth, aliases and duplicate keys are checked before it is trusted.

PyYAML's parser in C is ten times as fast as the one in Python, which stands in where a build has none. Its
recursive part knows no bounds, so the events, which come without recursion, are looked at first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from airflow_orchestration.exceptions import InputRefusedError, Problem

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
_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_COMPUTED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


def strict_loader(parser: Any) -> Any:
    """Return a loader that refuses keys that are no word or stand twice, and values that are not what they say."""

    class Strict(parser):  # type: ignore[misc]  # one of two classes, both safe
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            _check_keys(node)
            return super().construct_mapping(node, deep=deep)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            kind = node.tag.rpartition(":")[2]
            if node.tag in _COMPUTED and len(node.value) > MAX_NUMBER_LENGTH:
                length = len(node.value)
                raise _marked(
                    f"has {length} letters; a number or a time has at most {MAX_NUMBER_LENGTH}", node
                )
            try:
                return super().construct_object(node, deep=deep)
            except (
                AttributeError,
                LookupError,
                TypeError,
                ValueError,
            ):  # PyYAML's answers to `!!timestamp x`
                raise _marked(f"is no {kind}; put a text in quotes", node) from None

    return Strict


def _check_keys(node: Any) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _marked("a key must be one word, not a list or a mapping", key)
        if len(key.value) > MAX_KEY_LENGTH:
            raise _marked(f"a key has {len(key.value)} letters, at most {MAX_KEY_LENGTH} are allowed", key)
        if key.value in seen:
            raise _marked(f"key {key.value!r} stands twice", key)
        seen.add(key.value)


def _marked(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


_StrictLoader = strict_loader(PARSER)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; raises `InputRefusedError` naming the line of what is wrong."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"can't be read ({error.strerror}); check the path") from None
    if len(text) > MAX_BYTES:
        raise _refused(path, f"has too many bytes, at most {MAX_BYTES} are allowed")
    try:
        _check_events(text)
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _refused(path, f"{line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise _refused(path, f"is not YAML: {error}") from None
    except (RecursionError, ValueError) as error:
        raise _refused(path, f"is not usable YAML: {type(error).__name__}") from None
    if not isinstance(document, dict):
        raise _refused(path, "holds no mapping; it must be a list of `name: value` lines")
    return document


def _check_events(text: bytes) -> None:
    depth = 0
    most = min(MAX_PARTS, FREE_PARTS + len(text) // BYTES_OF_PART)
    for number, event in enumerate(yaml.parse(text, Loader=PARSER)):
        if number > most:
            raise _marked(f"is more than {most} words, lists and mappings in {len(text)} bytes", event)
        if isinstance(event, _STARTS):
            depth += 1
            if depth > MAX_DEPTH:
                raise _marked(f"is nested deeper than {MAX_DEPTH} levels", event)
        elif isinstance(event, _ENDS):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise _marked("aliases are not allowed", event)


def _refused(path: Path, message: str) -> InputRefusedError:
    return InputRefusedError(f"file {path.name}", [Problem(path="", message=message)])
