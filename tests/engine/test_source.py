"""A feed's file is opened only when it is what it should be."""

from __future__ import annotations

import gzip
import os
import re
import tracemalloc
from pathlib import Path

import pytest

from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.source import FD_FOLDER, open_source
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.fetched import SourceFile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a plain file, and a secret outside of it."""
    (tmp_path / "root").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "root" / "plain.csv").write_bytes(b"a\n1\n")
    (tmp_path / "secret.csv").write_bytes(b"a\n2\n")
    return tmp_path / "root"


def opened(root: Path, name: str) -> bytes:
    with open_source(
        SourceFile(path=root / name, root=root, origin="list"),
        feed_id="list",
        scratch=root.parent / "scratch",
    ) as source:
        return source.path.read_bytes()


def test_a_plain_file_is_opened_where_it_is(root: Path) -> None:
    """The engine reads the file itself, not a copy."""
    assert b"a\n1\n" == opened(root, "plain.csv")
    assert [] == list((root.parent / "scratch").iterdir())


def test_a_link_within_the_root_is_followed(root: Path) -> None:
    """Only leaving the root is forbidden."""
    (root / "latest.csv").symlink_to(root / "plain.csv")
    assert b"a\n1\n" == opened(root, "latest.csv")


def test_a_root_may_be_a_link_itself(root: Path) -> None:
    """The author's root is resolved too."""
    (root.parent / "alias").symlink_to(root)
    assert b"a\n1\n" == opened(root.parent / "alias", "plain.csv")


def make_link(root: Path) -> None:
    (root / "bad").symlink_to(root.parent / "secret.csv")


def make_folder_link(root: Path) -> None:
    (root / "up").symlink_to(root.parent)


def make_circle(root: Path) -> None:
    (root / "bad").symlink_to(root / "bad")


REFUSED = {
    "missing": (str, "bad", "list: bad can't be opened (No such file or directory)"),
    "dots": (str, "../secret.csv", "list: secret.csv lies outside its root"),
    "link out": (make_link, "bad", "list: bad lies outside its root"),
    "link in the path": (make_folder_link, "up/secret.csv", "list: secret.csv lies outside its root"),
    "circle": (make_circle, "bad", "list: bad can't be opened"),
    "folder": (lambda root: (root / "bad").mkdir(), "bad", "list: bad is no regular file"),
    "fifo": (lambda root: os.mkfifo(root / "bad"), "bad", "list: bad is no regular file"),
    "empty": (lambda root: (root / "bad").touch(), "bad", "list: bad is empty"),
    "not gzip": (
        lambda root: (root / "bad.gz").write_bytes(b"text"),
        "bad.gz",
        "ends in .gz and is not gzip",
    ),
    "cut gzip": (
        lambda root: (root / "bad.gz").write_bytes(gzip.compress(os.urandom(10_000))[:-2000]),
        "bad.gz",
        "cut off or damaged",
    ),
    "damaged gzip": (
        lambda root: (root / "bad.gz").write_bytes(b"\x1f\x8b\x08\x00" + b"\xff" * 100),
        "bad.gz",
        "cut off or damaged",
    ),
    "empty gzip": (lambda root: (root / "bad.gz").write_bytes(gzip.compress(b"")), "bad.gz", "is empty"),
    "bomb": (
        lambda root: (root / "bad.gz").write_bytes(gzip.compress(bytes(30_000_000))),
        "bad.gz",
        "unpacks to more than 200 times its size",
    ),
}


