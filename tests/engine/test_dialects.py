"""CSV as others write it: quotes, no quotes, no header, other encodings, decimal commas, packed with zstd."""

from __future__ import annotations

import sys

import pytest

from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import Bench, balanced, contract, rejected, rows_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NUMBERED = {"id": "1", "name": "2", "size": "3"}
NUMBER = contract({"name": "x", "type": "number"}, {"name": "n", "type": "integer"})


def test_another_quote_encloses_delimiters_and_itself(bench: Bench) -> None:
    """With quote ' a field may hold the delimiter and a doubled quote; " is a letter like any other."""
    done = bench.ingest(b"id,name,size\nA,'a, ''b''',1\nB,\"x\",2\nC,'open,3\n", quote="'")
    assert [("A", "a, 'b'", 1), ("B", '"x"', 2)] == rows_of(done.staged, "id, name, size")
    assert [(4, "malformed")] == rejected(done)
    assert balanced(done)


def test_without_a_quote_nothing_is_quoted(bench: Bench) -> None:
    """With quote empty a quotation mark is a letter, and a line with one more delimiter is put aside."""
    done = bench.ingest(b'id,name,size\nA,"a,1\nB,5" x 3",2\nC,"a,b",3\n', quote="")
    assert [("A", '"a', 1), ("B", '5" x 3"', 2)] == rows_of(done.staged, "id, name, size")
    assert [(4, "malformed")] == rejected(done)
    assert [('C,"a,b",3',)] == rows_of(done.quarantine, "raw")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a mark"])
def test_columns_without_a_header_are_numbered(bench: Bench, mark: bytes) -> None:
    """The first line is a row, columns are called 1, 2, ..., and the usual width decides which lines are ragged."""
    data = mark + b"A,a,1\nB,b\nC,c,3\nD,d,x\n"
    done = bench.ingest(data, header=False, columns=NUMBERED)
    assert [("A", 1), ("C", 3)] == rows_of(done.staged, "id, _position")
    assert [(2, "malformed"), (4, "type")] == rejected(done)
    with pytest.raises(FeedError, match=r"has no column '4'\. Expected '1', '4', got '1', '2', '3'"):
        bench.ingest(data, header=False, columns={"id": "1", "name": "4"})


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "utf-16"])
def test_other_encodings_are_read(bench: Bench, encoding: str) -> None:
    """Letters of the feed's encoding arrive as they were written, at their lines."""
    text = "id,name,size\r\nA,Z\xfcrich \xe9,1\r\nB,,x\r\n"
    done = bench.ingest(text.encode(encoding), encoding=encoding)
    assert [("A", "Z\xfcrich \xe9", 1)] == rows_of(done.staged, "id, name, size")
    assert [(3, "type")] == rejected(done)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_half_a_letter_puts_its_line_aside(bench: Bench, codec: str) -> None:
    """A lone surrogate in UTF-16 is no letter: its line is malformed, and no other."""
    data = "\ufeffid,name,size\nA,a,1\nB,\ud800,2\nC,c,3\n".encode(codec, "surrogatepass")
    done = bench.ingest(data, encoding="utf-16")
    assert [("A",), ("C",)] == rows_of(done.staged, "id")
    assert [(3, "malformed")] == rejected(done)


def test_a_cut_last_letter_puts_its_line_aside(bench: Bench) -> None:
    """A UTF-16 file that ends inside a letter loses the last line only, and says so."""
    done = bench.ingest("id,name,size\nA,a,1\nB,b,2".encode("utf-16") + b"\x41", encoding="utf-16")
    assert [(3, "malformed")] == rejected(done)
    assert balanced(done)


def test_a_byte_without_a_letter_puts_its_line_aside(bench: Bench) -> None:
    """Windows-1252 has no letter 0x81: the line is malformed with its number and reason."""
    done = bench.ingest(b"id,name,size\nA,\x80,1\nB,\xe9\x81,2\n", encoding="windows-1252")
    assert [("A", "\u20ac")] == rows_of(done.staged, "id, name")
    reason = "The line holds bytes that are no letter in the feed's encoding."
    assert [(3, "malformed", reason)] == rows_of(done.quarantine, "position, rule, reason")


def test_a_file_in_plainly_another_encoding_is_refused(bench: Bench) -> None:
    """A byte order mark that contradicts the feed's encoding fails the feed."""
    with pytest.raises(FeedError, match="the file is UTF-8; deliver it in the feed's encoding"):
        bench.ingest(b"\xef\xbb\xbfid,name,size\nA,a,1\n", encoding="latin-1")
    with pytest.raises(FeedError, match="the file is UTF-16; deliver it in the feed's encoding"):
        bench.ingest("id,name,size\nA,a,1\n".encode("utf-16"), encoding="latin-1")


def test_a_decimal_comma_is_a_point_and_a_point_is_none(bench: Bench) -> None:
    """With decimal , 1,5 is one and a half; 1.5 and 1.234,5 are no numbers."""
    data = b"id;x;n\nA;1,5;7,0\nB;1.5;1\nC;1.234,5;2\nD;-2,25e2;3\nE;1;1,5\n"
    columns = {"id": "id", "x": "x", "n": "n"}
    done = bench.ingest(data, rules=NUMBER, columns=columns, delimiter=";", decimal=",")
    assert [("A", 1.5, 7), ("D", -225.0, 3)] == rows_of(done.staged, "id, x, n")
    assert [(3, "type"), (4, "type"), (6, "type")] == rejected(done)
    reason = "Expected a finite number, written with digits, a comma and perhaps an exponent, without marks for thousands."
    assert [(reason,)] * 2 == rows_of(done.quarantine, "reason")[:2]


@pytest.mark.parametrize("layout", ["csv", "ndjson"])
def test_zstd_is_unpacked(bench: Bench, layout: str) -> None:
    """A feed packed with zstd, of several frames, is read as the plain one."""
    data = {"csv": b"id,name,size\nA,a,1\n", "ndjson": b'{"id":"A","name":"a","size":1}\n'}[layout]
    packed = zstd.compress(data[:10]) + zstd.compress(data[10:])
    done = bench.ingest(packed, name="list.zst", format=layout)
    assert [("A", "a", 1)] == rows_of(done.staged, "id, name, size")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zstd.compress(b"id,name,size\nA,a,1\n")[:-3], "is cut off or damaged inside its zstd"),
        (zstd.compress(b"a" * 50_000_000), "unpacks to more than 200 times its size"),
        (b"id,name,size\nA,a,1\n", "ends in .zst and is not zstd"),
    ],
    ids=["cut", "bomb", "plain"],
)
def test_a_bad_zstd_file_is_refused(bench: Bench, data: bytes, said: str) -> None:
    """A cut file, a bomb, and a file that only claims to be packed fail the feed."""
    with pytest.raises(FeedError, match=said):
        bench.ingest(data, name="list.zst")


def test_bytes_are_limited_by_the_feed(bench: Bench) -> None:
    """What unpacks to more than limits.bytes fails the feed, and names the limit."""
    data = zstd.compress(b"id,name,size\n" + b"A,a,1\n" * 100)
    with pytest.raises(FeedError, match=r"more than 500 bytes, the feed's limits\.bytes"):
        bench.ingest(data, name="list.zst", limits={"bytes": 500})
