"""A staged file is fetched as it was stored, or not at all."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import StagedFileError

KEY = "run/r1/list/e5-rows.parquet"
DATA = b"rows" * 700_000


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A file of almost 3 MB on this machine."""
    path = tmp_path / "local.parquet"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    """A staging area in a folder that isn't there yet."""
    return StagingArea(tmp_path / "staging")


def test_what_is_stored_is_fetched(area: StagingArea, local: Path, tmp_path: Path) -> None:
    """Content, size, checksum and row count; the copy is another file."""
    staged = area.store(local, KEY, rows=7)
    assert (f"{tmp_path}/staging/{KEY}", 7, len(DATA)) == (staged.uri, staged.rows, staged.bytes)
    assert hashlib.sha256(DATA).hexdigest() == staged.sha256
    fetched = area.fetch(staged, tmp_path)
    assert DATA == fetched.read_bytes()
    assert str(fetched) != staged.uri


def test_storing_again_replaces_the_file_whole(area: StagingArea, local: Path, tmp_path: Path) -> None:
    """A retry writes the same key; nothing partial is left beside it."""
    area.store(local, KEY, rows=7)
    local.write_bytes(b"other")
    staged = area.store(local, KEY, rows=1)
    assert b"other" == area.fetch(staged, tmp_path).read_bytes()
    assert ["e5-rows.parquet"] == [path.name for path in (tmp_path / "staging/run/r1/list").iterdir()]


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "a/", ".", "..", "a\\..\\b", "a\nb", "a\0b"],
)
def test_a_key_that_could_leave_the_root_is_refused(area: StagingArea, local: Path, key: str) -> None:
    """Only plain relative paths are keys."""
    with pytest.raises(StagedFileError, match="is no key of a staged file"):
        area.store(local, key, rows=1)


def test_a_link_out_of_the_root_is_refused(area: StagingArea, local: Path, tmp_path: Path) -> None:
    """A folder in the area may not be a way out of it."""
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "run").symlink_to(tmp_path)
    with pytest.raises(StagedFileError, match="leads out of the staging area"):
        area.store(local, "run/file", rows=1)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("damaged", [DATA[:-1], DATA + b"x", b"rowz" + DATA[4:], b""])
def test_another_file_under_the_same_name_is_refused(
    area: StagingArea, local: Path, tmp_path: Path, damaged: bytes
) -> None:
    """Shorter, longer, or one byte different; nothing is left in scratch."""
    staged = area.store(local, KEY, rows=7)
    Path(staged.uri).write_bytes(damaged)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(StagedFileError, match="isn't the file that was registered"):
        area.fetch(staged, tmp_path / "scratch")
    assert [] == list((tmp_path / "scratch").iterdir())


def test_a_file_that_is_gone_is_named(area: StagingArea, local: Path, tmp_path: Path) -> None:
    """With what to do."""
    staged = area.store(local, KEY, rows=7)
    Path(staged.uri).unlink()
    with pytest.raises(StagedFileError, match=r"e5-rows.parquet is gone; put it back, or trigger a new run"):
        area.fetch(staged, tmp_path)


@pytest.mark.parametrize("uri", ["/etc/passwd", "{}-other/file", "{}/../secret", "{}"])
def test_a_file_outside_the_area_is_not_fetched(
    area: StagingArea, local: Path, tmp_path: Path, uri: str
) -> None:
    """A record of another area, or one that was tampered with, opens nothing."""
    staged = area.store(local, KEY, rows=7)
    with pytest.raises(StagedFileError):
        area.fetch(replace(staged, uri=uri.format(area.root)), tmp_path)


def test_an_object_store_holds_the_same_files(local: Path, tmp_path: Path) -> None:
    """Airflow's `ObjectStoragePath` is a root too."""
    storage = pytest.importorskip("airflow.sdk")
    area = StagingArea(storage.ObjectStoragePath(f"file://{tmp_path}/bucket"))
    staged = area.store(local, KEY, rows=7)
    assert staged.uri.startswith("file://")
    assert DATA == area.fetch(staged, tmp_path).read_bytes()
    with pytest.raises(StagedFileError, match="is no key of a staged file"):
        area.store(local, "../up", rows=1)
    with pytest.raises(StagedFileError, match="is gone"):
        area.fetch(replace(staged, uri=staged.uri + "x"), tmp_path)


def test_folders_are_named_and_links_are_none(area: StagingArea, tmp_path: Path) -> None:
    """Those directly below; where nothing is there are none."""
    (tmp_path / "staging/dag/b/r1").mkdir(parents=True)
    (tmp_path / "staging/dag/a").mkdir()
    (tmp_path / "staging/dag/file").touch()
    (tmp_path / "staging/dag/link").symlink_to(tmp_path)
    assert ["a", "b"] == area.folders("dag")
    assert [] == area.folders("others")


def test_a_folder_that_can_not_be_read_is_not_empty(
    area: StagingArea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a file a folder; one that is gone meanwhile is."""
    (tmp_path / "staging/dag/locked").mkdir(parents=True)
    (tmp_path / "staging/file").touch()
    scan = os.scandir

    def scandir(path: Path) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)  # whoever tests may be root, whom nothing is locked to
    for listed in (lambda: area.files("dag"), lambda: area.folders("dag/locked")):
        with pytest.raises(PermissionError, match="locked"):
            listed()
    with pytest.raises(NotADirectoryError):
        area.files("file")
    assert [] == area.files("gone")
