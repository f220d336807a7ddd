"""An author's SQL is one scalar expression of known parts, or is refused with what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest

from airflow_orchestration.engine.expressions import (
    Expression,
    checked_condition,
    checked_expression,
    checked_query,
)
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.vocabulary import MAX_JOINS, MAX_LETTERS, MAX_NODES
from airflow_orchestration.exceptions import ExpressionError

COLUMNS = {
    "amount": "BIGINT",
    "price": "DOUBLE",
    "note": "VARCHAR",
    "day": "DATE",
    "moment": "TIMESTAMP",
    "flag": "BOOLEAN",
    "Two Words": "VARCHAR",
}
ROW = (
    "SELECT 12::BIGINT AS amount, 2.5::DOUBLE AS price, 'a,b c'::VARCHAR AS note, DATE '2026-11-22' AS day, "
    "TIMESTAMP '2026-11-22 10:30:00' AS moment, true AS flag, 'two'::VARCHAR AS \"Two Words\""
)

# What is written, and what it is of the row above.
GOOD = [
    ("amount", 12), ("AMOUNT + 1", 13), ("amount * 2 - 4 / 2", 22.0), ("amount // 5", 2), ("amount % 5", 2),
    ("-amount", -12), ("amount / 0 > 1", True), ("amount // 0", None), ("amount % 0", None), ("(amount)", 12),
    ("amount -- a comment", 12), ("/* a comment */ amount", 12), ("abs(-amount)", 12), ("round(price, 0)", 3.0),
    ("greatest(amount, 20)", 20), ("least(amount, price)", 2.5), ("floor(price)", 2.0), ("ceil(price)", 3.0),
    ("amount::VARCHAR", "12"), ("try_cast(note AS INTEGER)", None), ("CAST('7' AS INTEGER)", 7),
    ("note = 'a,b c'", True), ("note <> 'x'", True), ("note == 'x'", False), ("note LIKE 'a%'", True),
    ("note NOT LIKE '_,b%'", False), ("note ILIKE 'A%'", True), ("note ~ 'b'", True),
    ("note SIMILAR TO 'b'", False), ("regexp_matches(note, '^a')", True), ("regexp_full_match(note, 'a')", False),
    ("regexp_extract(note, '(.),', 1)", "a"), ("regexp_replace(note, '[^a-z]', '', 'g')", "abc"),
    ("replace(note, ',', '.')", "a.b c"), ("split_part(note, ',', 2)", "b c"), ("lower('A') || upper(note)", "aA,B C"),
    ("concat(note, '!')", "a,b c!"), ("substring(note, 1, 1)", "a"), ("substring(note FROM 1 FOR 3)", "a,b"),
    ("trim(BOTH 'a' FROM note)", ",b c"), ("trim(note)", "a,b c"), ("length(note)", 5), ("position('b' IN note)", 3),
    ("strpos(note, 'b')", 3), ("contains(note, 'b')", True), ("starts_with(note, 'b')", False), ("left(note, 1)", "a"),
    ("amount BETWEEN 1 AND 12", True), ("amount NOT BETWEEN 1 AND 12", False), ("note IN ('x', 'a,b c')", True),
    ("amount NOT IN (12)", False), ("note IS NULL", False), ("note IS NOT NULL", True), ("flag IS TRUE", True),
    ("flag AND NOT (amount > 3 OR price IS DISTINCT FROM 2)", False), ("coalesce(NULL, amount)", 12),
    ("nullif(amount, 12)", None), ("CASE WHEN flag THEN 'yes' ELSE 'no' END", "yes"),
    ("CASE amount WHEN 12 THEN 1 END", 1), ("if(flag, 1, 2)", 1), ("year(day)", 2026), ("extract(month FROM day)", 11),
    ("date_part('hour', moment)", 10), ("date_trunc('hour', moment)", datetime.fromisoformat("2026-11-22T10:00")),
    ("date_diff('day', DATE '2026-11-20', day)", 2), ("make_date(2026, 11, amount::INTEGER)", date(2026, 11, 12)),
    ("day + INTERVAL 1 DAY", datetime.fromisoformat("2026-11-23")), ("moment - INTERVAL '30 minutes' = moment", False),
    ("moment > TIMESTAMP '2026-01-01'", True), ("try_strptime('22.11.2026', '%d.%m.%Y')::DATE = day", True),
    ('"Two Words"', "two"), ('"two words" = \'two\'', True), ("amount::DECIMAL(10, 2) = 12", True),
    ("amount = 1.2e1", True), ("note = 'it''s'", False), ("amount IN (1, 2, 12) = true", True),
]  # fmt: skip

# Text, and a word of the refusal.
ATTACKS = [
    ("", "empty"), (" -- nothing", "row|supported"), ("amount; DROP TABLE x", "no SQL"), ("1) FROM __t; SELECT (1", "more than one"),
    ("amount) FROM __t --", "no SQL"), ("amount) FROM __t UNION SELECT (1", "more than one"),
    ("1) FROM read_csv('/etc/passwd') AS __t(x) WHERE (true", "no SQL|more than one"),
    ("amount) , (price", "several"), ("amount, price", "row|supported"), ("(SELECT 1)", "query"),
    ("EXISTS (SELECT 1)", "query"), ("amount IN (SELECT 1)", "query"), ("amount = ANY (SELECT 1)", "query"),
    ("amount > (SELECT count(*) FROM read_text('/etc/passwd'))", "query"), ("read_text('/etc/passwd')", "read_text"),
    ("amount = ANY ([1, 2])", "query"), ("sum(amount)", "sum"), ("sum(amount) OVER ()", "window"),
    ("row_number() OVER ()", "window"), ("count(*)", "count"), ("*", "star"), ("COLUMNS(*)", "star|columns"),
    ("COLUMNS('a.*')", "star|columns"), ("__t.*", "star"), ("__t", "no column"), ("__t.amount", "no column"),
    ("rowid", "no column"), ("x -> x + 1", "lambda|->|no column"), ("lambda x: x + 1", "lambda|no SQL"),
    ("list_transform([1], lambda x: x)", "list_transform"), ("$1", "parameter"), ("?", "parameter"), ("$name", "parameter"),
    ("#1", "number"), ("repeat('x', 4000000000)", "repeat"), ("lpad('x', 2000000000, 'y')", "lpad"),
    ("rpad('x', 2000000000, 'y')", "rpad"), ("range(2000000000)", "range"), ("generate_series(1, 2000000000)", "generate"),
    ("printf('%2000000000d', 1)", "printf"), ("format('{:2000000000}', 1)", "format"), ("sleep_ms(100000)", "sleep"),
    ("list_reduce([1], lambda x, y: x)", "list_reduce"), ("[1, 2]", "list_value|array"), ("ARRAY[1]", "array"),
    ("{'a': 1}", "struct_pack"), ("MAP {'a': 1}", "map"), ("note[1]", "array_extract"), ("note[1:2]", "array_slice"),
    ("replace(note, 'a', 'aaaaaaaa')", "longer"), ("replace(note, note, note)", "longer"), ("replace(note, '', 'a')", "longer"),
    ("regexp_replace(note, '', 'aaaa', 'g')", "longer"), ("regexp_replace(note, 'a', '\\0\\0', 'g')", "longer"),
    ("regexp_matches(note, note)", "pattern"), ("note LIKE note", "pattern"), ("note ~ note", "pattern"),
    (f"note LIKE '{'%a' * 11}'", "%"), ("strptime(note, note)", "pattern"), ("current_date", "no column"),
    ("current_timestamp", "no column|isn't supported"), ("now()", "now"), ("today()", "today"), ("random()", "random"), ("uuid()", "uuid"),
    ("getenv('HOME')", "getenv"), ("current_setting('memory_limit')", "current_setting"), ("current_user", "no column|supported"),
    ("version()", "version"), ("query('select 1')", "query"), ("nextval('x')", "nextval"), ("hash(note)", "hash"),
    ("json_execute_serialized_sql('x')", "json_execute"), ("json_serialize_sql('x')", "json_serialize"),
    ("getvariable('x')", "getvariable"), ("error('x')", "error"), ("main.lower(note)", "lower"),
    ("system.main.lower(note)", "lower"), ("note.lower()", "lower"), ("lower(DISTINCT note)", "DISTINCT"),
    ("lower(note ORDER BY note)", "ORDER BY"), ("lower(note) FILTER (flag)", "FILTER"), ("note COLLATE NOCASE", "collation"),
    ("amount::INTEGER[]", "LIST"), ("note::BLOB", "BLOB"), ("note::JSON", "JSON"), ("note::ENUM('a')", "ENUM"),
    ("note::STRUCT(a INTEGER)", "STRUCT"), ("moment::TIMESTAMPTZ", "TIMESTAMP"), ("moment AT TIME ZONE 'UTC'", "timezone"),
    ("x'00' = note", "literal"), ("unknown", "no column"), ("amount AS x", "no SQL|AS"), ("NULL", "null"),
    ("unnest([1])", "unnest"), ("amount IN note", "IN|supported|fit"), ("encode(note)", "encode"), ("md5(note)", "md5"),
    ("note + 1 + 'x'", "fit"), ("lower()", "fit"), ("date_trunc(day, note)", "fit"), ("pg_typeof(amount)", "pg_typeof"),
    ("amount FROM __t WHERE (true", "no SQL"), ("VALUES (1)", "no SQL|query"), ("SELECT 1", "no SQL|query"), ("glob('/*')", "glob"),
    ("CASE WHEN amount THEN (SELECT 1) END", "query"), ("coalesce(1, (SELECT 1))", "query"), ("concat_ws(note, note)", "concat_ws"),
    ("lower(note := 'x')", "argument|no SQL"), ("array_agg(amount)", "array_agg"), ("string_agg(note, note)", "string_agg"),
    ("amount \x00", "no SQL"), ("'" + "a" * MAX_LETTERS + "'", "letters"), ("(" * 3000 + "1" + ")" * 900, "no SQL"),
    ("NOT " * 900 + "flag", "deeply"), ("1::INT" + "::INT" * 600, "parts"), ("TRY((SELECT 1))", "query"), ("TABLE x", "query"),
    ("note LIKE 'x' ESCAPE note", "like_escape"), ("CAST(note AS main.VARCHAR)", "VARCHAR"), ("note GLOB '*'", "~~~"),
    ("amount ** 9", "calls"), ("amount!", "factorial"), ("(amount, price)", "row"), ("DEFAULT", "default"),
    ("note::VARIANT", "VARIANT"), ("regexp_matches(note, 'x', note)", "fit"), ("note.x.y", "no column"), ("LOCALTIME", "no column"),
    ("1" + " + 1" * MAX_NODES, "parts"), ("note" + " || note" * (MAX_JOINS + 1), "joins"),
    ("concat(" + ", ".join(["note"] * (MAX_JOINS + 2)) + ")", "joins"),
    (" OR ".join(f"regexp_matches(note, 'x{n}')" for n in range(80)), "parts"),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The sandbox in which expressions run."""
    scratch: Path = tmp_path_factory.mktemp("scratch")
    with sandbox(readable=[], scratch=scratch) as connection:
        yield connection


