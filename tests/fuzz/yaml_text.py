"""Writes trees as YAML and changes the text: tags, anchors, merge keys, keys that stand twice, and broken letters."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import yaml

from tests.fuzz import raw

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TAGS = (
    "!!python/object/apply:os.system [id]",
    "!!python/name:os.system",
    "!!binary aGVsbG8=",
    "!!binary '!!!'",
    "!!timestamp x",
    "!!timestamp 2026-11-22",
    "2026-11-22T10:00:00Z",
    "!!set {a, b}",
    "!!omap [a: 1, b: 2]",
    "!!pairs [a: 1, a: 2]",
    "!!int 'x'",
    "!!int 0b",
    "!!float .",
    "!!null x",
    "!!bool maybe",
    "!!str 12",
    "!!map []",
    "!!seq {}",
    "!local x",
    "&a 1",
    "*a",
    "&a [*a]",
    "<<",
    "=",
    "1_000",
    "0o17",
    "017",
    "0x1F",
    "1:30:45",
    "1e5",
    "1.e+5",
    ".inf",
    ".nan",
    "yes",
    "off",
    "~",
    "2026-11-22",
    "2026-13-45",
    "2026-11-22 25:61:61",
    "|\n   block\n",
    ">-\n   folded\n",
    "'",
    '"\\ud800"',
    '"\\0"',
    "@at",
    "`tick",
    "%percent",
    "- - - -",
    "? x : y",
    "? [a, b] : c",
    "{<<: {id: merged}, x: 1}",
    "{2026-11-22: x, 1: y, true: z, null: n, 1.5: f}",
    "{!!binary aGk=: x}",
)
LINES = (
    "---",
    "...",
    "%YAML 1.2",
    "# comment",
    "\t",
    "id: again",
    "<<: {id: merged, staging: merged}",
    "<<: [{description: a}, {description: b}]",
    "? a\n: b",
    "*alias : x",
    "2026-11-22: date",
    "1: number",
    "true: truth",
    "~: nothing",
    "? !!binary aGk=\n: x",
    "? [a, b]\n: x",
    "a" * 1001 + ": long",
    '"a\\0b": 1',
    '"\\u202ea": 1',
    '"a\\nb": 1',
    '"\\ud800": 1',
)


def written(dice: Random, tree: Any) -> tuple[bytes, tuple[str, ...]]:
    """Write a tree as YAML, sometimes not as it should be; return what was done too."""
    text, done = _dumped(dice, tree), list[str]()
    if dice.random() < 0.15:
        text, how = dice.choice((_tagged, _lined, _doubled, _ended))(dice, text)
        done.append(how)
    data = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.05:
        data, how = raw.change(dice, data)
        done.append(how)
    return data, tuple(done)


def _dumped(dice: Random, tree: Any) -> str:
    if dice.random() < 0.1:
        return json.dumps(tree)
    try:
        flow = dice.choice((False, False, None, True))
        return str(
            yaml.dump(
                tree,
                Dumper=_Dumper,
                sort_keys=False,
                allow_unicode=dice.random() < 0.5,
                default_flow_style=flow,
            )
        )
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError):
        return json.dumps(tree)


def _tagged(dice: Random, text: str) -> tuple[str, str]:
    """Put something special in the place of a value."""
    lines = text.split("\n")
    at = dice.randrange(len(lines))
    name, colon, _ = lines[at].partition(":")
    lines[at] = f"{name}{colon} {dice.choice(TAGS)}"
    return "\n".join(lines), "tag"


def _lined(dice: Random, text: str) -> tuple[str, str]:
    lines = text.split("\n")
    at = dice.randint(0, len(lines))
    indent = " " * (len(lines[at - 1]) - len(lines[at - 1].lstrip())) if at else ""
    lines.insert(at, f"{indent}{dice.choice(LINES)}")
    return "\n".join(lines), "line"


def _doubled(dice: Random, text: str) -> tuple[str, str]:
    """Let a line, and so perhaps a key, stand twice."""
    lines = text.split("\n")
    at = dice.randrange(len(lines))
    lines.insert(at, lines[at])
    return "\n".join(lines), "double"


def _ended(dice: Random, text: str) -> tuple[str, str]:
    return text.replace("\n", dice.choice(("\r\n", "\r", "\u2028", "\n\n"))), "line ends"


def plainly_read(data: bytes) -> Any:
    """Read YAML without any of the product's checks."""
    return yaml.load(data, Loader=_Loader)  # a SafeLoader


def keys_that_vanish(data: bytes) -> list[str]:
    """Keys of a document that stand twice in one mapping, so that one of them can't be in what is read."""
    lost: list[str] = []
    waiting = [yaml.compose(data, Loader=_Loader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            lost += sorted({name for name in names if names.count(name) > 1})
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return lost
