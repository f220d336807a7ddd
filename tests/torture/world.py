"""What one tortured run is about: its feeds with every row's fate known, its pipeline, and the table as it was before.

Each line of each file has a `row_id` that is nobody else's. Weights are so far apart that no quality and no speed
turns the order of two feeds around: whose value counts is known without asking the product.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.storage.store import RunKey

DAY, EARLIER_DAY = date(2026, 11, 20), date(2026, 11, 19)
DAG = "tortured"
WEIGHTS = {"heavy": 64.0, "middle": 16.0, "light": 4.0, "other": 2.0, "broken": 1.0}
"""Heaviest first: four times as heavy outweighs the worst quality (0.35 to 1, SEED 16); `other` shares its table with nobody."""
FORMATS = {"heavy": "csv", "middle": "ndjson", "light": "csv", "other": "csv", "broken": "json"}
STREAM = "middle"
OUTBOX = "public.outbox"
FLOOR = 0.6
DEADLINE_SECONDS = 3600.0
ROWS = 160
CODES = 300
FLAWS = ("required", "minimum", "type", "malformed")
FLAWED = 0.08
POOR = 0.8
"""The share of rows with a flaw in a feed below standard: its quality is then 0.4 + 0.4 * 0.2 + 0.2."""


class Shape(StrEnum):
    """What the run meets besides faults; a broken feed is always there."""

    PLAIN = "plain"
    LATE = "late"
    """`light` comes after the gate has decided, and is read by its own branch."""
    REPAIRED = "repaired"
    """`light` comes after the run, and is read by the Dag that repairs."""
    ROUNDS = "rounds"
    """`light` is below standard and is delivered better in round 2."""


class Extra(StrEnum):
    """What else is different about a run."""

    NOTHING = "nothing"
    APART = "apart"
    """The tables stand in another database than the store."""
    PAIR = "pair"
    """There is a second dataset with a table of its own, to which one more feed brings rows."""
    STREAM = "stream"
    """`middle` is a stream: an outbox from which the run takes what stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A dataset, its table, and the feeds that can bring it rows."""

    dataset: str
    name: str
    feeds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of a feed, and the rule that it breaks, if it breaks one."""

    row_id: str
    code: str
    size: str
    name: str
    flaw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A row of the target table as it has to be: what it holds, and the row ids of all that it stands for."""

    values: tuple[object, ...]
    sources: tuple[str, ...]
    superseded: tuple[str, ...]


THINGS = Table(dataset="thing", name="public.things", feeds=("heavy", "middle", "light"))
ITEMS = Table(dataset="item", name="public.items", feeds=("other",))


@dataclass(frozen=True, kw_only=True)
class World:
    """One run of the pipeline. All is drawn from `seed`; files lie below `folder`."""

    folder: Path
    seed: str
    mode: PublishMode
    shape: Shape
    has_past: bool = False
    """Whether the table is there already, with rows of an older run."""
    extra: Extra = Extra.NOTHING

    @property
    def run(self) -> RunKey:
        """The run."""
        return RunKey(dag_id=DAG, run_id=f"run {self.seed}")

    @property
    def tables(self) -> tuple[Table, ...]:
        """Where the rows go; the first one may have a past."""
        return (THINGS, ITEMS) if self.extra is Extra.PAIR else (THINGS,)

    @property
    def good(self) -> tuple[str, ...]:
        """The feeds that can be used."""
        return tuple(feed_id for table in self.tables for feed_id in table.feeds)

    @property
    def weights(self) -> dict[str, float]:
        """What the feeds of this run count."""
        return {feed_id: weight for feed_id, weight in WEIGHTS.items() if feed_id in (*self.good, "broken")}

    @property
    def is_guarded(self) -> bool:
        """Whether the table has a trigger, which lets everything pass: rows are then counted in another way."""
        return self.has_past and self.mode is PublishMode.UPSERT and self.shape is Shape.ROUNDS

    def is_stream(self, feed_id: str) -> bool:
        """Whether a feed is no file."""
        return self.extra is Extra.STREAM and feed_id == STREAM

    @property
    def key(self) -> tuple[str, ...]:
        """The contract's key."""
        return ("code", "day") if self.mode is PublishMode.PARTITION else ("code",)

    @cached_property
    def contracts(self) -> tuple[Contract, ...]:
        """What the rows have to be, table by table."""
        return tuple(
            Contract(
                name=table.dataset,
                key=self.key,
                columns=(
                    Column(name="code", type=ColumnType.STRING, required=True),
                    Column(name="day", type=ColumnType.DATE),
                    Column(name="size", type=ColumnType.NUMBER, minimum=0),
                    Column(name="name", type=ColumnType.STRING, description="What it is called."),
                    Column(name="row_id", type=ColumnType.STRING),
                ),
            )
            for table in self.tables
        )

    @cached_property
    def spec(self) -> RunSpec:
        """What the run does."""
        return RunSpec(
            pipeline=Pipeline.model_validate(
                {
                    "id": DAG,
                    "roots": {"landing": str(self.folder / "landing")},
                    "staging": str(self.staging),
                    "contract": "unused",
                    "sync": {"deadline": DEADLINE_SECONDS, "floor": FLOOR},
                    "capacity": {"workers": 4, "cpu_available": 1.0, "memory_mb": 4096},
                    "feeds": [self._feed(feed_id, weight) for feed_id, weight in self.weights.items()],
                    **self._targets(),
                }
            ),
            contracts=self.contracts,
            run_date=DAY,
        )

    def _targets(self) -> dict[str, object]:
        by = {"partition_by": "day"} if self.mode is PublishMode.PARTITION else {}
        targets = {
            table.dataset: {"publish": {"table": table.name, "mode": self.mode.value, **by}}
            for table in self.tables
        }
        return {"datasets": targets} if len(targets) > 1 else dict(targets[THINGS.dataset])

    def _feed(self, feed_id: str, weight: float) -> dict[str, object]:
        columns = {column.name: column.name for column in self.contracts[0].columns}
        known = {"id": feed_id, "columns": columns, "weight": weight}
        if self.extra is Extra.PAIR:
            known["dataset"] = next(
                (table.dataset for table in self.tables if feed_id in table.feeds), THINGS.dataset
            )
        if self.is_stream(feed_id):
            outbox = {"conn_id": "app", "table": OUTBOX, "batch": {"records": 10 * ROWS}}
            return {**known, "source_type": "streaming", "outbox": outbox}
        uri = f"landing/{{date}}-{feed_id}.{FORMATS[feed_id]}"
        return {**known, "uri": uri, "format": FORMATS[feed_id]}

    @property
    def staging(self) -> Path:
        """Where checked rows stand between tasks."""
        return self.folder / "staging"

    def land(self, feed_id: str, version: int = 1) -> None:
        """Let a feed's file arrive, or take the place of the one that is there, at one blow."""
        landing = self.folder / "landing"
        landing.mkdir(parents=True, exist_ok=True)
        draft = landing / f".{feed_id}"
        draft.write_text(self.content(feed_id, version))
        draft.replace(landing / f"{DAY.isoformat()}-{feed_id}.{FORMATS[feed_id]}")

    def content(self, feed_id: str, version: int) -> str:
        """The text of a feed's file."""
        lines = self.lines(feed_id, version)
        if FORMATS[feed_id] == "csv":
            return "code,day,size,name,row_id\n" + "".join(f"{_csv(line)}\n" for line in lines)
        texts = self.records(feed_id, version)
        if feed_id == "broken":
            return f"[{', '.join(texts)[:-40]}"
        return "".join(f"{text}\n" for text in texts)

    def records(self, feed_id: str, version: int) -> list[str]:
        """The rows of a feed's file as JSON texts."""
        return [json.dumps(_json(line)) for line in self.lines(feed_id, version)]

    def lines(self, feed_id: str, version: int) -> Sequence[Line]:
        """The rows of a feed's file, in order."""
        dice = random.Random(f"{self.seed} {feed_id} {version}")
        poor = self.shape is Shape.ROUNDS and feed_id == "light" and version == 1
        return list(
            _lines(dice, f"{feed_id}.{version}", POOR if poor else FLAWED, csv=FORMATS[feed_id] == "csv")
        )

    def quarantined(self, feed_id: str, version: int) -> dict[str, str]:
        """Row id -> the rule that it breaks."""
        rule, lines = "duplicate_key", self.lines(feed_id, version)
        if self.is_stream(feed_id):  # of what happened to a thing the last stays
            rule, lines = "superseded", lines[::-1]
        seen: set[str] = set()
        found = {}
        for line in lines:
            if line.flaw is not None:
                found[line.row_id] = line.flaw
            elif line.code in seen:
                found[line.row_id] = rule
            else:
                seen.add(line.code)
        return found

    def valid(self, feed_id: str, version: int) -> dict[str, Line]:
        """Code -> the row of a feed that may be merged."""
        outside = self.quarantined(feed_id, version)
        return {line.code: line for line in self.lines(feed_id, version) if line.row_id not in outside}

    def merged(self, versions: Mapping[str, int]) -> dict[str, Expected]:
        """Code -> the merged row, of the feeds in these versions."""
        rows = {feed_id: self.valid(feed_id, versions[feed_id]) for feed_id in WEIGHTS if feed_id in versions}
        codes = sorted({code for lines in rows.values() for code in lines})
        return {
            code: _fused(code, {f: lines[code] for f, lines in rows.items() if code in lines})
            for code in codes
        }

    def past(self) -> dict[tuple[str, date], tuple[object, ...]]:
        """The rows that the table has before the run: some of its keys are the run's, too."""
        if not self.has_past:
            return {}
        days = (EARLIER_DAY, DAY) if self.mode is PublishMode.PARTITION else (DAY,)
        return {
            (code, day): (code, day, float(number), "of old", f"past.{day}.{number}")
            for day in days
            for number, code in enumerate([*(f"k{n:03}" for n in range(0, CODES, 7)), "old", "older"])
        }


