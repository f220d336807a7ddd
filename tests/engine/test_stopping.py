"""Whether work on a huge feed ends within seconds of a request, whatever it is just doing."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import duckdb
import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.engine import ingest as ingesting
from airflow_orchestration.engine import quarantine, reading, source
from airflow_orchestration.engine.ingest import ingest
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.engine.stopping import Stop, StoppedError, check_stop, stoppable
from tests.engine.builders import PLACES, Bench, contract, feed

HEADER = b"id,name,size\n"
UNIQUE = b"".join(b"%X,a name of some length %d,%d\n" % (n, n, n % 1000) for n in range(30_000))
COPIES = 60
GZIP_OF_ZEROS = gzip.compress(HEADER + bytes(200 * 1024**2), compresslevel=1)
WITHIN = 10.0
"""Seconds."""
NOTHING_FITS = contract(
    {"name": "name", "type": "string"}, {"name": "size", "type": "integer", "minimum": 5000}
)


class Requests:
    """Asks for a stop a moment after `begin`, again and again until the test is over."""

    def __init__(self) -> None:
        self.stop, self.began, self.over = Stop(), Event(), Event()
        self.asked_at = 0.0
        self._thread = Thread(target=self._ask)

    def _ask(self) -> None:
        self.began.wait()
        while not self.over.wait(0.3):
            self.asked_at = self.asked_at or time.monotonic()
            self.stop.request()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.began.set()
        self._thread.join()

    def at_the_start_of(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        """Begin when a function is called, which does what it always does."""
        real: Callable[..., Any] = getattr(module, name)

        def announced(*positional: Any, **named: Any) -> Any:
            self.began.set()
            return real(*positional, **named)

        monkeypatch.setattr(module, name, announced)


@pytest.fixture
def requests() -> Iterator[Requests]:
    with Requests() as made:
        yield made


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.8 million lines, of which all but the first 30,000 repeat a key."""
    path = tmp_path_factory.mktemp("huge") / "list.csv"
    with path.open("wb") as file:
        file.write(HEADER)
        for _ in range(COPIES):
            file.write(UNIQUE)
    return path


def assert_ends_soon(requests: Requests, scratch: Path, path: Path, rules: Contract = PLACES) -> None:
    """Stopped within seconds, with nothing but the scratch folder left to delete."""
    with pytest.raises(StoppedError), stoppable(requests.stop):
        ingest(feed(), root=path.parent, path=path, contract=rules, scratch=scratch)

    assert time.monotonic() - requests.asked_at < WITHIN
    assert [] == list(scratch.glob("spill-*"))


@pytest.mark.parametrize("phase", ["_copy", "_drop_duplicates"])
def test_feed_of_repeated_keys_is_stopped(
    huge: Path, bench: Bench, requests: Requests, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """A stop ends the first pass, and the search for repeated keys."""
    requests.at_the_start_of(monkeypatch, ingesting, phase)

    assert_ends_soon(requests, bench.scratch(), huge)


@pytest.mark.parametrize("phase", ["collect", "_insert", "write_quarantine"])
def test_feed_without_a_good_row_is_stopped(
    huge: Path, bench: Bench, requests: Requests, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """A stop ends the copying of rejected lines, the explanation of each, and the writing of the quarantine."""
    requests.at_the_start_of(monkeypatch, quarantine if phase == "_insert" else ingesting, phase)

    assert_ends_soon(requests, bench.scratch(), huge, NOTHING_FITS)


def test_scan_of_lines_is_stopped(bench: Bench, requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop ends the scan of a file without end: a hole of 500 GB, which takes minutes to read."""
    path = bench.write(HEADER + UNIQUE)
    with path.open("r+b") as file:
        file.truncate(500 * 1024**3)
    requests.at_the_start_of(monkeypatch, reading, "prescan")

    assert_ends_soon(requests, bench.scratch(), path)


def test_scan_of_bad_lines_is_stopped(
    bench: Bench, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop ends the scan in the middle of a block whose lines are looked at one by one."""
    path = bench.write(HEADER + b"x\n" * 3_000_000)
    requests.at_the_start_of(monkeypatch, reading, "prescan")

    assert_ends_soon(requests, bench.scratch(), path)


def test_parquet_feed_is_stopped_and_not_called_broken(
    huge: Path, bench: Bench, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted statement says nothing about the file."""
    path = bench.folder / "list.parquet"
    duckdb.sql(f"COPY (FROM read_csv('{huge}', all_varchar = true)) TO '{path}' (FORMAT parquet)")
    requests.at_the_start_of(monkeypatch, ingesting, "_copy")
    with pytest.raises(StoppedError), stoppable(requests.stop):
        ingest(
            feed(format="parquet"),
            root=path.parent,
            path=path,
            contract=PLACES,
            scratch=bench.scratch(),
        )

    assert time.monotonic() - requests.asked_at < WITHIN


def test_unpacking_is_stopped(bench: Bench, requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop ends the unpacking of a gzip."""
    path = bench.write(GZIP_OF_ZEROS * 40, "list.csv.gz")
    requests.at_the_start_of(monkeypatch, source, "_unpacked")

    assert_ends_soon(requests, bench.scratch(), path)


def test_storing_is_stopped_and_leaves_no_file(tmp_path: Path, requests: Requests) -> None:
    """A stop ends the copying into the staging area; neither the file nor a part of it stays."""
    local = tmp_path / "rows.parquet"
    with local.open("wb") as file:
        file.truncate(4 * 1024**3)
    requests.began.set()
    with pytest.raises(StoppedError), stoppable(requests.stop):
        StagingArea(tmp_path / "staging").store(local, "run/rows.parquet", rows=1)

    assert time.monotonic() - requests.asked_at < WITHIN
    assert [] == [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]


def test_discarding_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    """What was stored is gone after `discard`, and so is what never was."""
    local = tmp_path / "rows.parquet"
    local.write_bytes(b"rows")
    area = StagingArea(tmp_path / "staging")
    area.store(local, "run/rows.parquet", rows=1)
    area.discard("run/rows.parquet")
    area.discard("run/rows.parquet")

    assert [] == [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]


def test_work_that_is_done_is_done() -> None:
    """A request that comes when the block has reached its end changes nothing."""
    stop = Stop()
    with stoppable(stop):
        stop.request()


def test_error_before_a_request_stays_what_it_is() -> None:
    """Only what follows a request counts as stopped."""
    with pytest.raises(ZeroDivisionError), stoppable(Stop()):
        raise ZeroDivisionError


def test_nothing_is_stopped_outside_its_block(tmp_path: Path) -> None:
    """A request reaches neither loops nor statements that come after the block."""
    stop = Stop()
    with pytest.raises(StoppedError), stoppable(stop):
        _stopped(stop)
    check_stop()
    with sandbox(readable=[], scratch=tmp_path) as connection:
        stop.request()

        assert (1,) == connection.execute("SELECT 1").fetchone()


def _stopped(stop: Stop) -> None:
    stop.request()
    check_stop()
