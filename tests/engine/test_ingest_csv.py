"""Every physical line of a CSV file is staged or put aside, whatever the file looks like."""

from __future__ import annotations

import codecs
import gzip
import re
from typing import Any

import pytest

from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import PLACES, QUARANTINE, Bench, balanced, contract, rejected, rows_of

HEADER = b"id,name,size\n"
BIG = b"x" * 3_000_000

# Name: bytes after the header, (position of every staged row), [(position, rule) of every other row].
FILES: dict[str, tuple[bytes, list[int], list[tuple[int, str]]]] = {
    "plain": (b"A,a,1\nB,b,2\n", [2, 3], []),
    "header only": (b"", [], []),
    "no line end at the end": (b"A,a,1\nB,b,2", [2, 3], []),
    "CRLF in the data only": (b"A,a,1\r\nB,b,2\r\n", [2, 3], []),
    "mixed line ends": (b"A,a,1\nB,b,2\r\nC,c,3\nD,d,4\r\n", [2, 3, 4, 5], []),
    "CRLF without a last line end": (b"A,a,1\r\nB,b,2", [2, 3], []),
    "lone CR": (b"A,a,1\nB,b\rx,2\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "CR at the line end twice": (b"A,a,1\nB,b,2\r\r\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "old Mac file": (b"A,a,1\rB,b,2\r", [], [(2, "malformed")]),
    "blank lines": (b"\nA,a,1\n\n\nB,b,2\n\n", [3, 6], []),
    "blank CRLF lines": (b"A,a,1\r\n\r\nB,b,2\r\n\r\n", [2, 4], []),
    "only blank lines": (b"\n\n\n", [], []),
    "line of blanks": (b"A,a,1\n   \nB,b,2\n", [2, 4], [(3, "malformed")]),
    "NUL": (b"A,a,1\nB,b\0b,2\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "latin-1 byte": (b"A,a,1\nB,caf\xe9,2\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "UTF-8": ("A,café,1\nB,東京,2\nC,𝄞,3\n".encode(), [2, 3, 4], []),
    "too few": (b"A,a,1\nB,b\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "too many": (b"A,a,1\nB,b,2,x\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "one too few and one too many": (b"A,a\nB,b,2,x\nC,c,3\n", [4], [(2, "malformed"), (3, "malformed")]),
    "delimiter at every end": (b"A,a,1,\nB,b,2,\n", [], [(2, "malformed"), (3, "malformed")]),
    "open quote": (b'A,a,1\nB,"b,2\nC,c,3\nD,d,4\n', [2, 4, 5], [(3, "malformed")]),
    "two open quotes": (b'A,"a,1\nB,b,2\nC,"c,3\nD,d,4\n', [3, 5], [(2, "malformed"), (4, "malformed")]),
    "open quote in the last line": (b'A,a,1\nB,b,"2', [2], [(3, "malformed")]),
    "quote at the end of the file": (b'A,a,1\nB,b,2"', [2], [(3, "type")]),
    "an even number of quotes, the last one open": (
        b'A,a"b,"1\nB,b,2\nC,"c",3\n',
        [3, 4],
        [(2, "malformed")],
    ),
    "text after a closing quote": (b'A,"a"b,1\nB,b,2\n', [3], [(2, "malformed")]),
    "a quote that looks closed from afar": (b'A,x"a,b"y,1\nB,b,2\n', [3], [(2, "malformed")]),
    "quoted": (b'"A","a, b",1\n"B","say ""b""",2\n"C","",""\n', [2, 3, 4], []),
    "quotes of every shape": (b'A,"""a""",1\nB,"b,"",""",2\nC,"c",3\n', [2, 3, 4], []),
    "inch sign in plain text": (b'A,5" pipe,1\nB,b,2\n', [2, 3], []),
    "blanks around quotes": (b'A, "a" ,1\nB,"b" ,2\n', [2, 3], []),
    "backslash before a quote": (b'A,\\"a,1\nB,"\\"b",2\nC,c,3\n', [2, 4], [(3, "malformed")]),
    "quoted line break": (b'A,"a\nb",1\nC,c,3\n', [4], [(2, "malformed"), (3, "malformed")]),
    "3 MB line": (b"A,a,1\nB," + BIG + b",2\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "3 MB line at the end": (b"A,a,1\nB," + BIG, [2], [(3, "malformed")]),
    "3 MB of quotes": (b"A,a,1\n" + BIG.replace(b"x", b'"') + b"\nC,c,3\n", [2, 4], [(3, "malformed")]),
    "a line of just under 1 MiB": (b"A," + b"x" * 1_000_000 + b",1\nB,b,2\n", [2, 3], []),
    "a line of just over 1 MiB": (b"A," + b"x" * 1_048_576 + b",1\nB,b,2\n", [3], [(2, "malformed")]),
    "many long lines": (
        (b"A," + b"x" * 1_100_000 + b",1\n") * 3 + b"B,b,2\n",
        [5],
        [(n, "malformed") for n in (2, 3, 4)],
    ),
    "UTF-8 across blocks": (
        ("A,€,1\n" * 1).encode() + b"B," + "€".encode() * 349_000 + b",2\nC,c,3\n",
        [2, 3, 4],
        [],
    ),
    "comment sign": (b"#A,a,1\nB,b,2\n", [3], [(2, "pattern")]),
    "header repeated": (b"id,name,size\nA,a,1\n", [3], [(2, "pattern")]),
    "every line bad": (b"x\ny\nz\n", [], [(2, "malformed"), (3, "malformed"), (4, "malformed")]),
    "duplicates": (b"A,a,1\nB,b,2\nA,c,3\nA,a,1\n", [2, 3], [(4, "duplicate_key"), (5, "duplicate_key")]),
    "a bad row doesn't claim a key": (b"A,a,-1\nA,a,1\n", [3], [(2, "minimum")]),
    "empty key": (b",a,1\nB,b,2\n", [3], [(2, "required")]),
    "wrong key": (b"a-b,a,1\nB,b,2\n", [3], [(2, "pattern")]),
}


@pytest.mark.parametrize(("data", "staged", "aside"), FILES.values(), ids=FILES)
def test_every_line_is_staged_or_put_aside_at_its_number(
    bench: Bench, data: bytes, staged: list[int], aside: list[tuple[int, str]]
) -> None:
    """The edge files: which line numbers come out where, and nothing is left over."""
    done = bench.ingest(HEADER + data)
    assert staged == [position for (position,) in rows_of(done.staged, "_position")]
    assert aside == rejected(done)
    assert balanced(done)


@pytest.mark.parametrize(("data", "staged", "aside"), FILES.values(), ids=FILES)
def test_a_byte_order_mark_and_gzip_change_nothing(
    bench: Bench, data: bytes, staged: list[int], aside: list[tuple[int, str]]
) -> None:
    """The same files behind a UTF-8 mark, packed."""
    done = bench.ingest(gzip.compress(codecs.BOM_UTF8 + HEADER + data, 1), name="list.csv.gz")
    assert (len(staged), aside) == (done.rows_staged, rejected(done))
    assert balanced(done)


@pytest.mark.parametrize(("data", "staged", "aside"), FILES.values(), ids=FILES)
def test_the_header_may_come_late_and_with_other_line_ends(
    bench: Bench, data: bytes, staged: list[int], aside: list[tuple[int, str]]
) -> None:
    """Two blank lines and a CRLF header move every number by two."""
    done = bench.ingest(b"\n\r\n" + HEADER.replace(b"\n", b"\r\n") + data)
    assert [number + 2 for number in staged] == [
        position for (position,) in rows_of(done.staged, "_position")
    ]
    assert [(number + 2, rule) for number, rule in aside] == rejected(done)


REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "empty": (b"", {}, "list.csv is empty"),
    "no header": (b"\n\n", {}, "has no header"),
    "missing column": (b"id,name\nA,a\n", {}, "no column 'size'. Expected 'id', 'name', 'size', got 'id', 'name'"),
    "other delimiter": (b"id;name;size\nA;a;1\n", {}, "got 'id;name;size'; change the feed's columns or its delimiter"),
    "other case": (b"ID,name,size\nA,a,1\n", {}, "no column 'id'"),
    "duplicate": (b"id,name,size,name\nA,a,1,b\n", {}, "names 'name' twice"),
    "duplicate of a column that isn't used": (b"id,name,size,x,x\nA,a,1,,\n", {}, "names 'x' twice"),
    "header with an open quote": (b'id,"name,size\nA,a,1\n', {}, "the header is no line of CSV"),
    "header in latin-1": (b"id,name,size,gr\xf6\xdfe\nA,a,1,2\n", {}, "the header is no line of CSV in UTF-8"),
    "UTF-16": ("id,name,size\nA,a,1\n".encode("utf-16"), {}, "the file is UTF-16; deliver it in the feed's encoding"),
    "UTF-16 without a mark": ("id,name,size\nA,a,1\n".encode("utf-16-le"), {}, "the file is UTF-16"),
    "UTF-32": ("id,name,size\nA,a,1\n".encode("utf-32"), {}, "the file is UTF-32"),
    "key not mapped": (HEADER, {"columns": {"name": "name"}}, "maps nothing to the key column id"),
    "extract that RE2 doesn't know": (
        HEADER,
        {"columns": {"id": "id", "name": {"column": "name", "extract": "(?=a)(b)"}}},
        "columns.name.extract is no RE2 expression",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_such_table_is_refused(
    bench: Bench, data: bytes, changes: dict[str, Any], message: str
) -> None:
    """What is wrong with the whole file is one `FeedError` naming place and remedy."""
    with pytest.raises(FeedError, match=re.escape(message)):
        bench.ingest(data, **changes)


def test_the_counts_of_a_small_file(bench: Bench) -> None:
    """Counts, rejects by rule and measures are over what they say they are."""
    done = bench.ingest(HEADER + b"A,a,1\nA,b,2\nB,,3\nC,c,x\nD,d,1001\n\n,e,5\nF\n")
    assert (7, 2, 5, 0) == (done.rows_in, done.rows_staged, done.rows_quarantined, done.rows_out_of_scope)
    expected = {"duplicate_key": 1, "malformed": 1, "maximum": 1, "required": 1, "type": 1}
    assert expected == done.rejects
    filled = 3 + 3 + 2 + 3 + 3 + 2 + 0
    assert (filled / 21, 3 / 7, 2 / 3) == (
        done.measures.completeness,
        done.measures.validity,
        done.measures.uniqueness,
    )


def test_the_staged_file_has_the_contracts_columns_and_types(bench: Bench) -> None:
    """In the contract's order and types whatever the feed's order is, then `_position`; unmapped is null."""
    done = bench.ingest(b"size,extra,id\n1,x,A\n,y,B\n", columns={"id": "id", "size": "size"})
    assert [("A", None, 1, 2), ("B", None, None, 3)] == rows_of(done.staged)
    assert [("VARCHAR", "VARCHAR", "BIGINT", "BIGINT")] == rows_of(
        done.staged, "typeof(id), typeof(name), typeof(size), typeof(_position)"
    )[:1]
    assert 3 / 4 == done.measures.completeness


def test_a_quarantine_record_says_what_was_expected(bench: Bench) -> None:
    """Feed, line, rule, column, a sentence without the value, and the raw line cut at 1000 characters."""
    done = bench.ingest(HEADER + b'A,"a ""b""",1.7\nB,b,' + b"9" * 2000 + b"\nC,\xff\0\n")
    first, second, third = rows_of(done.quarantine, ", ".join(QUARANTINE))
    reason = "Expected a whole number of at most 64 bits, written with digits."
    assert ("list", "in/list.csv", 2, "type", "size", reason, 'A,"a ""b""",1.7') == first
    assert (3, "type", 1000) == (*second[2:4], len(second[6]))
    assert (
        "list",
        "in/list.csv",
        4,
        "malformed",
        None,
        "The line holds a NUL or control character.",
        "C,\ufffd\u2400",
    ) == third


def test_without_rejects_there_is_no_quarantine(bench: Bench) -> None:
    """`quarantine` is None, all measures are 1."""
    done = bench.ingest(HEADER + b"A,a,1\n")
    assert (None, {}) == (done.quarantine, done.rejects)
    assert (1.0, 1.0, 1.0) == (
        done.measures.completeness,
        done.measures.validity,
        done.measures.uniqueness,
    )


@pytest.mark.parametrize(("data", "validity"), [(b"", 1.0), (b"\n", 1.0), (b"A,a,x\n", 0.0), (b"A\n", 0.0)])
def test_validity_without_valid_rows(bench: Bench, data: bytes, validity: float) -> None:
    """1 when there is nothing to judge, 0 when everything was found invalid."""
    assert validity == bench.ingest(HEADER + data).measures.validity


KEYLESS = b"A,a,1\n,b,x\nb-c,c,3\nD,d,x\nE\n"


def test_keyless_rows_are_invalid_unless_the_author_says_otherwise(bench: Bench) -> None:
    """The ordinary rules reject them, and they count."""
    done = bench.ingest(HEADER + KEYLESS)
    assert [(3, "required"), (4, "pattern"), (5, "type"), (6, "malformed")] == rejected(done)
    assert (0, 1 / 5) == (done.rows_out_of_scope, done.measures.validity)


def test_keyless_rows_out_of_scope_are_put_aside_without_a_mark(bench: Bench) -> None:
    """Whatever else is wrong with them; they keep no raw text and don't count in any measure."""
    done = bench.ingest(HEADER + KEYLESS, keyless_rows="out_of_scope")
    assert [(3, "out_of_scope"), (4, "out_of_scope"), (5, "type"), (6, "malformed")] == rejected(done)
    assert [None, None, "D,d,x", "E"] == [raw for (raw,) in rows_of(done.quarantine, "raw")]
    assert (5, 1, 4, 2) == (done.rows_in, done.rows_staged, done.rows_quarantined, done.rows_out_of_scope)
    assert (6 / 9, 1 / 3, 1.0) == (
        done.measures.completeness,
        done.measures.validity,
        done.measures.uniqueness,
    )
    assert balanced(done)


def test_a_feed_all_out_of_scope_is_not_a_bad_feed(bench: Bench) -> None:
    """All measures are 1 when no row is in scope."""
    done = bench.ingest(HEADER + b",a,1\n", keyless_rows="out_of_scope")
    assert (1.0, 1.0, 1.0) == (
        done.measures.completeness,
        done.measures.validity,
        done.measures.uniqueness,
    )


def test_null_words_and_empty_texts_are_null(bench: Bench) -> None:
    """Exactly these words, quoted or not; other texts stay."""
    data = b'A,NA,1\nB,"NA",-\nC,na,3\nD,"",4\nE,NAN,5\n'
    done = bench.ingest(HEADER + data, null_words=["NA", "-"])
    expected = [("A", None, 1), ("B", None, None), ("C", "na", 3), ("D", None, 4), ("E", "NAN", 5)]
    assert expected == rows_of(done.staged, "id, name, size")


def test_null_words_may_hold_the_delimiter_and_the_quote(bench: Bench) -> None:
    """Such a word can only stand in quotes; it means no value there as any other does."""
    data = b'A,"n/a, unknown",1\nB,"a ""no""",2\nC,NA,3\nD,n/a,4\n'
    done = bench.ingest(HEADER + data, null_words=["n/a, unknown", 'a "no"', "NA"])

    assert [("A", None, 1), ("B", None, 2), ("C", None, 3), ("D", "n/a", 4)] == rows_of(
        done.staged, "id, name, size"
    )


def test_extract_takes_the_first_group(bench: Bench) -> None:
    """No match, an empty match and a null word are null."""
    done = bench.ingest(
        b"id,place\nA,POINT (12.5 -3)\nB,nowhere\nC,\nD,POINT ( x)\nE,POINT (NA x)\n",
        rules=contract({"name": "lon", "type": "number"}),
        columns={"id": "id", "lon": {"column": "place", "extract": r"POINT \((\S*) \S+\)"}},
        null_words=["NA"],
    )
    assert [("A", 12.5), ("B", None), ("C", None), ("D", None), ("E", None)] == rows_of(
        done.staged, "id, lon"
    )


@pytest.mark.parametrize("delimiter", ["\t", ";", "|", " ", ":", "^", "'", "\\", ".", "*", "]"])
def test_any_ascii_sign_can_be_the_delimiter(bench: Bench, delimiter: str) -> None:
    """Including those that mean something in a regular expression; letters and digits are none."""
    lines = [("id", "n", "size"), ("A", '"x{}y"', "1"), ("B", "z"), ("C", '"z', "3"), ("D", "", "4")]
    data = "".join(delimiter.join(line).format(delimiter) + "\n" for line in lines).encode()
    done = bench.ingest(data, delimiter=delimiter, columns={"id": "id", "name": "n", "size": "size"})
    assert [("A", f"x{delimiter}y", 1), ("D", None, 4)] == rows_of(done.staged, "id, name, size")
    assert [(3, "malformed"), (4, "malformed")] == rejected(done)


@pytest.mark.parametrize(
    ("data", "staged", "aside"),
    [
        (b"id\nA\n\nB\n", [2, 4], []),
        (b"id\n\n\n", [], []),
        (b'id\nA\n"B\nC,D\n""\n"E"\n', [2, 6], [(3, "malformed"), (4, "malformed"), (5, "required")]),
        (b"id\r\nA\r\n\r\nB", [2, 4], []),
    ],
)
def test_a_single_column(bench: Bench, data: bytes, staged: list[int], aside: list[tuple[int, str]]) -> None:
    """Where a blank line and an empty value look alike, a blank line is no row."""
    done = bench.ingest(data, rules=contract(), columns={"id": "id"})
    assert staged == [position for (position,) in rows_of(done.staged, "_position")]
    assert aside == rejected(done)


def test_two_contract_columns_from_one_feed_column(bench: Bench) -> None:
    """A column may be read twice."""
    done = bench.ingest(HEADER + b"A,7,1\n", columns={"id": "id", "name": "name", "size": "name"})
    assert [("A", "7", 7)] == rows_of(done.staged, "id, name, size")


def test_a_required_column_that_is_not_mapped_rejects_nothing(bench: Bench) -> None:
    """Only rules on mapped columns are checked."""
    rules = contract({"name": "city", "type": "string", "required": True})
    done = bench.ingest(b"id\nA\n", rules=rules, columns={"id": "id"})
    assert [("A", None)] == rows_of(done.staged, "id, city")


def test_keys_of_several_columns(bench: Bench) -> None:
    """A key repeats when all of its columns do."""
    rules = PLACES.model_copy(update={"key": ("id", "size")})
    done = bench.ingest(HEADER + b"A,a,1\nA,b,2\nA,c,1\nB,d,\n", rules=rules)
    assert [("A", 1), ("A", 2)] == rows_of(done.staged, "id, size")
    assert [(4, "duplicate_key"), (5, "required")] == rejected(done)


def test_the_first_broken_rule_in_the_contracts_order_is_the_reason(bench: Bench) -> None:
    """One record a row, column by column."""
    rules = contract(
        {"name": "a", "type": "integer", "minimum": 5, "maximum": 9},
        {"name": "b", "type": "string", "required": True, "min_length": 2, "max_length": 3},
    )
    data = "id,a,b\n1,x,\n2,11,\n3,1,\n4,7,\n5,7,é\n6,7,éééé\n7,7,ééé\n8,,xx\n"
    done = bench.ingest(data.encode(), rules=rules, columns={"id": "id", "a": "a", "b": "b"})
    expected = ["type", "maximum", "minimum", "required", "min_length", "max_length"]
    assert expected == [rule for _, rule in rejected(done)]
    assert [("7",), ("8",)] == rows_of(done.staged, "id")


def test_no_message_holds_a_value(bench: Bench) -> None:
    """Reasons are about the contract; the value stands in `raw` only."""
    done = bench.ingest(HEADER + b'SECRET7,secret,secret\nSECRETSECRET,a,1\nX,"secret\n')
    assert 3 == done.rows_quarantined
    assert not any("secret" in reason.lower() for (reason,) in rows_of(done.quarantine, "reason"))
