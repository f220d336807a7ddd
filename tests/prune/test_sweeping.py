"""Files that no run counts go, and no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import InputRefusedError, StagedFileError
from airflow_orchestration.hooks.outside import remote_path, staging_area
from airflow_orchestration.workflow.keeping import discard_kept
from airflow_orchestration.workflow.pruning import Terms, prune, sweep_staging
from tests.prune.conftest import FILES, LONG_AGO, Kept
from tests.reconcile.world import ALL_OVER
from tests.rewriting import REWRITING

AT_ONCE = timedelta(0)
LAKE = "s3://swept_lake@swept/staging"


def leave(kept: Kept, number: int, *names: str) -> list[str]:
    """Files that an execution of a run wrote beside those that were registered."""
    with kept.world.step(number, 1, "branch:gone") as step:
        folder = Path(str(step.staging.root), step.staging_prefix, "red")
        epoch = step.fence.epoch
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        folder.joinpath(name.replace("NEW", str(epoch))).write_bytes(b"left")
    return [name.replace("NEW", str(epoch)) for name in names]


def test_attempts_that_nobody_registered_go_when_their_run_is_quiet(two_old: Kept) -> None:
    """Also half-written ones; what is registered, and what we did not write, stays."""
    before = two_old.files()
    left = leave(two_old, 2, "eNEW-rows.parquet", "eNEW-quarantine.parquet", ".eNEW-rows.parquet.77.partial")
    leave(two_old, 2, "notes.txt")
    assert 0 == two_old.prune(age=LONG_AGO * 9).swept.files
    pruned = two_old.prune(age=LONG_AGO * 9, quiet=AT_ONCE)
    assert ((), len(left), 4 * len(left)) == (pruned.runs, pruned.swept.files, pruned.swept.bytes)
    assert ["notes.txt"] == [name.rpartition("/")[2] for name in two_old.files() if name not in before]


def test_a_run_that_the_store_does_not_know_is_left_alone(two_old: Kept) -> None:
    """It may be another store's: it is told how many there are."""
    folder = two_old.world.folder / "staging/things/0123456789abcdef/r1/red"
    folder.mkdir(parents=True)
    (folder / "e1-rows.parquet").write_bytes(b"others")
    swept = two_old.prune(quiet=AT_ONCE).swept
    assert 1 == swept.runs_unknown
    assert (folder / "e1-rows.parquet").exists()


def test_one_root_may_be_written_in_several_ways(two_old: Kept) -> None:
    """A registered file is known by its place below the root."""
    before = two_old.files()
    with two_old.connect() as connection:
        connection.execute(REWRITING)
        for column in ("staged_uri", "quarantine_uri"):
            connection.execute(
                f"UPDATE orchestration.feed_outcome SET {column} = replace({column}, '/staging/', '/./staging//')"  # type: ignore[arg-type]
            )
    assert 0 == two_old.prune(age=LONG_AGO * 9, quiet=AT_ONCE).swept.files
    assert before == two_old.files()


def test_an_area_that_can_not_be_opened_is_told(two_old: Kept) -> None:
    """The others are swept all the same; its files go with the next prune."""

    def closed(root: str) -> StagingArea:
        raise InputRefusedError(root, [])

    terms = Terms(age=LONG_AGO, quiet=AT_ONCE)
    root = str(two_old.world.folder / "staging")
    assert [root] == list(sweep_staging(two_old.store, closed, terms).refused)
    assert {} == two_old.prune().swept.refused
    assert {"r1"} == {file.split("/")[2] for file in two_old.files()}


def test_a_place_that_is_gone_is_forgotten_on_request(two_old: Kept) -> None:
    """Then no prune looks there, unless a run begins there again."""
    root, asked = str(two_old.world.folder / "staging"), list[str]()

    def gone(place: str) -> StagingArea:
        asked.append(place)
        raise InputRefusedError(place, [])

    terms = Terms(age=LONG_AGO, forget=frozenset([root]), rehearse=True)
    assert {} == sweep_staging(two_old.store, gone, terms).refused
    assert [root] == list(two_old.store.pruning.staging_areas())
    assert {} == prune(two_old.store, gone, replace(terms, rehearse=False)).swept.refused
    assert {} == prune(two_old.store, gone, Terms(age=LONG_AGO)).swept.refused
    assert [] == asked
    two_old.world.start(3)
    assert [root] == list(prune(two_old.store, gone, Terms(age=LONG_AGO)).swept.refused)