@pytest.mark.parametrize(("prepare", "name", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_file_is_refused_with_its_reason(root: Path, prepare, name: str, message: str) -> None:
    """What isn't a whole regular file below the root is a `FeedError` that says what to do."""
    prepare(root)
    with pytest.raises(FeedError, match=re.escape(message)):
        opened(root, name)


def test_gzip_is_known_by_its_bytes(root: Path) -> None:
    """Packed files need no special name."""
    (root / "packed.csv").write_bytes(gzip.compress(b"a\n") + gzip.compress(b"3\n"))
    assert b"a\n3\n" == opened(root, "packed.csv")


def test_small_files_may_be_packed_tightly(root: Path) -> None:
    """The ratio counts beyond the first 10 MB only."""
    (root / "zeros.gz").write_bytes(gzip.compress(bytes(9_000_000)))
    assert 9_000_000 == len(opened(root, "zeros.gz"))


def test_unpacking_needs_little_memory(root: Path) -> None:
    """Ten times as many bytes as are held at a time pass through."""
    (root / "noise.gz").write_bytes(gzip.compress(os.urandom(1_000_000).hex().encode() * 10))
    tracemalloc.start()
    with open_source(
        SourceFile(path=root / "noise.gz", root=root, origin="list"),
        feed_id="list",
        scratch=root.parent / "scratch",
    ) as source:
        peak = tracemalloc.get_traced_memory()[1]
        assert 20_000_000 == source.path.stat().st_size
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("change", ["more", "other"])
def test_a_file_that_changes_while_it_is_read_is_refused(root: Path, change: str) -> None:
    """Appended, replaced: the rows would be of two deliveries."""
    with pytest.raises(FeedError, match="was changed while it was read"):
        read_while(root, change)


def read_while(root: Path, change: str) -> None:
    with open_source(
        SourceFile(path=root / "plain.csv", root=root, origin="list"),
        feed_id="list",
        scratch=root.parent / "scratch",
    ):
        if change == "more":
            with (root / "plain.csv").open("ab") as file:
                file.write(b"2\n")
        else:
            (root / "new").write_bytes(b"a\n9\n")
            (root / "new").replace(root / "plain.csv")


def swap_file(root: Path) -> None:
    (root / "day" / "list.csv").unlink()
    (root / "day" / "list.csv").symlink_to(root.parent / "secret.csv")


def swap_folder(root: Path) -> None:
    (root / "day").rename(root / "was")
    (root.parent / "list.csv").write_bytes(b"a\n2\n")
    (root / "day").symlink_to(root.parent)


def swap_gone(root: Path) -> None:
    (root / "day" / "list.csv").unlink()


@pytest.fixture
def day(root: Path) -> Path:
    """A file in a folder of its own, below the root."""
    (root / "day").mkdir()
    (root / "day" / "list.csv").write_bytes(b"a\n1\n")
    return root / "day" / "list.csv"


SWAPS = {
    "file": (swap_file, "can't be read"),
    "folder": (swap_folder, "lies outside its root"),
    "gone": (swap_gone, "can't be read"),
}


@pytest.mark.usefixtures("day")
@pytest.mark.parametrize("folder", [FD_FOLDER, Path("/nowhere")], ids=["proc", "no proc"])
@pytest.mark.parametrize(("swap", "message"), SWAPS.values(), ids=SWAPS)
def test_a_path_that_is_swapped_before_it_is_opened_is_refused(
    root: Path, swap, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is where the opened file lies, not where its path led a moment ago."""
    really_open = os.open

    def swap_then_open(path: Path, flags: int) -> int:
        swap(root)
        return really_open(path, flags)

    monkeypatch.setattr("airflow_orchestration.engine.source.FD_FOLDER", folder)
    monkeypatch.setattr("airflow_orchestration.engine.source.os.open", swap_then_open)
    with pytest.raises(FeedError, match=message):
        opened(root, "day/list.csv")


@pytest.mark.skipif(not FD_FOLDER.exists(), reason="the engine reads by path where there is no /proc")
def test_a_path_that_is_swapped_and_swapped_back_changes_nothing(root: Path, day: Path) -> None:
    """The bytes are those of the file that was opened and checked."""
    scratch = root.parent / "scratch"
    with open_source(
        SourceFile(path=day, root=root, origin="list"), feed_id="list", scratch=scratch
    ) as source:
        day.rename(root / "kept")
        day.symlink_to(root.parent / "secret.csv")
        assert b"a\n1\n" == source.path.read_bytes()
        (root / "kept").replace(day)
        with sandbox(readable=[source.path], scratch=scratch) as connection:
            rows = connection.execute(f"FROM read_csv({literal(source.path)})").fetchall()
    assert [(1,)] == rows


@pytest.mark.parametrize("folder", [FD_FOLDER, Path("/nowhere")], ids=["proc", "no proc"])
@pytest.mark.parametrize("swap", [swap_file, swap_folder, swap_gone])
def test_a_path_that_is_swapped_while_it_is_read_is_refused(
    root: Path, day: Path, swap, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to another file in its place is noticed, a copy of the same size behind a folder's link too."""
    monkeypatch.setattr("airflow_orchestration.engine.source.FD_FOLDER", folder)
    with pytest.raises(FeedError, match="was changed while it was read"):
        swap_within(root, day, swap)


def swap_within(root: Path, path: Path, swap) -> None:
    with open_source(
        SourceFile(path=path, root=root, origin="list"), feed_id="list", scratch=root.parent / "scratch"
    ):
        swap(root)


def test_no_descriptor_is_left_open(root: Path) -> None:
    """Neither of a file that was read, nor of one that was refused."""
    (root / "folder").mkdir()
    before = len(list(Path("/dev/fd").iterdir()))
    opened(root, "plain.csv")
    with pytest.raises(FeedError):
        opened(root, "folder")
    assert before == len(list(Path("/dev/fd").iterdir()))