def value(engine: duckdb.DuckDBPyConnection, found: Expression) -> object:
    row = engine.execute(f"SELECT {found.tried} FROM ({ROW})").fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_a_scalar_expression_is_accepted_and_means_what_it_says(
    engine: duckdb.DuckDBPyConnection, text: str, expected: object
) -> None:
    """What is run is written anew from the checked tree, and comes to what the author wrote."""
    assert expected == value(engine, checked_expression(engine, text, COLUMNS))


@pytest.mark.parametrize(("text", "word"), ATTACKS)
def test_anything_else_is_refused_with_its_reason(
    engine: duckdb.DuckDBPyConnection, text: str, word: str
) -> None:
    """Queries, files, clocks, amplifiers, breakouts: none of them gets as far as a row."""
    with pytest.raises(ExpressionError, match=f"(?i){word}"):
        checked_expression(engine, text, COLUMNS)


def test_brackets_that_cross_ours_change_nothing_around_them(engine: duckdb.DuckDBPyConnection) -> None:
    """`a) OR (b` reads as one expression, so it is embedded as one: an AND beside it can't be undone."""
    found = checked_condition(engine, "flag) OR (amount = 12", COLUMNS)
    row = engine.execute(f"SELECT {found.sql} AND false FROM ({ROW})").fetchone()
    assert (False,) == row


