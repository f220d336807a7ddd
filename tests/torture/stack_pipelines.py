"""The pipelines that are tortured: the same feeds, each pipeline with another way to publish or to process them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import yaml

from tests.torture.stack_inputs import COLUMNS, FEEDS, Feed

TEMPLATES = Path(__file__).parent / "dags"
CONTRACT = "tortured.odcs.yaml"
DEADLINE_SECONDS = 120.0
"""Three takeovers of a dead task fit in."""
FLOOR = 0.5
RETRIES = 4
"""As many as usual, however often things fail here."""
ROUNDS = 3
KINDS: Mapping[str, Mapping[str, Any]] = {
    "north": {"mode": "upsert"},
    "south": {"mode": "append"},
    "east": {"mode": "partition", "partition_by": "day"},
    "west": {"mode": "upsert"},
}
WITH_AGENTS = "west"
"""Its batches go to agents, which lease what they need; those of the others go through lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tortured:
    """One of the pipelines, and by what rule its gate decides."""

    id: str
    kind: str
    feeds: Sequence[Feed] = FEEDS
    deadline: float = DEADLINE_SECONDS
    mode: str = "adaptive"

    @property
    def table(self) -> str:
        """Where it publishes."""
        return f"tortured.{self.id}"

    @property
    def weights(self) -> Mapping[str, int]:
        """What each feed counts."""
        return {feed.id: feed.weight for feed in self.feeds}

    @property
    def required(self) -> frozenset[str]:
        """The feeds without which nothing is published."""
        return frozenset(feed.id for feed in self.feeds if feed.terms.get("required"))


def pipelines(at_once: int) -> list[Tortured]:
    """Return as many pipelines as runs are to be at work at a time: each plays one run after the other."""
    kinds = list(KINDS)
    return [
        Tortured(
            id=kinds[place % len(kinds)] + (f"_{place // len(kinds)}" if place >= len(kinds) else ""),
            kind=kinds[place % len(kinds)],
        )
        for place in range(at_once)
    ]


def write_dags(folder: Path, tortured: Sequence[Tortured]) -> None:
    """Write a Dag file, and a pipeline file beside it, for each pipeline."""
    folder.mkdir(parents=True, exist_ok=True)
    copy(TEMPLATES / CONTRACT, folder)
    for pipeline in tortured:
        (folder / f"{pipeline.id}.yaml").write_text(yaml.safe_dump(described(pipeline), sort_keys=False))
        copy(TEMPLATES / "tortured.py", folder / f"{pipeline.id}.py")


def described(pipeline: Tortured) -> dict[str, Any]:
    """Return the pipeline file; folders are relative to it."""
    return {
        "id": pipeline.id,
        "roots": {"landing": f"../landing/{pipeline.id}"},
        "staging": "../staging",
        "contract": CONTRACT,
        "retries": RETRIES,
        "max_rounds": ROUNDS,
        "workflow_mode": pipeline.mode,
        "capacity": {"workers": 5},
        "feeds": [_feed(feed) for feed in pipeline.feeds],
        "sync": {"deadline": pipeline.deadline, "floor": FLOOR, "late": "reconcile"},
        "publish": {"table": pipeline.table, **KINDS[pipeline.kind]},
        **({"agents": {"retry_attempts": RETRIES}} if pipeline.kind == WITH_AGENTS else {}),
    }


def _feed(feed: Feed) -> dict[str, Any]:
    return {
        "id": feed.id,
        "uri": f"landing/{{date}}-{feed.id}.{feed.form}",
        "format": feed.form,
        "columns": {name: name for name in COLUMNS},
        "weight": feed.weight,
        **feed.terms,
    }
