"""Reads a YAML file that may be anything: size, aliases and duplicate keys are checked before it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from airflow_orchestration.exceptions import InputRefusedError, Problem

MAX_BYTES = 256 * 1024


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses aliases, keys that are no word and keys that stand twice in one mapping."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it untyped
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be one word, not a list or a mapping", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; raises `InputRefusedError` naming the line of what is wrong."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise _refused(path, f"can't be read ({error.strerror}); check the path") from None
    if len(text) > MAX_BYTES:
        raise _refused(path, f"has {len(text)} bytes, at most {MAX_BYTES} are allowed")
    try:
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


def _refused(path: Path, message: str) -> InputRefusedError:
    return InputRefusedError(f"file {path.name}", [Problem(path="", message=message)])
