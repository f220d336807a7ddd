"""Roots and staging in an object store, through Airflow's own connections, against an S3 server of this machine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (  # type: ignore[import-untyped]
    ClientError,
    EndpointConnectionError,
)
from moto.server import ThreadedMotoServer

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.ingest import ingest
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import FeedError, InputRefusedError, StagedFileError
from airflow_orchestration.hooks.outside import AirflowOutside, staging_area
from airflow_orchestration.sources import files
from airflow_orchestration.sources.fetch import fetch
from airflow_orchestration.sources.files import anything_at, remote_bytes
from airflow_orchestration.sources.outside import Nowhere, RemotePath
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.in_process import ATTEMPT
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import apart
from tests.engine.builders import PLACES, feed, rows_of
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

ROOT = "s3://lake@bucket/landing"
HEADER = b"id,name,size\n"
KEY = RunKey(dag_id="things", run_id="1")
ROWS = b"code,size\na,1\nb,2\n"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server with nothing in it."""
    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def lake(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The root, behind an Airflow connection, in a bucket of its own."""
    extra = {"endpoint_url": server, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "somebody", "password": "something", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    root: Any = AirflowOutside().storage(ROOT)
    root.fs.mkdir("bucket")
    yield root
    root.fs.rm("bucket", recursive=True)


def deliver(lake: Any, name: str, data: bytes) -> None:
    with (lake / name).open("wb") as file:
        file.write(data)


def test_files_of_a_bucket_are_read_like_files_of_a_folder(lake: Any, tmp_path: Path) -> None:
    """Those that match, in the order of their names, each row with its origin."""
    deliver(lake, "day/part-2.csv", HEADER + b"B,b,2\nA,again,3\n")
    deliver(lake, "day/part-1.csv", HEADER + b"A,a,1\nX,x,y\n")
    deliver(lake, "day/other.csv", b"nothing of ours")
    (tmp_path / "fetched").mkdir()
    (tmp_path / "scratch").mkdir()
    found = fetch(feed(), Location(root=ROOT, below="day/part-*.csv"), AirflowOutside(), tmp_path / "fetched")
    done = ingest(feed(), fetched=found, contract=PLACES, scratch=tmp_path / "scratch")
    assert [("A", "a", 1), ("B", "b", 2)] == rows_of(done.staged, "id, name, size")
    assert [("day/part-1.csv", 3, "type"), ("day/part-2.csv", 3, "duplicate_key")] == rows_of(
        done.quarantine, "origin, position, rule"
    )
    assert 4 == done.rows_in


def test_a_file_that_comes_later_is_seen(lake: Any) -> None:
    """What was looked at before is forgotten: a listing is never an old one."""
    outside = AirflowOutside()
    places = [str(Location(root=ROOT, below=below)) for below in ("day/x.csv", "day/*.csv")]
    assert [False, False] == [anything_at(place, outside) for place in places]
    deliver(lake, "day/x.csv", HEADER)
    assert [True, True] == [anything_at(place, outside) for place in places]
    assert len(HEADER) == remote_bytes(Location(root=ROOT, below="day/*.csv"), outside)
    assert 0 == remote_bytes(Location(root=ROOT, below="night/y.csv"), outside)


@pytest.mark.parametrize(
    "fault", [EndpointConnectionError(endpoint_url="http://lake"), ClientError({}, "HeadObject"), OSError()]
)
def test_a_store_that_does_not_answer_has_no_size(fault: Exception) -> None:
    """Whatever the store's library raises: a plan needs no sizes."""

    class Down(Nowhere):
        def storage(self, uri: str) -> RemotePath:
            raise fault

    assert 0 == remote_bytes(Location(root=ROOT, below="a.csv"), Down())


@pytest.mark.usefixtures("lake")
def test_a_connection_that_is_not_there_is_not_replaced_by_the_workers_rights() -> None:
    """It is refused by name, for reading and for staging, and seen as soon as it is there."""
    for opened in (AirflowOutside().storage, staging_area):
        with pytest.raises(
            InputRefusedError, match=r"connection lak: .*\n.*is not defined; add it under Admin"
        ):
            opened(ROOT.replace("lake@", "lak@"))


def test_a_prefix_is_no_object_that_has_arrived(lake: Any) -> None:
    """What lies below a prefix whose name matches is waited for, not taken."""
    deliver(lake, "day/part-1.csv/inside.csv", HEADER)
    place = str(Location(root=ROOT, below="day/part-*.csv"))
    assert not anything_at(place, AirflowOutside())


@pytest.mark.parametrize("letter", ["n", "\N{CJK UNIFIED IDEOGRAPH-6F22}"])
def test_a_key_longer_than_a_file_name_is_read(lake: Any, tmp_path: Path, letter: str) -> None:
    """Its rows keep the whole key as their origin, and its end still says how it is packed."""
    name = letter * (900 // len(letter.encode())) + ".csv.gz"
    deliver(lake, f"day/{name}", gzip.compress(HEADER + b"A,a,1\nX,x,y\n"))
    for folder in ("fetched", "scratch"):
        (tmp_path / folder).mkdir()
    found = fetch(feed(), Location(root=ROOT, below="day/*"), AirflowOutside(), tmp_path / "fetched")
    done = ingest(feed(), fetched=found, contract=PLACES, scratch=tmp_path / "scratch")
    assert [(f"day/{name}", 3)] == rows_of(done.quarantine, "origin, position")
    assert found.files[0].path.name.endswith(".csv.gz")


@pytest.mark.usefixtures("lake")
def test_what_is_not_there_fails_the_feed(tmp_path: Path) -> None:
    """An object that is gone again is named."""
    with pytest.raises(FeedError, match=r"landing/day/x\.csv is gone; deliver it again"):
        fetch(feed(), Location(root=ROOT, below="day/x.csv"), AirflowOutside(), tmp_path)


def test_an_object_that_changes_while_it_is_read_is_refused(
    lake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object of the same size with other bytes is another object."""
    deliver(lake, "x.csv", HEADER + b"A,a,1\n")
    seen = files._version

    def changed(path: Any) -> Any:
        version = seen(path)
        deliver(lake, "x.csv", HEADER + b"B,b,2\n")
        return version

    monkeypatch.setattr(files, "_version", changed)
    with pytest.raises(FeedError, match=r"x\.csv was changed while it was read"):
        fetch(feed(), Location(root=ROOT, below="x.csv"), AirflowOutside(), tmp_path)


def test_bytes_are_bounded_over_all_objects(lake: Any, tmp_path: Path) -> None:
    """What would be more than limits.bytes is not copied."""
    deliver(lake, "a.csv", HEADER)
    deliver(lake, "b.csv", HEADER)
    limited = feed(limits={"bytes": len(HEADER) + 1})
    with pytest.raises(FeedError, match=r"b\.csv makes it more than 14 bytes, the feed's limits\.bytes"):
        fetch(limited, Location(root=ROOT, below="*.csv"), AirflowOutside(), tmp_path)


def test_staged_files_live_in_a_bucket(lake: Any, tmp_path: Path) -> None:
    """What is fetched is what was stored; an object that was replaced is refused, a discarded one is gone."""
    area = StagingArea(lake / "staging")
    (tmp_path / "rows.parquet").write_bytes(b"rows")
    staged = area.store(tmp_path / "rows.parquet", "run/r1/rows.parquet", rows=1)
    assert f"{ROOT}/staging/run/r1/rows.parquet" == staged.uri
    assert b"rows" == area.fetch(staged, tmp_path).read_bytes()
    deliver(lake, "staging/run/r1/rows.parquet", b"soup")
    with pytest.raises(StagedFileError, match="isn't the file that was registered"):
        area.fetch(staged, tmp_path)
    area.discard("run/r1/rows.parquet")
    with pytest.raises(StagedFileError, match="is gone"):
        area.fetch(staged, tmp_path)


class Unsteady(AirflowOutside):
    """An object store whose second root doesn't answer."""

    def storage(self, uri: str) -> RemotePath:
        if "://lake@away" in uri:
            raise ConnectionRefusedError(111, "Connection refused")
        return super().storage(uri)


class Branch:
    """One branch with a feed in each of some roots, its round planned."""

    def __init__(self, folder: Path, *roots: str, outside: AirflowOutside | None = None) -> None:
        self.folder, self.outside = folder, outside or AirflowOutside()
        self.store = MemoryStore(lambda: datetime.now(UTC))
        spec = RunSpec(pipeline=pipeline(roots), contracts=(CONTRACT,), run_date=date(2026, 11, 22))
        analyze_batches(self.store, self.store.claim(self._unit(0, "analyze"), ATTEMPT), spec, self.outside)
        plan_round(self.opened(1, "plan"))

    @staticmethod
    def _unit(number: int, name: str) -> WorkUnit:
        return WorkUnit(run=KEY, round=number, unit=name)

    def opened(self, number: int, name: str) -> Step:
        return Step(
            store=self.store,
            fence=self.store.claim(self._unit(number, name), ATTEMPT),
            scratch=self.folder / "scratch",
            open_staging=staging_area,
            outside=self.outside,
        )

    def run(self, *, last_try: bool = True) -> dict[str, FeedOutcome]:
        step = self.opened(1, "branch:beta:b1")
        run_branch(step, "b1", Lane.BETA, last_try=last_try, worker=apart(step))
        return {outcome.feed_id: outcome for outcome in self.store.outcomes(KEY)}


def pipeline(roots: tuple[str, ...]) -> Pipeline:
    named = {f"root{number}": root for number, root in enumerate(roots)}
    feeds = [
        {"id": f"in_{name}", "uri": f"{name}/x.csv", "format": "csv", "columns": COLUMNS} for name in named
    ]
    return Pipeline.model_validate(
        {
            "id": "things",
            "roots": named,
            "staging": f"{ROOT}/staging",
            "contract": "unused",
            "workflow_mode": "sequential",
            "sync": {"deadline": 60},
            "publish": {"table": "public.thing"},
            "feeds": feeds,
        }
    )


def test_a_process_of_its_own_reads_and_stages_in_a_bucket(lake: Any, tmp_path: Path) -> None:
    """It uses what its parent knows of the connection, after the parent has looked at the same place."""
    deliver(lake, "x.csv", ROWS + b"c,-1\n")
    branch = Branch(tmp_path, ROOT)
    outcome = branch.run()["in_root0"]

    assert (None, 2, 1) == (outcome.error, outcome.rows_staged, outcome.rows_quarantined)
    assert outcome.staged is not None
    assert outcome.staged.uri.startswith(f"{ROOT}/staging/things/")
    (tmp_path / "back").mkdir()
    fetched = branch.opened(1, "merge").staging.fetch(outcome.staged, tmp_path / "back")
    assert outcome.staged.bytes == fetched.stat().st_size


def test_a_feed_with_a_misspelt_connection_fails_alone(lake: Any, tmp_path: Path) -> None:
    """The connection is named in the feed's record, and the feed behind it is processed."""
    deliver(lake, "x.csv", ROWS)
    found = Branch(tmp_path, ROOT.replace("lake@", "lak@"), ROOT).run()

    assert found["in_root0"].error is not None
    assert "connection lak: 1 problem" in found["in_root0"].error
    assert (None, 2) == (found["in_root1"].error, found["in_root1"].rows_staged)


def test_a_feed_that_cannot_be_looked_for_keeps_no_other_from_being_processed(
    lake: Any, tmp_path: Path
) -> None:
    """It is a fault of that feed: the others are done first, then the task is tried again, then it is recorded."""
    deliver(lake, "x.csv", ROWS)
    branch = Branch(tmp_path, "s3://lake@away/landing", ROOT, outside=Unsteady())
    with pytest.raises(ConnectionRefusedError):
        branch.run(last_try=False)
    assert ["in_root1"] == [outcome.feed_id for outcome in branch.store.outcomes(KEY)]

    assert (
        "in_root0: ConnectionRefusedError, Connection refused, on the last try; "
        "see the log of its task, and mend the cause before the next run." == branch.run()["in_root0"].error
    )
