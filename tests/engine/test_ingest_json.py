"""JSON arrays are read as a whole or refused; NDJSON lines are judged one by one."""

from __future__ import annotations

import codecs
import gzip
import json
import re

import pytest

from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import Bench, balanced, rejected, rows_of

A, B, C = (b'{"id": "%s", "name": "n", "size": %d}' % (key, n) for n, key in enumerate((b"A", b"B", b"C"), 1))

ARRAYS: dict[str, tuple[bytes, list[int], list[tuple[int, str]]]] = {
    "plain": (b"[" + A + b"," + B + b"]", [1, 2], []),
    "empty": (b"[]", [], []),
    "spread over lines": (b"[\n" + A.replace(b",", b",\n") + b"\n,\n" + B + b"\n]\n", [1, 2], []),
    "with a mark": (codecs.BOM_UTF8 + b"[" + A + b"]", [1], []),
    "null among the objects": (b"[" + A + b",null," + B + b"]", [1, 3], [(2, "required")]),
    "missing keys": (b"[" + A + b',{"id": "B"},{"name": "x"}]', [1, 2], [(3, "required")]),
    "other case": (b"[" + A + b',{"ID": "B"}]', [1], [(2, "required")]),
    "more keys": (b"[" + A + b',{"id": "B", "more": {"x": [1]}}]', [1, 2], []),
    "lossy": (b"[" + A + b',{"id": "B", "size": 1.7},{"id": "C", "size": 3.0}]', [1, 3], [(2, "type")]),
    "nested where a number is expected": (b"[" + A + b',{"id": "B", "size": {"a": 1}}]', [1], [(2, "type")]),
    "NUL in a text": (b"[" + A + b',{"id": "B", "name": "x\\u0000y"}]', [1], [(2, "malformed")]),
    "duplicates": (b"[" + A + b"," + A + b"," + B + b"]", [1, 3], [(2, "duplicate_key")]),
}