def _lines(dice: random.Random, prefix: str, flawed: float, *, csv: bool) -> Iterator[Line]:
    codes = [f"k{number:03}" for number in dice.sample(range(CODES), ROWS)]
    for number, code in enumerate(codes):
        size = dice.choice(["", str(dice.randrange(1000))])
        line = Line(row_id=f"{prefix}.{number}", code=code, size=size, name=dice.choice(["", "x", "y", "z"]))
        if dice.random() < flawed:
            yield _flawed(line, dice.choice(FLAWS if csv else FLAWS[:3]))
        else:
            yield line
    for number in range(ROWS, ROWS + 5):
        code = dice.choice(codes)
        yield Line(row_id=f"{prefix}.{number}", code=code, size="1", name="again")


def _flawed(line: Line, flaw: str) -> Line:
    broken = {
        "required": {"code": ""},
        "minimum": {"size": "-1"},
        "type": {"size": "much"},
        "malformed": {"name": "one,too many"},
    }[flaw]
    return Line(
        **{"row_id": line.row_id, "code": line.code, "size": line.size, "name": line.name, **broken},
        flaw=flaw,
    )


def _csv(line: Line) -> str:
    return f"{line.code},{DAY},{line.size},{line.name},{line.row_id}"


def _json(line: Line) -> dict[str, object]:
    size = float(line.size) if line.size.lstrip("-").isdigit() else line.size or None
    return {
        "code": line.code or None,
        "day": DAY.isoformat(),
        "size": size,
        "name": line.name or None,
        "row_id": line.row_id,
    }


def _fused(code: str, lines: Mapping[str, Line]) -> Expected:
    """Each value from the heaviest feed that has one."""
    in_order = list(lines.values())
    size = next((float(line.size) for line in in_order if line.size), None)
    name = next((line.name for line in in_order if line.name), None)
    return Expected(
        values=(code, DAY, size, name, in_order[0].row_id),
        sources=tuple(lines),
        superseded=tuple(line.row_id for line in in_order[1:]),
    )
