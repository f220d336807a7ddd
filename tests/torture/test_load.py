"""What the load test concludes from what it has seen."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from tests.torture.load import ALWAYS, HANDFULS, Load, load_feeds
from tests.torture.load_picture import draw_picture
from tests.torture.load_samples import Level, Sample, backlog_grows, slope_of
from tests.torture.load_stages import STAGES, Stages, stages_of
from tests.torture.stack_faults import Fault
from tests.torture.stack_machine import TorturedStack

PART = "memory of scheduler"
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Answers:
    """A stack whose database tells of three merges: alone, under load, and when something broke."""

    def metadata(self, _: str) -> list[dict[str, object]]:
        """What Airflow knows."""
        told = (("alone-1", 0, 1), ("run-1", 10, 2), ("run-2", 99, 30))
        return [
            {
                "run_id": run_id,
                "stage": "merge",
                "began": MOMENT + timedelta(seconds=at),
                "ended": MOMENT + timedelta(seconds=at + seconds),
            }
            for run_id, at, seconds in told
        ]

    def warehouse(self, _: str) -> None:
        """The store says nothing."""


def samples(values: Sequence[float], *, lives: Sequence[str] = ("one",)) -> list[Sample]:
    """A look every ten seconds; the values are shared out between the lives of a process, one after the other."""
    each = len(values) // len(lives)
    return [
        Sample(
            at=10.0 * place,
            runs_over=0,
            queued=place % 7,
            running=1,
            deferred=0,
            longest_queued=1.0,
            open_gates=2,
            oldest_gate=3.0,
            levels={PART: Level(life=lives[min(place // each, len(lives) - 1)], value=value)},
        )
        for place, value in enumerate(values)
    ]


def test_what_grows_steadily_is_told_by_the_hour() -> None:
    """From 100 to 200 MiB in a thousand seconds: by two thirds of the usual 150, and 3.6 times that in an hour."""
    found = slope_of(samples([100 + number for number in range(101)]), PART)

    assert found is not None
    assert pytest.approx(2.4, abs=0.01) == found.least == found.middle == found.most


def test_one_wrong_look_does_not_tilt_the_slope() -> None:
    """A value that is ten times too high, once, counts for nothing."""
    values = [100.0] * 60
    values[30] = 1000.0
    found = slope_of(samples(values), PART)

    assert found is not None
    assert 0 == found.middle


def test_chance_is_no_growth_and_growth_is_no_chance() -> None:
    """Noise leaves its bounds on both sides of nothing; the same noise on a slope of 20 % an hour does not."""
    noise = [100 + (number * 37 % 11) / 5 for number in range(160)]
    flat = slope_of(samples(noise), PART)
    growing = slope_of(samples([value + place / 18 for place, value in enumerate(noise)]), PART)

    assert flat is not None
    assert growing is not None
    assert flat.least <= 0 <= flat.most < 0.01
    assert 0.15 < growing.least <= growing.most < 0.25


def test_a_process_that_is_replaced_has_not_shrunk() -> None:
    """The longest life is flat, whatever came after it."""
    found = slope_of(samples([200.0] * 60 + [100.0] * 30, lives=("one", "one", "two")), PART)

    assert found is not None
    assert 0 == found.middle


@pytest.mark.parametrize("lives", [("one", "two", "three"), tuple(map(str, range(30)))])
def test_lives_that_are_too_short_tell_nothing(lives: tuple[str, ...]) -> None:
    """Less than half of the time is no measurement of it."""
    assert slope_of(samples([100.0] * 90, lives=lives), PART) is None


def test_what_was_never_seen_was_not_measured() -> None:
    """Neither a part that nobody looked at, nor one that was seen a few times."""
    assert slope_of(samples([1.0] * 60), "memory of nobody") is None
    assert slope_of(samples([1.0] * 11), PART) is None


@pytest.mark.parametrize(
    ("counts", "grows"),
    [
        ([40] * 30, False),
        (list(range(10, 100, 3)), True),
        ([30, 60] * 15, False),
        ([0, 3] * 5 + [7] * 5, False),
        ([], None),
        ([5] * 11, None),
    ],
)
def test_a_backlog_grows_when_its_end_is_higher_than_its_middle(
    counts: list[int], *, grows: bool | None
) -> None:
    """Waves are no growth, and a handful is none; what was not looked at is not known."""
    assert grows is backlog_grows(counts, 5.0)


def test_a_stage_is_compared_with_itself_alone() -> None:
    """By the 95th percentile, and unknown where there is nothing to compare."""
    stages = Stages(alone={"merge": [1.0, 1.0], "plan": [1.0]}, loaded={"merge": [2.0] * 99 + [50.0]})

    assert {**dict.fromkeys(STAGES), "merge": 2.0} == stages.slower(stages.loaded)


def test_what_is_broken_meanwhile_is_told_apart() -> None:
    """A task in whose time a connection was cut says nothing of how long a stage takes under load."""
    machine = cast("TorturedStack", Answers())
    cut = Fault(kind="cut", began=MOMENT + timedelta(seconds=100), ended=MOMENT + timedelta(seconds=101))
    stages = stages_of(machine, "alone", [cut])

    assert ({"merge": [1.0]}, {"merge": [2.0, 30.0]}, {"merge": [2.0]}) == (
        stages.alone,
        stages.loaded,
        stages.undisturbed,
    )


def test_every_lane_has_as_many_feeds() -> None:
    """Twenty-five branches are five of each lane."""
    assert [5] * 5 == [
        sum(feed.id.startswith(f"{lane}_") for feed in load_feeds(25))
        for lane in ("alpha", "beta", "gamma", "primary", "secondary")
    ]


def test_the_picture_has_a_line_for_what_was_measured() -> None:
    """Four counts, connections and one level; a mark for each fault in every panel."""
    drawn = draw_picture(samples([1.0] * 10), [5.0, 50.0])

    assert (6, 8) == (drawn.count("<polyline"), drawn.count("<line "))


def test_what_was_not_measured_was_not_held(tmp_path: Path) -> None:
    """A load of which nobody has seen anything misses each goal that needs a look."""
    load = Load(Namespace(minutes=30.0, seed=1, at_once=2, branches=5, only=None, out=tmp_path), tmp_path)
    load.machine.door.folder.rmdir()
    load.held_seconds = 1800.0
    missed = {line["figure"] for line in load._figures() if not line["held"]}

    assert {f"growth of {part} in an hour" for part in ALWAYS} < missed
    assert {f"backlog grows: {name}" for name in HANDFULS} < missed
    assert {f"p95 of {stage}, times its unloaded p95" for stage in STAGES} < missed
    assert {"runs over", "branches a minute", "faults"} < missed
