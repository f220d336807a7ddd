"""What the fuzzer has found, made small: each of these was a traceback, an endless message, or accepted as something else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.exceptions import Problem, ProblemCode
from tests.fuzz.inputs import Made
from tests.fuzz.judging import Verdict, judged
from tests.fuzz.kinds import LOOKS
from tests.fuzz.pipelines import EXAMPLES

JOB = (EXAMPLES / "job.yaml").read_text()
CONTRACT = (EXAMPLES / "everything.odcs.yaml").read_text()
PIPELINE = (EXAMPLES / "everything.yaml").read_text()


def conf(tree: Any) -> Made:
    terms = {"pipeline": "dags/airport_reference.yaml"}
    return Made(kind="conf", files={"conf.json": json.dumps(tree).encode()}, terms=terms)


def pipeline(old: str, new: str) -> Made:
    assert old in PIPELINE
    files = {"file.yaml": PIPELINE.replace(old, new, 1).encode(), "everything.odcs.yaml": CONTRACT.encode()}
    return Made(kind="pipeline", files=files, terms={"sql": False})


def contract(old: str, new: str) -> Made:
    assert old in CONTRACT
    files = {"it.odcs.yaml": CONTRACT.replace(old, new, 1).encode()}
    return Made(kind="contract", files=files, terms={"sql": False})


def ndjson(text: str, *columns: str) -> Made:
    feed = {
        "id": "list",
        "uri": "in/list.ndjson",
        "format": "ndjson",
        "columns": {name: name for name in columns},
    }
    terms = {"contract": "plain", "feed": feed, "apart": False}
    return Made(kind="json", files={"in/list.ndjson": text.encode()}, terms=terms)


def csv(data: bytes, *columns: str, **terms: str) -> Made:
    feed = {"id": "list", "uri": "in/list.csv", "format": "csv", "header": True} | terms
    feed["columns"] = {name: name for name in columns}
    return Made(
        kind="csv",
        files={"in/list.csv": data},
        terms={"contract": "plain", "feed": feed, "apart": False},
    )


def argument(kind: str, text: str) -> Made:
    return Made(kind="other", files={}, terms={"what": "argument", "type": kind, "text": text})


def quality(result: Any) -> Made:
    return Made(kind="other", files={"it": json.dumps(result).encode()}, terms={"what": "quality"})


LATENCY = "property: latency, value: 2"
FOUND = {
    "an infinity as what is missing": (contract("[null, '', N/A]", "[.inf]"), "inf is no finite number"),
    "no number as what is valid": (contract("[1, 2.5, 3]", "[1, .nan]"), "nan is no finite number"),
    "an infinity as what must be": (contract("mustBe: 0", "mustBe: .inf"), "inf is no number"),
    "an endless age": (contract(LATENCY, "property: latency, value: .inf"), "inf is no number of"),
    "an age beyond all numbers": (contract(LATENCY, "property: latency, value: 1.0e+308"), "is no number of"),
    "a file's name that turns the line": (
        pipeline("contract: everything.odcs.yaml", 'contract: "a\u2028"'),
        "file a\\u2028: 1 problem",
    ),
    "a key that is a date": (pipeline("id: everything", "id: everything\n2026-11-22: x"), "put it in quotes"),
    "a key that is a truth": (pipeline("station: Station", "yes: Station"), "key 'yes' is a bool"),
    "keys that are merged": (pipeline("id: everything", "<<: {id: a}\nid: b"), "is a merge"),
    "bytes": (pipeline("To be changed by the fuzzer.", "!!binary aGVsbG8="), "is a !!binary"),
    "NUL in the place of a root": (
        pipeline("landing: landing", 'landing: "a\\0b"'),
        "roots.landing: holds a control",
    ),
    "a list where a name belongs": (contract("[day, kind]", "[[day], kind]"), "must be a list of properties"),
    "a truth as a number": (
        contract("multipleOf: 1", "multipleOf: true"),
        "multipleOf: must be a valid number",
    ),
    "a text as a number": (
        contract("multipleOf: 1", "multipleOf: '1_000'"),
        "multipleOf: must be a valid number",
    ),
    "a text as a length": (contract("minLength: 1", "minLength: '1'"), "minLength: must be a valid integer"),
    "an enum that turns the line round": (contract("{value: a}", '"\\u202ea"'), "write {value: \\u202ea}"),
    "a long choice": (
        contract("logicalType: date", f"logicalType: {'date' * 5_000}"),
        "isn't supported; use one of",
    ),
    "a key that writes to the terminal": (
        conf({"a\x1b[2J\0\n": 1}),
        "a\\x1b[2J\\x00\\n: is not a known field",
    ),
    "half a letter": (conf({"batches": [{"id": "\ud800"}]}), "batches[0].id: holds a control character"),
    "a key of 20,000 letters": (conf({"x" * 20_000: 1}), " ... "),
    "5,000 times the same": (conf({"batches": [{"id": "vega"}] * 5_000}), "more problems are not shown"),
    "no number as a tolerance": (argument("tolerance", "latitude=nan"), "is no tolerance"),
    "a tolerance of nothing": (argument("tolerance", "=1"), "is no tolerance"),
    "a number of 5,000 digits": (argument("count", "9" * 5_000), "9...' is not a whole number"),
    "a text as a count": (
        quality({"success": True, "statistics": {"success_percent": 1, "evaluated_expectations": "x"}}),
        "can't be read",
    ),
}


@pytest.mark.parametrize(("made", "words"), FOUND.values(), ids=FOUND.keys())
def test_what_was_found_is_refused_in_words(made: Made, words: str) -> None:
    """Each is refused by a message that a person can use, and that is short and plain enough for a log."""
    told = judged(made, LOOKS)

    assert (Verdict.REFUSED, True) == (told.verdict, words in told.why), told.why


@pytest.mark.parametrize("before", ['"', '"x'])
@pytest.mark.parametrize("columns", [("id",), ("id", "size")])
def test_a_line_that_is_no_object_is_put_aside_however_long_it_is(
    before: str, columns: tuple[str, ...]
) -> None:
    """The engine quotes it in its error, and cuts it, perhaps inside a letter: that is no fault of the product."""
    line = f"{before}{chr(0xE9) * 200}{chr(34)}"
    made = ndjson(f'{{"id": "A", "size": 1}}\n{line}\n', *columns)

    assert (Verdict.ACCEPTED, "") == ((told := judged(made, LOOKS)).verdict, told.why)


def test_a_page_that_only_the_second_look_unpacks_is_told() -> None:
    """Bad rows are read once more with all that they hold: damage that is met only then is damage of the file too."""
    told = judged(Made.of((EXAMPLES / "damaged_page.json").read_text()), LOOKS)

    assert (Verdict.REFUSED, "list: the file is no complete PARQUET; deliver it again.") == (
        told.verdict,
        told.why,
    )


@pytest.mark.parametrize("text", ['"B1"\n7\n', '{"id": "A"}\nnull\n["x"]\n'])
def test_a_value_is_no_object_with_the_only_column(text: str) -> None:
    """Where one column is mapped, the engine took any text or number for it, and objects for texts."""
    assert (Verdict.ACCEPTED, "") == ((told := judged(ndjson(text, "id"), LOOKS)).verdict, told.why)


READABLE = {
    "half a letter beside": ndjson('{"id": "A", "more": "\\ud800"}', "id"),
    "NUL beside": csv(b"id,more\nA,x\0y\n", "id"),
    "UTF-16 without a mark": csv("id,kind\nA,a\n".encode("utf-16-be"), "id", "kind", encoding="utf-16"),
    "the end of a day": csv(b"id,at\nA,2026-11-22T24:00\n", "id", "at"),
}


@pytest.mark.parametrize("made", READABLE.values(), ids=READABLE.keys())
def test_what_the_fuzzer_took_for_wrong_is_right(made: Made) -> None:
    """A line that not every reader takes may be put aside; bytes and times are read as they are meant."""
    assert (Verdict.ACCEPTED, "") == ((told := judged(made, LOOKS)).verdict, told.why)


@pytest.mark.parametrize("field", ["delimiter", "quote"])
@pytest.mark.parametrize("letter", ["a", "F", "0", "7"])
def test_no_letter_or_digit_stands_between_fields(field: str, letter: str) -> None:
    """They stand inside values; one that was in a line's number, or its bytes, broke the look at bad lines."""
    feed = {"id": "list", "uri": "in/x.csv", "format": "csv", "columns": {"id": "id"}, field: letter}

    with pytest.raises(ValueError, match="should match pattern"):
        Feed.model_validate_json(json.dumps(feed))


def test_a_huge_number_is_not_told_digit_by_digit() -> None:
    """A message says how long it is, and begins with it."""
    told = Problem(code=ProblemCode.OUT_OF_RANGE, path="x", message=f"{'9' * 1_900} is too much")

    assert f"{'9' * 20}... (1900 digits) is too much" == told.message