def test_columns_are_told_as_the_caller_spells_them(engine: duckdb.DuckDBPyConnection) -> None:
    """So that the caller can look them up."""
    assert ("Two Words", "note") == checked_expression(engine, '"two words" || NOTE', COLUMNS).columns


def test_a_name_that_two_columns_have_but_for_capitals_is_refused(engine: duckdb.DuckDBPyConnection) -> None:
    """The engine would take one of them."""
    with pytest.raises(ExpressionError, match="capital letters"):
        checked_expression(engine, "a", {"a": "BIGINT", "A": "BIGINT"})


def test_a_condition_is_true_or_false(engine: duckdb.DuckDBPyConnection) -> None:
    """A number is no condition."""
    assert "BOOLEAN" == checked_condition(engine, "amount > 3", COLUMNS).type
    with pytest.raises(ExpressionError, match="is a BIGINT"):
        checked_condition(engine, "amount", COLUMNS)


def test_what_fails_on_a_row_is_null_when_it_is_tried(engine: duckdb.DuckDBPyConnection) -> None:
    """An overflow or a bad cast is that row's affair."""
    assert value(engine, checked_expression(engine, "note::INTEGER", COLUMNS)) is None
    assert value(engine, checked_expression(engine, "amount * 9223372036854775807", COLUMNS)) is None


