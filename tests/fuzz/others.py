"""The smaller entrances: files of arrivals, recorded gates, results of quality tools, arguments of commands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from airflow_orchestration.cli import values
from airflow_orchestration.cli.plans import spec_of
from airflow_orchestration.domain.external_quality import read_external
from airflow_orchestration.insights.arrivals_file import read_arrivals
from airflow_orchestration.insights.recorded_gate import gates_in
from tests.fuzz import hostile, raw
from tests.fuzz.appearing import lost, unbounded
from tests.fuzz.inputs import Made
from tests.fuzz.judging import require
from tests.fuzz.pipelines import PIPELINES, REPOSITORY, RUN_DATE
from tests.fuzz.structure import Changer
from tests.fuzz.yaml_text import keys_that_vanish, plainly_read, written

ARRIVALS: dict[str, Any] = {
    "feeds": {
        "vega": {"weight": 3, "required": True, "median_seconds": 600, "spread": 1.5, "never_share": 0.02},
        "lyra": {"seconds": [280, 300, 1900], "failed_share": 0.01},
        "mira": {"median_seconds": 60, "late_share": 0.1, "late_seconds": 3600},
    }
}
QUALITY: tuple[Any, ...] = (
    {"success": True, "score": 0.98},
    {"success": True, "statistics": {"success_percent": 97.5, "evaluated_expectations": 12}},
    {"checks": [{"outcome": "pass"}, {"outcome": "warn"}, {"outcome": "fail"}]},
    {"results": [{"status": "pass"}, {"status": "skipped"}, {"status": "error"}]},
    [{"n": 10, "n_passed": 9, "all_passed": False}, {"n": 5, "n_passed": 5, "all_passed": True}],
)
GATES = REPOSITORY / "tests" / "corpus" / "gates.jsonl"
ARGUMENTS: Mapping[str, Callable[[str], Any]] = {
    name: getattr(values, name)
    for name in ("share", "duration", "grace_period", "count", "whole", "moment", "tolerance", "cpus")
}
TEXTS = (
    "0.75",
    "1",
    "0",
    "600",
    "none",
    "2026-11-22",
    "2026-11-22T06:00+01:00",
    "latitude=0.01",
    "-1",
    "1e3",
    "nan",
)
TEXTS += (
    "inf",
    "latitude=nan",
    "latitude=-1",
    "=1",
    "\u0661",
    "1_000",
    "0x10",
    "+5",
    " 5 ",
    "1e400",
    "2026-W01-1",
)


@cache
def _gates() -> list[Any]:
    return [json.loads(line) for line in GATES.read_text().splitlines()[:12]]


@cache
def _changer(what: str) -> Changer:
    return Changer({"arrivals": [ARRIVALS], "quality": list(QUALITY), "gates": _gates()}[what])


def make_other(dice: Random) -> Made:
    """One of the smaller inputs, changed."""
    return dice.choice((_arrivals, _quality, _recorded, _argument, _argument, _conf_argument))(dice)


def _arrivals(dice: Random) -> Made:
    tree, done = _changer("arrivals").change(dice, ARRIVALS)
    data, more = written(dice, tree)
    terms = {"what": "arrivals", "right": not (*done, *more)}
    return Made(kind="other", files={"it.yaml": data}, terms=terms, changes=(*done, *more))


def _quality(dice: Random) -> Made:
    tree, done = _changer("quality").change(dice, dice.choice(QUALITY))
    terms = {"what": "quality", "right": not done}
    return Made(kind="other", files={"it": json.dumps(tree).encode()}, terms=terms, changes=done)


def _recorded(dice: Random) -> Made:
    gates = dice.sample(_gates(), k=2)
    changed, done = _changer("gates").change(dice, gates[0])
    data = "\n".join([json.dumps(changed), json.dumps(gates[1]), ""]).encode()
    if dice.random() < 0.2:
        data, how = raw.change(dice, data)
        done = (*done, how)
    return Made(kind="other", files={"it": data}, terms={"what": "gates", "right": not done}, changes=done)


def _argument(dice: Random) -> Made:
    text = dice.choice(
        (dice.choice(TEXTS), hostile.text(dice), str(hostile.number(dice)), dice.choice(hostile.DATES))
    )
    terms = {"what": "argument", "type": dice.choice(sorted(ARGUMENTS)), "text": text}
    return Made(kind="other", files={}, terms=terms)


def _conf_argument(dice: Random) -> Made:
    """`--conf`, which is text."""
    data, how = raw.change(dice, b'{"batches": [{"id": "vega"}, {"id": "airportsdata"}], "sync_floor": 0.8}')
    return Made(kind="other", files={"it": data}, terms={"what": "--conf"}, changes=(how,))


def look_at_other(made: Made, folder: Path) -> None:
    """Read one of the smaller inputs."""
    look = {
        "arrivals": _look_at_arrivals,
        "quality": _look_at_quality,
        "gates": _look_at_gates,
        "argument": _look_at_argument,
        "--conf": _look_at_conf_argument,
    }
    look[made.terms["what"]](made, folder)


def _look_at_arrivals(made: Made, folder: Path) -> None:
    kept = read_arrivals(folder / "it.yaml").model_dump(mode="json")
    data = made.files["it.yaml"]
    wrong = [*keys_that_vanish(data), *lost(plainly_read(data), kept), *unbounded(kept)]
    require(not wrong, "; ".join(wrong[:5]))


def _look_at_quality(made: Made, _: Path) -> None:
    found = read_external(json.loads(made.files["it"]), feed_id="planes", task="check")
    require(0 <= found.score <= 1, f"the score is {found.score}")
    require(found.checks is None or isinstance(found.checks, int), f"checks are {found.checks!a}")


def _look_at_gates(made: Made, _: Path) -> None:
    try:
        text = made.files["it"].decode()
    except UnicodeDecodeError:
        return  # the command refuses it when it opens the file
    gates = gates_in(text.splitlines(), subject="file it")
    require(len(gates) == sum(bool(line.strip()) for line in text.splitlines()), "a gate vanished")


def _look_at_argument(made: Made, _: Path) -> None:
    read = ARGUMENTS[made.terms["type"]](made.terms["text"])
    numbers = [one for one in (read if isinstance(read, tuple) else (read,)) if isinstance(one, int | float)]
    require(all(math.isfinite(one) for one in numbers), f"{made.terms['text']!a} was read as {read!a}")


def _look_at_conf_argument(made: Made, _: Path) -> None:
    path = next(path for path in PIPELINES if path.name == "airport_reference.yaml")
    text = made.files["it"].decode("utf-8", "surrogateescape")
    spec = spec_of(str(path), text, RUN_DATE)
    asked = json.loads(text)
    require(len(spec.feeds) == len(asked.get("batches") or spec.feeds), "the run has other feeds than asked")
