"""Claims with known truth, drawn by a seed: who is right how often, who copies whom, how many wrong values there are."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airflow_orchestration.insights.trust_trial import Cell, Claim

TRUE = "true"


@dataclass(frozen=True, kw_only=True)
class ClaimSet:
    """How claims are drawn. `copies`: copier -> original and the share that is copied."""

    sources: int
    attributes: tuple[str, ...]
    keys: int
    accuracy: Callable[[random.Random, int, int], float]
    wrong: int
    coverage: Callable[[int], float] = lambda _source: 0.9
    copies: Mapping[int, tuple[int, float]] = field(default_factory=dict)
    skew: float = 0.0
    """How much more popular the first wrong values are: the exponent of a Zipf law."""


def drawn(made: ClaimSet, seed: int = 1) -> tuple[list[Claim], dict[Cell, str]]:
    """Draw claims and their labels."""
    dice = random.Random(seed)
    accuracy = {
        (s, a): min(0.99, max(0.05, made.accuracy(dice, s, a)))
        for s in range(made.sources)
        for a in range(len(made.attributes))
    }
    order = [s for s in range(made.sources) if s not in made.copies] + sorted(made.copies)
    popularity = [1 / (n + 1) ** made.skew for n in range(made.wrong)]
    claims = []
    cells = [(f"k{key}", a) for key in range(made.keys) for a in range(len(made.attributes))]
    for key, a in cells:
        said: dict[int, str] = {}
        for s in order:
            original, share = made.copies.get(s, (s, 0.0))
            if dice.random() > made.coverage(s):
                continue
            if original in said and dice.random() < share:
                said[s] = said[original]
            elif dice.random() < accuracy[s, a]:
                said[s] = TRUE
            else:
                said[s] = f"wrong{dice.choices(range(made.wrong), popularity)[0]}"
        claims += [
            Claim(source=f"s{s:03}", cell=(key, made.attributes[a]), value=value) for s, value in said.items()
        ]
    return claims, {(key, made.attributes[a]): TRUE for key, a in cells}


SETS: dict[str, ClaimSet] = {
    # 16 sources, each good at one attribute; two thirds of the others copy two bad ones.
    "copied errors": ClaimSet(
        sources=16,
        attributes=("a", "b", "c", "d"),
        keys=300,
        accuracy=lambda dice, s, a: 0.85 if s % 4 == a else dice.uniform(0.3, 0.6),
        wrong=6,
        copies={9: (4, 0.9), 10: (4, 0.9), 11: (4, 0.9), 12: (5, 0.9), 13: (5, 0.9), 14: (5, 0.8)},
        skew=1.0,
    ),
    # Three good sources against a bad one and five that copy it.
    "bad majority": ClaimSet(
        sources=10,
        attributes=("a", "b"),
        keys=300,
        accuracy=lambda _dice, s, _a: 0.9 if s < 3 else 0.45,
        wrong=8,
        copies=dict.fromkeys(range(5, 10), (4, 0.95)),
    ),
    # 100 workers with few answers each, many of them guessing, two values.
    "guessing crowd": ClaimSet(
        sources=100,
        attributes=("a",),
        keys=500,
        accuracy=lambda dice, _s, _a: dice.choice([0.3, 0.5, 0.5, 0.75, 0.9]),
        wrong=1,
        coverage=lambda _s: 0.1,
    ),
    # 400 sources, most of which know a handful of keys.
    "long tail": ClaimSet(
        sources=400,
        attributes=("a",),
        keys=400,
        accuracy=lambda dice, _s, _a: dice.gauss(0.65, 0.2),
        wrong=8,
        coverage=lambda s: 0.5 * (s + 1) ** -0.8 + 0.005,
        skew=1.0,
    ),
    # Nothing to learn: all are right equally often.
    "equal sources": ClaimSet(
        sources=7, attributes=("a", "b"), keys=400, accuracy=lambda _dice, _s, _a: 0.7, wrong=5
    ),
    # Four good sources that agree because they are right, and five poor ones.
    "good friends": ClaimSet(
        sources=9,
        attributes=("a", "b"),
        keys=300,
        accuracy=lambda _dice, s, _a: 0.95 if s < 4 else 0.5,
        wrong=6,
    ),
    "one source a key": ClaimSet(
        sources=20,
        attributes=("a",),
        keys=1000,
        accuracy=lambda dice, _s, _a: dice.uniform(0.4, 0.95),
        wrong=10,
        coverage=lambda _s: 0.05,
    ),
    "three sources": ClaimSet(
        sources=3,
        attributes=("a", "b"),
        keys=60,
        accuracy=lambda _dice, s, _a: (0.9, 0.7, 0.6)[s],
        wrong=5,
    ),
}
