"""Files by pattern below a folder: which ones, in which order, and never outside of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_orchestration.domain.location import Location
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources import files
from airflow_orchestration.sources.fetch import fetch
from airflow_orchestration.sources.files import anything_at
from airflow_orchestration.sources.outside import NOWHERE
from tests.engine.builders import feed


def landing(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "root" / "day" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id\n")
    return folder / "root"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("part-*.csv", ["day/part-1.csv", "day/part-10.csv", "day/part-2.csv"]),
        ("part-?.csv", ["day/part-1.csv", "day/part-2.csv"]),
        ("*", ["day/other.csv", "day/part-1.csv", "day/part-10.csv", "day/part-2.csv", "day/x[1].csv"]),
        ("x[1].*", ["day/x[1].csv"]),
        ("part-2.csv", ["day/part-2.csv"]),
    ],
)
def test_a_pattern_finds_files_in_the_order_of_their_names(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    """* and ? stand for letters, nothing else does; hidden files and folders are left out."""
    names = [
        "part-2.csv",
        "part-10.csv",
        "part-1.csv",
        "other.csv",
        "x[1].csv",
        ".part-3.csv",
        "more/part-4.csv",
    ]
    location = Location(root=str(landing(tmp_path, *names)), below=f"day/{pattern}")
    found = fetch(feed(), location, NOWHERE, tmp_path)
    assert expected == [file.origin for file in found.files]
    assert anything_at(str(location), NOWHERE)


def test_nothing_there_is_no_feed_yet(tmp_path: Path) -> None:
    """No folder, no file, and no file that matches are waited for; to fetch them all the same is an error."""
    root = landing(tmp_path, "part.csv")
    for below in ("night/x.csv", "day/x.csv", "day/*.json", "night/*"):
        assert not anything_at(str(Location(root=str(root), below=below)), NOWHERE)
    with pytest.raises(FeedError, match=r"no file matches .*/day/\*\.json; deliver one"):
        fetch(feed(), Location(root=str(root), below="day/*.json"), NOWHERE, tmp_path)


def test_a_folder_that_leads_out_of_the_root_is_refused(tmp_path: Path) -> None:
    """A link in the place of the folder doesn't show what lies elsewhere."""
    root = landing(tmp_path, "part.csv")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.csv").write_text("id\n")
    (root / "night").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FeedError, match="lies outside its root, through a link"):
        fetch(feed(), Location(root=str(root), below="night/*"), NOWHERE, tmp_path)


def test_more_files_than_can_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of files is bounded, and the error says so."""
    monkeypatch.setattr(files, "MAX_FILES", 2)
    root = landing(tmp_path, "a", "b", "c")
    with pytest.raises(FeedError, match=r"3 files match .*, and 2 are read at most"):
        fetch(feed(), Location(root=str(root), below="day/*"), NOWHERE, tmp_path)


def test_an_object_store_needs_airflow(tmp_path: Path) -> None:
    """Without connections a root in an object store is refused with the remedy."""
    with pytest.raises(FeedError, match="run the pipeline in Airflow"):
        fetch(feed(), Location(root="s3://lake/x", below="a.csv"), NOWHERE, tmp_path)


def test_a_folder_is_no_file_that_has_arrived(tmp_path: Path) -> None:
    """A folder whose name matches is not there when it is asked for, as it is not when files are fetched."""
    location = Location(root=str(landing(tmp_path, "part-1.csv/inside.csv")), below="day/part-*.csv")
    assert not anything_at(str(location), NOWHERE)
    landing(tmp_path, "part-2.csv")
    assert anything_at(str(location), NOWHERE)
    assert ["day/part-2.csv"] == [one.origin for one in fetch(feed(), location, NOWHERE, tmp_path).files]


@pytest.mark.parametrize("folder", ["day/part.csv", "night"])
def test_what_is_no_folder_holds_no_files(tmp_path: Path, folder: str) -> None:
    """A file in the place of the folder, or nothing, is a feed that has not come."""
    location = Location(root=str(landing(tmp_path, "part.csv")), below=f"{folder}/*.csv")
    assert not anything_at(str(location), NOWHERE)
    with pytest.raises(FeedError, match="no file matches"):
        fetch(feed(), location, NOWHERE, tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """The error shows the bytes of the name, so that the file can be found and renamed."""
    root = landing(tmp_path, "part-1.csv", os.fsdecode(b"part-\xff.csv"))
    location = Location(root=str(root), below="day/part-*.csv")
    assert anything_at(str(location), NOWHERE)
    with pytest.raises(
        FeedError, match=r"the name of .*/day/part-\\xff\.csv is no UTF-8; rename the file"
    ) as refused:
        fetch(feed(), location, NOWHERE, tmp_path)
    assert str(refused.value).encode()
