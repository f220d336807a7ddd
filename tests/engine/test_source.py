"""A feed's file is opened only when it is what it should be."""

from __future__ import annotations

import gzip
import os
import re
import tracemalloc
from pathlib import Path

import pytest

from airflow_orchestration.engine.source import open_source
from airflow_orchestration.exceptions import FeedError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a plain file, and a secret outside of it."""
    (tmp_path / "root").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "root" / "plain.csv").write_bytes(b"a\n1\n")
    (tmp_path / "secret.csv").write_bytes(b"a\n2\n")
    return tmp_path / "root"


def opened(root: Path, name: str) -> bytes:
    with open_source(root, root / name, feed_id="list", scratch=root.parent / "scratch") as source:
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
    with open_source(root, root / "noise.gz", feed_id="list", scratch=root.parent / "scratch") as source:
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
    with open_source(root, root / "plain.csv", feed_id="list", scratch=root.parent / "scratch"):
        if change == "more":
            with (root / "plain.csv").open("ab") as file:
                file.write(b"2\n")
        else:
            (root / "new").write_bytes(b"a\n9\n")
            (root / "new").replace(root / "plain.csv")
