"""One feed in several files: every row of each is staged or put aside, and says where it comes from."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from airflow_orchestration.engine.ingest import ingest
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.fetched import Fetched
from tests.engine.builders import PLACES, Bench, feed, rows_of

HEADER = b"id,name,size\n"
LINES = {
    "one.csv": HEADER + b"A,first,1\nB,b,x\nC,c,3\nC,again,4\n",
    "two.csv.gz": gzip.compress(HEADER + b"D,d,1\nA,second,2\n,e,5\nE,e,6\n"),
    "three.csv": b"size,id,name\n7,A,third\n8,F,f\n",
}


def test_rows_of_all_files_are_accounted_for(bench: Bench) -> None:
    """10 rows in = 5 staged + 5 aside, each with its file, its line there, its rule and itself."""
    done = bench.ingest_files(LINES)
    assert (10, 5, 5) == (done.rows_in, done.rows_staged, done.rows_quarantined)
    assert {"duplicate_key": 3, "required": 1, "type": 1} == done.rejects
    staged = [("A", "first", 1), ("C", "c", 2), ("D", "d", 3), ("E", "e", 4), ("F", "f", 5)]
    assert staged == rows_of(done.staged, "id, name, _position")
    assert [
        ("in/one.csv", 3, "type", "B,b,x"),
        ("in/one.csv", 5, "duplicate_key", "C,again,4"),
        ("in/two.csv.gz", 3, "duplicate_key", "A,second,2"),
        ("in/two.csv.gz", 4, "required", ",e,5"),
        ("in/three.csv", 2, "duplicate_key", "7,A,third"),
    ] == rows_of(done.quarantine, "origin, position, rule, raw")


@pytest.mark.parametrize(
    ("layout", "one", "other"),
    [
        ("json", b'[{"id":"A","name":"a","size":1}]', b'[{"id":"B","name":"b"},{"id":"A","name":"z"}]'),
        (
            "ndjson",
            b'{"id":"A","name":"a","size":1}',
            b'{"id":"B","name":"b","size":2}\n{"id":"A","name":"z"}',
        ),
    ],
)
def test_a_repeated_key_is_found_across_files_of_any_format(
    bench: Bench, layout: str, one: bytes, other: bytes
) -> None:
    """The row that stays is the one of the first file."""
    done = bench.ingest_files({"b": one, "a": other}, format=layout, columns={"id": "id", "name": "name"})
    assert [("A", "a"), ("B", "b")] == rows_of(done.staged, "id, name")
    assert [("in/a", 2, "duplicate_key")] == rows_of(done.quarantine, "origin, position, rule")


def test_no_file_is_no_row(bench: Bench) -> None:
    """A feed without files is empty, and has the columns of its contract."""
    found = Fetched(files=(), format=feed().format or pytest.fail("no format"))
    done = ingest(feed(), fetched=found, contract=PLACES, scratch=bench.scratch())
    assert (0, 0, 0) == (done.rows_in, done.rows_staged, done.rows_quarantined)
    assert [] == rows_of(done.staged, "id, name, size, _position")


def test_a_broken_file_among_good_ones_is_named(bench: Bench) -> None:
    """One file without the columns fails the feed, and the error says which it is."""
    with pytest.raises(FeedError, match=r"has no column 'name', 'size'.*This is about in/bad\.csv\."):
        bench.ingest_files({"good.csv": HEADER, "bad.csv": b"id\nA\n"})


def test_a_file_that_changes_before_its_repeats_are_read_again_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that repeat keys of earlier files are read a second time: of the same bytes, or not at all."""
    from airflow_orchestration.engine import combining  # noqa: PLC0415

    again = combining.reject_repeats

    def changed(*args: object) -> Path:
        (bench.folder / "in" / "two.csv").write_bytes(HEADER + b"X,x,1\n")
        return again(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(combining, "reject_repeats", changed)
    with pytest.raises(FeedError, match=r"two\.csv was changed while it was read"):
        bench.ingest_files({"one.csv": HEADER + b"A,a,1\n", "two.csv": HEADER + b"A,b,1\n"})


@pytest.mark.parametrize("layout", ["csv", "json"])
def test_a_file_delivered_twice_needs_little_memory(bench: Bench, layout: str) -> None:
    """Rows that repeat earlier ones are counted in Python, and held nowhere in it."""
    rows = [{"id": f"{number:08X}", "name": "n", "size": number % 1000} for number in range(30_000)]
    lines = HEADER + "".join("{id},{name},{size}\n".format(**row) for row in rows).encode()
    data = lines if layout == "csv" else json.dumps(rows).encode()
    del rows
    tracemalloc.start()
    done = bench.ingest_files({"a": data, "b": data}, format=layout)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {"duplicate_key": 30_000} == done.rejects
    assert balanced_by_file(done.quarantine, 30_000)
    assert peak < 6_000_000


def balanced_by_file(quarantine: Path | None, rows: int) -> bool:
    """Whether each row of the second file, and no other, is in the quarantine, in the order of the file."""
    found = rows_of(quarantine, "origin, position")
    return {"in/b"} == {origin for origin, _ in found} and rows == len(set(found)) and found == sorted(found)


def test_a_key_that_one_file_lacks_is_there_when_another_has_it(bench: Bench) -> None:
    """Absent means absent from all files: an optional key may be missing from a small one."""
    done = bench.ingest_files(
        {
            "a": b'{"id":"A","name":"a","size":1}',
            "b": b'{"id":"B","name":"b"}\n{"id":"C","name":"c","size":"x"}',
            "c": b'{"id":"D"}',
        },
        format="ndjson",
    )
    assert [("A", 1), ("B", None), ("D", None)] == rows_of(done.staged, "id, size")
    with pytest.raises(FeedError, match=r"no row has a column 'size'; change the feed's columns\.$"):
        bench.ingest_files({"a": b'{"id":"A","name":"a"}', "b": b'{"id":"B"}', "c": b"no"}, format="ndjson")


@pytest.mark.parametrize("nothing", [b"", b"\n", gzip.compress(b"")], ids=["empty", "one empty line", "gzip"])
def test_an_empty_file_of_lines_has_no_rows(bench: Bench, nothing: bytes) -> None:
    """NDJSON has neither header nor brackets: no bytes are no rows, alone or among other files."""
    done = bench.ingest_files({"a": b'{"id":"A","name":"a","size":1}', "b": nothing}, format="ndjson")
    assert (1, 1, 0) == (done.rows_in, done.rows_staged, done.rows_quarantined)
    done = bench.ingest_files({"b": nothing}, format="ndjson")
    assert (0, 0, 0) == (done.rows_in, done.rows_staged, done.rows_quarantined)


@pytest.mark.parametrize("layout", ["csv", "json"])
def test_an_empty_file_of_another_format_is_refused_and_named(bench: Bench, layout: str) -> None:
    """Without its header or brackets a file is no complete one: it may still be on its way."""
    good = HEADER if layout == "csv" else b"[]"
    with pytest.raises(
        FeedError, match=r"bad is empty; .* has at least its header or \[\]\. This is about in/bad"
    ):
        bench.ingest_files({"good": good, "bad": b""}, format=layout)
