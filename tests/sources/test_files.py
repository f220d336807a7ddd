"""Files by pattern below a folder: which ones, in which order, and never outside of it."""

from __future__ import annotations

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
