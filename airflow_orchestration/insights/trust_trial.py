"""How well would trust do on given claims? Learns from a share of the labels, and is judged by the others."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.policies.trust.ballot import NOBODY, Ballot
from airflow_orchestration.policies.trust.calibration import calibration_error
from airflow_orchestration.policies.trust.choosing import learned, winner
from airflow_orchestration.policies.trust.model import TrustModel

Cell = tuple[str, str]
"""A key and an attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a source says of one cell."""

    source: str
    cell: Cell
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of it. Accuracies are shares of the cells that were judged; of tied votes one is drawn."""

    probes: int
    judged: int
    vote_accuracy: float
    trust_accuracy: float
    best_possible: float
    """The share of the judged cells of which any source has the true value."""
    calibration_error: float
    model: TrustModel

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "probes": self.probes,
            "judged": self.judged,
            "vote_accuracy": self.vote_accuracy,
            "trust_accuracy": self.trust_accuracy,
            "best_possible": self.best_possible,
            "calibration_error": self.calibration_error,
            "model": self.model.as_json(),
        }


def read_claims(file: Path) -> list[Claim]:
    """Read a CSV file with the columns source, key, attribute, value; empty values are no claims."""
    return [
        Claim(source=row["source"], cell=(row["key"], row["attribute"]), value=row["value"])
        for row in _rows(file, ("source", "key", "attribute", "value"))
        if row["value"]
    ]


def read_labels(file: Path) -> dict[Cell, str]:
    """Read a CSV file with the columns key, attribute, value."""
    return {
        (row["key"], row["attribute"]): row["value"] for row in _rows(file, ("key", "attribute", "value"))
    }


def try_trust(
    claims: Sequence[Claim],
    labels: Mapping[Cell, str],
    *,
    tolerance: Mapping[str, float],
    probes: float,
    seed: int,
) -> Verdict:
    """Learn with the labels of a share of the keys, and judge by the labels of the others.

    `tolerance`: per numeric attribute, the difference up to which values agree. The same seed takes the same keys.
    """
    found = ballots_by_cell(claims, labels, tolerance)
    told = _told(labels, probes, seed)
    asked = {cell: ballot for cell, ballot in found.items() if ballot.truth is not None and cell not in told}
    if not asked:
        raise InputRefusedError(
            "labels",
            [
                Problem(
                    code=ProblemCode.EMPTY,
                    path="",
                    message="no claimed cell is left to judge by; give more labels",
                )
            ],
        )
    model = learned(
        [replace(ballot, truth=None) if cell in asked else ballot for cell, ballot in found.items()]
    )
    return _verdict(model, list(asked.values()), probes=sum(cell in found for cell in told))


def ballots_by_cell(
    claims: Sequence[Claim], labels: Mapping[Cell, str], tolerance: Mapping[str, float]
) -> dict[Cell, Ballot]:
    """Return who is on which side, cell by cell."""
    said: dict[Cell, dict[str, set[str]]] = {}
    for claim in claims:
        said.setdefault(claim.cell, {}).setdefault(claim.value, set()).add(claim.source)
    return {
        cell: _ballot(cell, values, labels.get(cell), tolerance.get(cell[1], 0.0))
        for cell, values in said.items()
    }


def _ballot(cell: Cell, values: Mapping[str, set[str]], label: str | None, margin: float) -> Ballot:
    sides = [
        (
            set().union(*(values[value] for value in group)),
            any(_same(value, label, margin) for value in group),
        )
        for group in _groups(sorted(values), margin)
    ]
    sides.sort(key=lambda side: (-len(side[0]), sorted(side[0])))
    right = [place for place, (_, is_right) in enumerate(sides) if is_right]
    truth = None if label is None else (right[0] if right else NOBODY)
    return Ballot(attribute=cell[1], sides=tuple(tuple(sorted(side)) for side, _ in sides), truth=truth)


def _groups(values: Sequence[str], margin: float) -> list[list[str]]:
    """Values between which no gap is wider than the margin are one group."""
    numbers = {value: number for value in values if (number := _number(value)) is not None}
    if not margin or len(numbers) < len(values):
        return [[value] for value in values]
    ordered = sorted(values, key=numbers.__getitem__)
    groups = [[ordered[0]]]
    for before, value in pairwise(ordered):
        if numbers[value] - numbers[before] <= margin:
            groups[-1].append(value)
        else:
            groups.append([value])
    return groups


def _same(value: str, label: str | None, margin: float) -> bool:
    if label is None or value == label:
        return label is not None
    one, other = _number(value), _number(label)
    return bool(margin) and one is not None and other is not None and abs(one - other) <= margin


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _told(labels: Mapping[Cell, str], share: float, seed: int) -> set[Cell]:
    """The cells of a share of the keys, drawn by a hash of the seed and the key."""
    keys = sorted(
        {key for key, _ in labels}, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest()
    )
    chosen = set(keys[: round(len(keys) * share)])
    return {cell for cell in labels if cell[0] in chosen}


def _verdict(model: TrustModel, asked: Sequence[Ballot], *, probes: int) -> Verdict:
    answers = [
        (model.confidence(raw), best == ballot.truth)
        for ballot in asked
        for best, raw in [winner(model, ballot)]
    ]
    return Verdict(
        probes=probes,
        judged=len(asked),
        vote_accuracy=sum(map(_voted_right, asked)) / len(asked),
        trust_accuracy=sum(right for _, right in answers) / len(asked),
        best_possible=sum(ballot.truth != NOBODY for ballot in asked) / len(asked),
        calibration_error=calibration_error(answers),
        model=model,
    )


def _voted_right(ballot: Ballot) -> float:
    """Whether most feeds are right; a tie counts by its share."""
    most = max(len(side) for side in ballot.sides)
    first = [place for place, side in enumerate(ballot.sides) if len(side) == most]
    return (ballot.truth in first) / len(first)


def _rows(file: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            message = f"lacks the column {', '.join(missing)}; it needs {', '.join(columns)}"
            raise InputRefusedError(str(file), [Problem(code=ProblemCode.REQUIRED, path="", message=message)])
        yield from reader