def test_a_folder_that_can_not_be_read_is_told(two_old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for an empty one."""
    [folder, *_] = (two_old.world.folder / "staging/things").iterdir()
    scan = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)  # whoever tests may be root, whom nothing is locked to
    [why] = two_old.prune().swept.refused.values()
    assert str(folder) in why


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of an S3 server, behind an Airflow connection."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    extra = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SWEPT_LAKE", json.dumps(connection))
    root = remote_path(LAKE)
    root.fs.mkdir("swept")
    yield root
    server.stop()


def test_files_in_s3_are_swept(two_old: Kept, lake: Any) -> None:
    """Of pruned runs all, of others those of attempts that nobody registered; a rehearsal counts the same."""
    staging, strange = two_old.world.folder / "staging", "things/0123456789abcdef/r1/red/e1-rows.parquet"
    leave(two_old, 2, "eNEW-rows.parquet")
    for name in two_old.files():
        (lake / name).write_bytes((staging / name).read_bytes())
    (lake / strange).write_bytes(b"others")
    with two_old.connect() as it:
        it.execute(REWRITING)
        it.execute(
            "UPDATE orchestration.run SET spec = jsonb_set(spec, '{pipeline,staging}', %s)", (Jsonb(LAKE),)
        )
    terms = Terms(age=LONG_AGO, quiet=AT_ONCE)
    rehearsed = prune(two_old.store, staging_area, replace(terms, rehearse=True)).swept
    swept = prune(two_old.store, staging_area, terms).swept
    assert (rehearsed, {}, 1) == (swept, swept.refused, swept.runs_unknown)
    left = {name.removeprefix("swept/staging/") for name in lake.fs.find("swept/staging")}
    assert len(two_old.files()) - swept.files == len(left - {strange}) == 2
    assert strange in left
    assert (0, {}) == ((again := prune(two_old.store, staging_area, terms).swept).files, again.refused)


def test_a_file_that_is_gone_is_not_made_again(kept: Kept) -> None:
    """Not by its branch, however often that is cleared: a new run is what helps, and so it is told."""
    world = kept.world
    world.land(list(FILES))
    world.start(0)
    world.work(0)
    for name in kept.files():
        (world.folder / "staging" / name).unlink()
    for _ in range(2):
        with pytest.raises(StagedFileError, match="is gone; put it back, or trigger a new run"):
            world.decide(0, ALL_OVER)
        world.work(0)
    assert [] == kept.files()
    assert "published" == world.run(1)["state"]


def test_an_object_store_that_does_not_answer_is_told(two_old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """In errors of any class; the other areas are swept all the same."""
    pytest.importorskip("s3fs")
    extra = {
        "endpoint_url": "http://127.0.0.1:1",
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SILENT_LAKE", json.dumps(connection))
    gone = "s3://silent_lake@bucket/a"
    with two_old.connect() as it:
        it.execute(REWRITING)
        it.execute(
            "UPDATE orchestration.run SET spec = jsonb_set(spec, '{pipeline,staging}', to_jsonb(%s::text))"
            " WHERE run_id = %s",
            (gone, two_old.world.key(0).run_id),
        )
    pruned = prune(two_old.store, staging_area, Terms(age=LONG_AGO))
    assert [gone] == list(pruned.swept.refused)
    assert "look at its connection" in pruned.swept.refused[gone]
    assert pruned.swept.files


def test_a_registered_file_is_never_left_over(two_old: Kept) -> None:
    """Also that of an execution which began before its run was pruned, and of which the store knows all the same."""
    run = two_old.world.key(2)
    with two_old.connect() as it:
        it.execute(
            "INSERT INTO orchestration.pruned_run (dag_id, run_id) VALUES (%s, %s)",
            (run.dag_id, run.run_id),
        )
    before = two_old.files()
    assert 0 == two_old.prune(age=LONG_AGO * 9, quiet=AT_ONCE).swept.files
    assert before == two_old.files()


def test_links_are_not_followed(two_old: Kept, tmp_path: Path) -> None:
    """What a link in the staging area leads to is not ours to delete."""
    folder = two_old.world.folder / "staging/things"
    run = next(folder.iterdir())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "e1-rows.parquet").write_bytes(b"others")
    (run / "r1" / "linked").symlink_to(outside)
    two_old.prune(quiet=AT_ONCE)
    assert (outside / "e1-rows.parquet").exists()


def test_an_object_store_is_swept_too(tmp_path: Path) -> None:
    """Its files are listed with their sizes and deleted together; what is gone already is no error."""
    storage = pytest.importorskip("airflow.sdk")
    area = StagingArea(storage.ObjectStoragePath(f"file://{tmp_path}/bucket"))
    assert [] == area.files("dag")
    local = tmp_path / "local"
    local.write_bytes(b"rows")
    keys = [f"dag/run/r1/{feed}/e1-rows.parquet" for feed in ("a", "b")]
    for key in keys:
        area.store(local, key, rows=1)
    assert [(key, 4) for key in keys] == [(file.key, file.bytes) for file in area.files("dag")]
    assert [keys[1]] == [file.key for file in area.files("dag/run/r1/b")]
    area.discard_all(keys)
    assert [] == area.files("dag")
    area.discard_all(keys)


def test_what_an_execution_discards_itself_is_not_missed(two_old: Kept) -> None:
    """The same names are meant: what `discard_kept` deletes is what sweeping finds."""
    leave(two_old, 2, "eNEW-rows.parquet")
    with two_old.world.step(2, 1, "branch:gone") as step:
        discard_kept(step, "red")
    assert 1 == two_old.prune(age=LONG_AGO * 9, quiet=AT_ONCE).swept.files