@pytest.mark.parametrize(("data", "staged", "aside"), ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("packed", [False, True], ids=["", "gzip"])
def test_every_object_of_an_array_is_staged_or_put_aside(
    bench: Bench, data: bytes, staged: list[int], aside: list[tuple[int, str]], packed: bool
) -> None:
    """The position is the place in the array, from 1."""
    done = bench.ingest(gzip.compress(data) if packed else data, format="json")
    assert staged == [position for (position,) in rows_of(done.staged, "_position")]
    assert aside == rejected(done)
    assert balanced(done)


BROKEN: dict[str, tuple[bytes, str]] = {
    "truncated": (b"[" + A + b"," + B[:-5] + b"]", "list: the file is no complete JSON, near byte"),
    "truncated within an object": (b"[" + A + b"," + B[:-5], "it doesn't end with ]"),
    "truncated behind an object": (b"[" + A + b",", "it doesn't end with ]"),
    "without its end": (b"[" + A, "the file is no complete JSON"),
    "an object": (A, "the JSON is no array of objects"),
    "an object with rows": (b'{"rows": [' + A + b"]}", "the JSON is no array of objects"),
    "ndjson": (A + b"\n" + B, "declare format: ndjson"),
    "a text": (b'"rows"', "the JSON is no array of objects"),
    "only blanks": (b"  \n", "the JSON is no array of objects"),
    "texts": (b'["a", "b"]', "the file is no complete JSON, near record/value 1"),
    "something behind": (b"[" + A + b"] and more", "the file is no complete JSON"),
    "trailing comma": (b"[" + A + b",]", "the file is no complete JSON"),
    "not UTF-8": (b"[" + A.replace(b'"n"', b'"\xe9"') + b"]", "the file is no complete JSON"),
    "a key twice": (b'[{"id": "A", "id": "B"}]', "the file is no complete JSON, near record/value 1"),
    "UTF-16": (b"[" + A + b"]", "the file is UTF-16"),
    "empty": (b"", "list.csv is empty"),
    "no such key": (b'[{"id": "A", "name": "n"}]', "no row has a column 'size'"),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_array_is_refused(bench: Bench, data: bytes, message: str) -> None:
    """There are no lines to put aside: the message says where as well as the engine can."""
    if message.endswith("UTF-16"):
        data = data.decode().encode("utf-16")
    with pytest.raises(FeedError, match=re.escape(message)) as caught:
        bench.ingest(data, format="json")
    assert '"A"' not in str(caught.value)


@pytest.mark.parametrize("value", [b'"B"', b"7", b"true", b'["B"]'])
def test_one_mapped_column_takes_no_bare_value(bench: Bench, value: bytes) -> None:
    """An engine that is asked for one column may take what stands where an object should for its value."""
    one = {"columns": {"id": "id"}}
    with pytest.raises(FeedError, match="the file is no complete JSON, near record/value"):
        bench.ingest(b'[{"id": "A"}, ' + value + b"]", format="json", **one)
    done = bench.ingest(b'{"id": "A"}\n' + value + b"\n", format="ndjson", **one)
    assert [1] == [position for (position,) in rows_of(done.staged, "_position")]
    assert [(2, "malformed")] == rejected(done)


def test_a_key_whose_values_are_all_null_is_there(bench: Bench) -> None:
    """Absent from all rows is an error of the mapping, null in all rows is data."""
    done = bench.ingest(b'[{"id": "A", "name": null, "size": ""}]', format="json")
    assert [("A", None, None)] == rows_of(done.staged, "id, name, size")


def test_json_names_need_no_rules(bench: Bench) -> None:
    """Keys with quotes, dots, blanks and slashes are keys like others; one that looks like a path is quoted."""
    names = {"id": "the 'id'", "name": 'a."b"/~c', "size": '$."$.size[0]"'}
    data = json.dumps([{"the 'id'": "A", 'a."b"/~c': "n", "$.size[0]": 1}]).encode()
    assert [("A", "n", 1)] == rows_of(
        bench.ingest(data, format="json", columns=names).staged, "id, name, size"
    )
    with pytest.raises(FeedError, match="no row has a column"):
        bench.ingest(data, format="json", columns={**names, "size": "a/b~"})


def test_numbers_booleans_and_objects_become_text(bench: Bench) -> None:
    """A text column takes what JSON says."""
    data = b'[{"id":"A","name":12},{"id":"B","name":true},{"id":"C","name":{"a":[1]}},{"id":"D","name":""}]'
    done = bench.ingest(data, format="json", columns={"id": "id", "name": "name"})
    assert ["12", "true", '{"a":[1]}', None] == [name for (name,) in rows_of(done.staged, "name")]


def test_the_raw_of_an_object_is_json(bench: Bench) -> None:
    """Its mapped fields, as the feed has them."""
    done = bench.ingest(b'[{"id": "A", "name": "x", "size": "big"}]', format="json")
    ((raw,),) = rows_of(done.quarantine, "raw")
    assert {"id": "A", "name": "x", "size": "big"} == json.loads(raw)


LINES: dict[str, tuple[bytes, list[int], list[tuple[int, str]]]] = {
    "plain": (A + b"\n" + B + b"\n", [1, 2], []),
    "no line end at the end": (A + b"\n" + B, [1, 2], []),
    "with a mark": (codecs.BOM_UTF8 + A + b"\n" + B, [1, 2], []),
    "CRLF": (A + b"\r\n" + B + b"\r\n", [1, 2], []),
    "blank lines": (b"\n" + A + b"\n\n  \n" + B + b"\n\n", [2, 5], []),
    "only blank lines": (b"\n\n", [], []),
    "blanks around objects": (b"  " + A + b"  \n\t" + B, [1, 2], []),
    "malformed": (A + b"\n{oops\n" + B, [1, 3], [(2, "malformed")]),
    "truncated": (A + b"\n" + B[:-4], [1], [(2, "malformed")]),
    "null": (A + b"\nnull\n" + B, [1, 3], [(2, "malformed")]),
    "null among malformed lines": (A + b"\nnull\n{\n" + B, [1, 4], [(2, "malformed"), (3, "malformed")]),
    "no objects": (A + b'\n5\n"x"\n[1]\ntrue\n' + B, [1, 6], [(n, "malformed") for n in (2, 3, 4, 5)]),
    "two in a line": (A + b"\n" + B + B + b"\n" + C, [1, 3], [(2, "malformed")]),
    "one over two lines": (A + b'\n{"id":\n"B"}\n' + C, [1, 4], [(2, "malformed"), (3, "malformed")]),
    "comma at the end": (A + b"\n" + B + b",\n" + C, [1, 3], [(2, "malformed")]),
    "comma in the object": (A + b'\n{"id": "B",}\n' + C, [1, 3], [(2, "malformed")]),
    "something behind": (A + b"\n" + B + b" x\n" + C, [1, 3], [(2, "malformed")]),
    "a key twice": (A + b'\n{"id": "B", "id": "X"}\n' + C, [1, 3], [(2, "malformed")]),
    "not UTF-8": (A + b'\n{"id": "B", "name": "\xe9"}\n' + C, [1, 3], [(2, "malformed")]),
    "lone surrogate": (A + b'\n{"id": "B", "name": "\\ud800"}\n' + C, [1, 3], [(2, "malformed")]),
    "NUL": (A + b'\n{"id": "B", "name": "\0"}\n' + C, [1, 3], [(2, "malformed")]),
    "NUL in a text": (A + b'\n{"id": "B", "name": "\\u0000"}\n' + C, [1, 3], [(2, "malformed")]),
    "control character": (A + b'\n{"id": "B", "name": "\x01"}\n' + C, [1, 3], [(2, "malformed")]),
    "lone CR": (A + b'\n{"id": "B",\r"name": "x"}\n' + C, [1, 3], [(2, "malformed")]),
    "deep": (A + b"\n" + b'{"id":' * 5000 + b"1" + b"}" * 5000 + b"\n{\n" + C, [1, 4], [(2, "malformed"), (3, "malformed")]),
    "too deep": (A + b"\n" + b'{"id":' * 501 + b"1" + b"}" * 501 + b"\n{\n" + C, [1, 4], [(2, "malformed"), (3, "malformed")]),
    "deep enough": (A + b'\n{"id": "B", "size": ' + b"[" * 499 + b"]" * 499 + b"}\n{\n" + C, [1, 4], [(2, "type"), (3, "malformed")]),
    "brackets in a text": (A + b'\n{"id": "B", "name": "' + b"[" * 600 + b'\\""}\n{\n' + C, [1, 2, 4], [(3, "malformed")]),
    "3 MB line": (A + b'\n{"name": "' + b"x" * 3_000_000 + b'"}\n' + C, [1, 3], [(2, "malformed")]),
    "missing key": (A + b'\n{"name": "x"}\n' + C, [1, 3], [(2, "required")]),
    "empty object": (A + b"\n{}\n" + C, [1, 3], [(2, "required")]),
    "lossy": (A + b'\n{"id": "B", "size": 1.5}\n' + C, [1, 3], [(2, "type")]),
    "huge number": (A + b'\n{"id": "B", "size": 1e999}\n' + C, [1, 3], [(2, "type")]),
    "duplicates": (A + b"\n" + A + b"\n" + B, [1, 3], [(2, "duplicate_key")]),
    "all malformed": (b"a\nb\n", [], [(1, "malformed"), (2, "malformed")]),
}  # fmt: skip


@pytest.mark.parametrize(("data", "staged", "aside"), LINES.values(), ids=LINES)
@pytest.mark.parametrize("packed", [False, True], ids=["", "gzip"])
def test_every_ndjson_line_is_staged_or_put_aside_at_its_number(
    bench: Bench, data: bytes, staged: list[int], aside: list[tuple[int, str]], packed: bool
) -> None:
    """The position is the physical line, blank lines included."""
    done = bench.ingest(gzip.compress(data) if packed else data, format="ndjson")
    assert staged == [position for (position,) in rows_of(done.staged, "_position")]
    assert aside == rejected(done)
    assert balanced(done)


def test_the_raw_of_an_ndjson_row_is_its_line(bench: Bench) -> None:
    """As it stands in the file, cut at 1000 characters."""
    line = b'{"id": "B",   "size": "' + b"9" * 2000 + b'"}'
    done = bench.ingest(b"{oops\n" + A + b"\n" + line, format="ndjson")
    assert ["{oops", line.decode()[:1000]] == [raw for (raw,) in rows_of(done.quarantine, "raw")]


def test_an_ndjson_null_is_malformed_even_where_keyless_rows_are_out_of_scope(bench: Bench) -> None:
    """What is no row at all is not a row without a key."""
    done = bench.ingest(A + b"\nnull\n{}\n", format="ndjson", keyless_rows="out_of_scope")
    assert [(2, "malformed"), (3, "out_of_scope")] == rejected(done)


def test_a_mapped_column_that_no_ndjson_row_has_is_refused(bench: Bench) -> None:
    """The mapping is wrong, not every row."""
    with pytest.raises(FeedError, match="no row has a column 'size'"):
        bench.ingest(b'{"id": "A", "name": "x"}\n{oops\n', format="ndjson")