FIVE = "SELECT * FROM (VALUES (1::BIGINT, 'x'), (2, 'y'), (3, '4'), (NULL, '5'), (3, NULL)) AS rows(amount, note)"
QUERIES = [
    ("SELECT COUNT(*) FROM ${object}", 5), ("SELECT count(*) FROM ${table} WHERE amount > 1", 3),
    ("select count(amount) from {model}", 4), ("SELECT count(DISTINCT ${property}) FROM ${object} WHERE note IS NOT NULL", 3),
    ("SELECT avg(amount) FROM ${object} WHERE amount < 3", 1.5), ("SELECT max(amount) - min(amount) FROM ${object}", 2),
    ("SELECT sum(note::INTEGER) FROM ${object} WHERE regexp_full_match(note, '[0-9]+')", 9),
    ("SELECT 100.0 * count(*) / 5 FROM ${object} WHERE note IS NULL", 20.0), ("SELECT bool_and(amount > 0) FROM ${object}", True),
    ("SELECT count(*) FROM ${object} WHERE regexp_matches(note, '^[xy]{1}$')", 2), ("SELECT count({Column}) FROM {TABLE}", 4),
    ("SELECT median(amount) FROM ${object}", 2.5), ("SELECT count_if(amount > 1) FROM ${object} WHERE note = 'y'", 1),
]  # fmt: skip
REFUSED_QUERIES = [
    ("SELECT amount FROM ${object}", "outside an aggregate"), ("SELECT 1 FROM ${object}", "no aggregate"),
    ("SELECT count(*) FROM other", "one aggregate"), ("SELECT count(*) FROM ${object}, ${object}", "one aggregate"),
    ("SELECT count(*) FROM ${object} GROUP BY amount", "one aggregate"), ("SELECT count(*) FROM ${object} LIMIT 1", "one aggregate"),
    ("SELECT count(*) FROM ${object} HAVING count(*) > 1", "one aggregate"),
    ("SELECT count(*), sum(amount) FROM ${object}", "several"), ("SELECT max(sum(amount)) FROM ${object}", "sum"),
    ("SELECT count(*) FROM ${object}; DROP TABLE x", "no SQL"), ("SELECT count(*) FROM ${other}", "placeholder"),
    ("SELECT count(*) FROM (SELECT 1) AS __t", "one aggregate"), ("SELECT count(*) FROM read_text('/etc/passwd') AS __t", "one aggregate"),
    ("SELECT count(*) FROM ${object} WHERE amount IN (SELECT 1)", "query"), ("SELECT string_agg(note, '') FROM ${object}", "string_agg"),
    ("SELECT count(*) FROM ${object} WHERE amount + 1", "true or false"), ("SELECT list(amount) FROM ${object}", "list"),
    ("SELECT count(*) FILTER (amount > 1) FROM ${object}", "FILTER"), ("SELECT count(*) OVER () FROM ${object}", "window"),
    ("WITH x AS (SELECT 1) SELECT count(*) FROM ${object}", "one aggregate"), ("DELETE FROM ${object}", "no SQL"),
    ("SELECT count(*) FROM ${object} WHERE sum(amount) > 1", "sum"), ("SELECT DISTINCT count(*) FROM ${object}", "one aggregate"),
    ("SELECT count(*) FROM ${object} USING SAMPLE 10%", "one aggregate"),
    ("SELECT count(*) FROM ${object} WHERE TRY(amount + note::INTEGER) IS NULL", "uses TRY; write try_cast"),
    ("SELECT TRY(sum(amount)) FROM ${object}", "uses TRY"),
]  # fmt: skip
FIVE_COLUMNS = {"amount": "BIGINT", "note": "VARCHAR"}


@pytest.mark.parametrize(("query", "expected"), QUERIES)
def test_a_query_becomes_one_aggregate_with_the_same_result(
    engine: duckdb.DuckDBPyConnection, query: str, expected: object
) -> None:
    """Its WHERE goes inside, so that all queries of a contract share one scan."""
    found = checked_query(engine, query, FIVE_COLUMNS, column="amount")
    assert (expected,) == engine.execute(f"SELECT {found.sql} FROM ({FIVE})").fetchone()


@pytest.mark.parametrize(("query", "word"), REFUSED_QUERIES)
def test_any_other_query_is_refused_with_its_reason(
    engine: duckdb.DuckDBPyConnection, query: str, word: str
) -> None:
    """One aggregate over the rows of the feed, and nothing that reads anything else."""
    with pytest.raises(ExpressionError, match=f"(?i){word}"):
        checked_query(engine, query, FIVE_COLUMNS, column="amount")
