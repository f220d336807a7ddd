"""Changes a tree of lists, mappings and plain values at its structure."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from tests.fuzz import hostile

Place = tuple[Any, Any]
"""A list or mapping, and the index or key in it."""
MOST_REPEATED = 20_000
"""Parts that a tree may have for one of them to be repeated: more would be a test of the machine's memory."""


def places(tree: Any) -> list[Place]:
    """Every place of a tree at which something stands."""
    found: list[Place] = []
    waiting = [tree]
    while waiting:
        inside = waiting.pop()
        keys: Iterator[Any] = iter(())
        if isinstance(inside, dict):
            keys = iter(inside)
        elif isinstance(inside, list):
            keys = iter(range(len(inside)))
        for key in keys:
            found.append((inside, key))
            waiting.append(inside[key])
    return found


def words(trees: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The keys and the texts of examples: what is right in one place is the best mistake in another."""
    keys, texts = set[str](), set[str]()
    for tree in trees:
        for inside, key in places(tree):
            if isinstance(key, str):
                keys.add(key)
            if isinstance(inside[key], str) and len(inside[key]) < 200:
                texts.add(inside[key])
    return sorted(keys), sorted(texts) or [""]


class Changer:
    """Makes invalid trees of valid ones; `examples` are what is grafted into them."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self._examples = examples
        self._keys, self._texts = words(examples)
        self._grafts = [place for tree in examples for place in places(tree)]

    def change(self, dice: Random, tree: Any) -> tuple[Any, tuple[str, ...]]:
        """Return a changed copy, and what was done to it; sometimes nothing was."""
        tree = {"": copy.deepcopy(tree)}
        count = dice.choices((0, 1, 2, 3, dice.randint(4, 10)), (5, 55, 22, 8, 10))[0]
        done: list[str] = []
        for _ in range(count):
            found = places(tree)
            if not found:
                break
            inside, key = dice.choice(found)
            change = dice.choice(CHANGES)
            try:
                change(self, dice, inside, key)
            except RecursionError:  # it has become too deep to be copied
                continue
            done.append(f"{change.__name__[1:]} {str(key)[:40]!a}")
        return tree.get("", {}), tuple(done)

    def _drop(self, dice: Random, inside: Any, key: Any) -> None:
        del inside[key]

    def _duplicate(self, dice: Random, inside: Any, key: Any) -> None:
        if isinstance(inside, list):
            inside.insert(dice.randint(0, len(inside)), copy.deepcopy(inside[key]))
        else:
            inside[dice.choice(self._keys)] = copy.deepcopy(inside[key])

    def _rename(self, dice: Random, inside: Any, key: Any) -> None:
        if isinstance(inside, dict) and key:
            name = dice.choice((self._typo, self._known, lambda d, _: hostile.text(d)))(dice, str(key))
            renamed = {(name if old == key else old): value for old, value in inside.items()}
            inside.clear()
            inside.update(renamed)

    def _typo(self, dice: Random, name: str) -> str:
        at = dice.randrange(len(name))
        return dice.choice(
            (
                name[:at] + name[at + 1 :],
                name[:at] + name[at] + name[at:],
                name.upper(),
                name.replace("_", "-"),
                f"{name} ",
                f"{name}\n",
                unicodedata.normalize("NFD", f"{name}\u00e9"),
                name[::-1],
            )
        )

    def _known(self, dice: Random, _: str) -> str:
        return dice.choice(self._keys)

    def _retype(self, dice: Random, inside: Any, key: Any) -> None:
        value = inside[key]
        inside[key] = dice.choice(
            (
                lambda: str(value)[:1000],
                lambda: [value],
                lambda: {"value": value},
                lambda: None,
                lambda: bool(value),
                lambda: int(value) if isinstance(value, float) and abs(value) < 1e300 else 0,
                lambda: f"{value}%" if isinstance(value, int | float) and abs(value) < 1e300 else 1.5,
                lambda: list(value) if isinstance(value, dict | str) else value,
            )
        )()

    def _poison(self, dice: Random, inside: Any, key: Any) -> None:
        inside[key] = hostile.scalar(dice)

    def _strange_word(self, dice: Random, inside: Any, key: Any) -> None:
        inside[key] = dice.choice(self._texts)

    def _graft(self, dice: Random, inside: Any, key: Any) -> None:
        source, name = dice.choice(self._grafts)
        inside[key] = copy.deepcopy(source[name])

    def _add(self, dice: Random, inside: Any, key: Any) -> None:
        if isinstance(inside, dict):
            source, _ = dice.choice(self._grafts)
            value = copy.deepcopy(source) if dice.random() < 0.2 else hostile.scalar(dice)
            inside[dice.choice((dice.choice(self._keys), hostile.text(dice)))] = value
        else:
            inside.insert(dice.randint(0, len(inside)), hostile.scalar(dice))

    def _add_secret(self, dice: Random, inside: Any, key: Any) -> None:
        if isinstance(inside, dict) and inside.keys() != {""}:
            inside[dice.choice(hostile.SECRET_KEYS)] = copy.deepcopy(dice.choice(hostile.SECRETS))

    def _nest(self, dice: Random, inside: Any, key: Any) -> None:
        inside[key] = hostile.deep(dice, inside[key])

    def _unnest(self, dice: Random, inside: Any, key: Any) -> None:
        value = inside[key]
        if isinstance(value, dict | list) and value:
            inside[key] = dice.choice(list(value.values()) if isinstance(value, dict) else value)

    def _empty(self, dice: Random, inside: Any, key: Any) -> None:
        inside[key] = dice.choice(("", [], {}, None, [None], {"": ""}))

    def _repeat(self, dice: Random, inside: Any, key: Any) -> None:
        value, times = inside[key], dice.choices(hostile.SIZES, (60, 25, 10, 5))[0]
        if isinstance(value, str) and value:
            inside[key] = value * min(times, 200_000 // len(value) + 1)
        elif isinstance(value, list) and value and (len(places(value)) + 1) * times <= MOST_REPEATED:
            inside[key] = [copy.copy(item) for item in value * times]
        elif isinstance(value, dict) and value and (len(places(value)) + 1) * times <= MOST_REPEATED:
            name, item = dice.choice(list(value.items()))
            value.update({f"{str(name)[:40]}_{number}": copy.deepcopy(item) for number in range(times)})

    def _swap(self, dice: Random, inside: Any, key: Any) -> None:
        if isinstance(inside, dict | list) and len(inside) > 1:
            other = dice.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            inside[key], inside[other] = inside[other], inside[key]

    def _shuffle(self, dice: Random, inside: Any, key: Any) -> None:
        if isinstance(inside[key], list):
            dice.shuffle(inside[key])

    def _tweak(self, dice: Random, inside: Any, key: Any) -> None:
        value = inside[key]
        if isinstance(value, str):
            inside[key] = self._tweaked(dice, value)
        elif isinstance(value, bool):
            inside[key] = not value
        elif isinstance(value, int | float) and abs(value) < 1e300:
            changed = (value + 1, value - 1, -value, value * 100, value / 100, value * 10**9, value + 1e-9)
            inside[key] = dice.choice(changed)

    def _tweaked(self, dice: Random, value: str) -> str:
        at = dice.randint(0, len(value))
        return dice.choice(
            (
                f"{value}\n",
                f" {value}",
                value.upper(),
                value[:at],
                value[:at] + dice.choice(hostile.LETTERS) + value[at:],
                unicodedata.normalize("NFD", value),
                f"{value}/../x",
                f"{value}{dice.choice(hostile.CANARIES)}",
                value.replace("/", "//"),
                value.replace("_", "__"),
            )
        )


CHANGES: tuple[Callable[[Changer, Random, Any, Any], None], ...] = (
    Changer._drop,
    Changer._drop,
    Changer._duplicate,
    Changer._rename,
    Changer._rename,
    Changer._retype,
    Changer._retype,
    Changer._poison,
    Changer._poison,
    Changer._poison,
    Changer._strange_word,
    Changer._graft,
    Changer._graft,
    Changer._add,
    Changer._add,
    Changer._add_secret,
    Changer._nest,
    Changer._unnest,
    Changer._empty,
    Changer._repeat,
    Changer._swap,
    Changer._shuffle,
    Changer._tweak,
    Changer._tweak,
    Changer._tweak,
)
