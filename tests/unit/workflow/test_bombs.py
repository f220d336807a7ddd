"""What a file does that is built to harm: it fails alone, within seconds, and says how."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.workflow.in_process import InProcessRun
from airflow_orchestration.workflow.stopping import Bounds, until
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

MIB = 2**20
WITHIN_SECONDS = 20
"""On a machine that does eight other things."""
ROW = "code,size\n"
Made = dict[str, Any]


def gzip_bomb(folder: Path) -> Made:
    (folder / "bomb").write_bytes(gzip.compress(ROW.encode() + b"a" * 100 * MIB))
    return {}


def zstd_bomb(folder: Path) -> Made:
    zstd = pytest.importorskip("backports.zstd")
    (folder / "bomb").write_bytes(zstd.compress(ROW.encode() + b"a" * 100 * MIB))
    return {}


def parquet(folder: Path, query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{folder}/bomb' (FORMAT parquet, COMPRESSION zstd)")


def parquet_of_repeated_texts(folder: Path) -> Made:
    parquet(folder, "SELECT repeat('x', 2000) AS code, 1.0 AS size FROM range(1_000_000)")
    assert 30_000 > (folder / "bomb").stat().st_size
    return {"format": "parquet"}


def parquet_of_too_many_rows(folder: Path) -> Made:
    parquet(folder, "SELECT range::VARCHAR AS code, 1.0 AS size FROM range(10_000)")
    return {"format": "parquet", "limits": {"rows": 9_999}}


def csv_of_too_many_rows(folder: Path) -> Made:
    (folder / "bomb").write_text(ROW + "".join(f"k{number},1\n" for number in range(1000)))
    return {"limits": {"rows": 999}}


def csv_of_too_many_bytes(folder: Path) -> Made:
    (folder / "bomb").write_text(ROW + "".join(f"k{number},1\n" for number in range(1000)))
    return {"limits": {"bytes": 5000}}


def csv_that_unpacks_to_too_many_bytes(folder: Path) -> Made:
    text = ROW + "".join(f"k{number},1\n" for number in range(1000))
    (folder / "bomb").write_bytes(gzip.compress(text.encode()))
    return {"limits": {"bytes": 5000}}


def csv_that_takes_too_long(folder: Path) -> Made:
    block = "".join(f"key {number} that is repeated,{number}\n" for number in range(30_000))
    (folder / "bomb").write_text(ROW + block * 200)
    return {"limits": {"seconds": 1}}


BOMBS = {
    gzip_bomb: "bomb: bomb unpacks to more than 200 times its size",
    zstd_bomb: "bomb: bomb unpacks to more than 200 times its size",
    parquet_of_repeated_texts: "bomb: its Parquet file .* unpacks to 2,016,000,000, more than 200 times",
    parquet_of_too_many_rows: r"bomb: it has 10,000 rows or more, and its limits\.rows is 9,999",
    csv_of_too_many_rows: r"bomb: it has 1,000 rows or more, and its limits\.rows is 999",
    csv_of_too_many_bytes: r"bomb: it unpacks to 6,900 bytes or more, and its limits\.bytes is 5,000",
    csv_that_unpacks_to_too_many_bytes: r"bomb: .* unpacks to more than 5,000 bytes, the feed's limits\.bytes",
    csv_that_takes_too_long: r"bomb: was still being worked on after 1 s .* limits\.seconds",
}


def played(folder: Path, **feed: Any) -> tuple[dict[str, FeedOutcome], dict[str, Any]]:
    """Run a good feed beside the bomb, each on a branch of its own."""
    (folder / "good").write_text("code,size\na,1\nb,2\n")
    described = {"uri": "landing/bomb", "format": "csv", "columns": COLUMNS, **feed}
    pipeline = {
        "id": "things",
        "roots": {"landing": str(folder)},
        "staging": str(folder / "staging"),
        "contract": "unused",
        "sync": {"deadline": 60, "floor": 0.5},
        "publish": {"table": "public.thing"},
        "capacity": {"memory_mb": 1024},
        "max_rounds": 1,
        "feeds": [
            {"id": "bomb", **described},
            {"id": "good", "uri": "landing/good", "format": "csv", "columns": COLUMNS},
        ],
    }
    spec = RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
    )
    run = InProcessRun(spec=spec, clock=lambda: datetime.now(UTC), report=lambda _: None)
    manifest = run.run()
    return {known.feed_id: known for known in run.store.outcomes(run.key)}, manifest


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_bomb_fails_alone(tmp_path: Path, bomb: Callable[[Path], Made]) -> None:
    """The error names the limit and what to do, its sibling is published, and the worker keeps its memory."""
    made = bomb(tmp_path)
    before, started = resident(), time.monotonic()
    outcomes, manifest = played(tmp_path, **made)
    seconds, grown = time.monotonic() - started, resident() - before

    with pytest.raises(FeedError, match=BOMBS[bomb]):
        raise FeedError(outcomes["bomb"].error, code=FeedCode.BOMB)
    assert (2, "in") == (outcomes["good"].rows_staged, manifest["feeds"][1]["state"])
    assert ("failed", "published_degraded") == (manifest["feeds"][0]["state"], manifest["state"])
    assert seconds < WITHIN_SECONDS
    assert grown < 100 * MIB


def deep_json(folder: Path) -> Made:
    deep = "[" * 300_000 + "]" * 300_000
    (folder / "bomb").write_text(f'[{{"code": "a", "size": {deep}}}, {{"code": "b", "size": 1}}]')
    return {"format": "json"}


def one_huge_line(folder: Path) -> Made:
    (folder / "bomb").write_text(f"{ROW}{'a' * 20 * MIB},1\nb,1\n")
    return {}


@pytest.mark.parametrize("made", [deep_json, one_huge_line], ids=lambda made: made.__name__)
def test_what_is_only_unusual_is_accounted_for(tmp_path: Path, made: Callable[[Path], Made]) -> None:
    """A row that is too deep or too long is put aside or kept, and its neighbour is read."""
    outcomes, _ = played(tmp_path, **made(tmp_path))

    assert (2, 2) == (outcomes["bomb"].rows_in, outcomes["good"].rows_staged)
    assert 1 <= outcomes["bomb"].rows_staged


BOUNDS = Bounds(feed_id="bomb", seconds=30, memory_mb=256)


def filling() -> FeedOutcome:
    """Take a little more, again and again."""
    held = []
    while True:
        held.append(bytearray(8 * MIB))
        time.sleep(0.002)


def grabbing() -> FeedOutcome:
    """Take eight gigabytes at once."""
    held = bytearray(8 * 1024 * MIB)
    raise AssertionError(len(held))


@pytest.mark.parametrize(("work", "words"), [(filling, "and was stopped"), (grabbing, "684 MiB")])
def test_work_that_takes_too_much_memory_is_ended(work: Callable[[], FeedOutcome], words: str) -> None:
    """Little by little or at once: the process that does it ends, and this one hardly notices."""
    before, started = resident(), time.monotonic()
    with pytest.raises(FeedError, match=rf"bomb: takes more memory .*{words}.*capacity\.memory_mb"):
        until(lambda: False, work, BOUNDS)

    assert resident() - before < 20 * MIB
    assert time.monotonic() - started < WITHIN_SECONDS


def test_starting_a_process_for_each_batch_costs_milliseconds() -> None:
    """The median of some is far below what reading the smallest file takes."""
    costs = []
    for _ in range(9):
        started = time.monotonic()
        with pytest.raises(FeedError, match="nothing"):
            until(lambda: False, refusing, BOUNDS)
        costs.append(time.monotonic() - started)

    assert sorted(costs)[4] < 0.25


def refusing() -> FeedOutcome:
    raise FeedError("nothing", code=FeedCode.EMPTY)
