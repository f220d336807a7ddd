"""Tables and queries of PostgreSQL as feeds: every row of one snapshot is accounted for, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.engine import csv_reading
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.database import fetch_rows
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.outside import Nowhere
from tests.engine.builders import PLACES, balanced, contract, feed, rows_of

CREATE = "CREATE SCHEMA shop; CREATE TABLE shop.place (id text, name text, size text)"


@dataclass(frozen=True)
class Databases(Nowhere):
    """One database, whatever it is called."""

    url: str

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url)


@pytest.fixture
def shop(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A database with an empty table of places."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(CREATE)
        yield connection


@dataclass(frozen=True)
class Bench:
    """Fetches from a database and ingests what came."""

    url: str
    folder: Path

    def fetch(self, source: dict[str, str], **changes: Any) -> Fetched:
        described = feed(uri=None, format=None, database={"conn_id": "shop", **source}, **changes)
        assert described.database is not None
        scratch = self.folder / f"source-{len(list(self.folder.iterdir()))}"
        scratch.mkdir()
        return fetch_rows(described, described.database, Databases(self.url), scratch)

    def ingest(self, source: dict[str, str], rules: Any = PLACES, **changes: Any) -> Ingested:
        found = self.fetch(source, **changes)
        described = feed(uri=None, format=None, database={"conn_id": "shop", **source}, **changes)
        scratch = self.folder / f"scratch-{len(list(self.folder.iterdir()))}"
        scratch.mkdir()
        return ingest(described, fetched=found, contract=rules, scratch=scratch)


@pytest.fixture
def bench(database: str, tmp_path: Path) -> Bench:
    """A way to read the database as a feed."""
    return Bench(database, tmp_path)


TABLE = {"table": "shop.place"}
CANCEL = (
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event = 'PgSleep'"
)


def test_rows_of_a_table_are_checked_like_lines_of_a_file(
    bench: Bench, shop: psycopg.Connection[Any]
) -> None:
    """Good rows are staged; a bad one has its ordinal in the result, its origin, and itself as text."""
    shop.execute("INSERT INTO shop.place VALUES ('A', 'a, \"b\"', '1'), ('B', NULL, '1.7'), ('C', '', NULL)")
    done = bench.ingest(TABLE)
    assert [("A", 'a, "b"', 1), ("C", None, None)] == rows_of(done.staged, "id, name, size")
    assert [("shop:shop.place", 2, "type", "B,,1.7")] == rows_of(
        done.quarantine, "origin, position, rule, raw"
    )
    assert balanced(done)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_texts_may_hold_line_ends(bench: Bench, shop: psycopg.Connection[Any], end: str) -> None:
    """A line end inside a text is a letter of it: rows are not lines."""
    shop.execute(
        "INSERT INTO shop.place VALUES ('A', %s, '1'), ('B', 'b', 'x'), ('C', '\"', '3')", [f'a{end}"z']
    )
    done = bench.ingest(TABLE)
    assert [("A", f'a{end}"z', 1), ("C", '"', 3)] == rows_of(done.staged, "id, name, size")
    assert [(2, "type")] == rows_of(done.quarantine, "position, rule")
    assert balanced(done)


def test_a_long_text_with_line_ends_is_read(bench: Bench, shop: psycopg.Connection[Any]) -> None:
    """A document of some MiB is a value like others."""
    shop.execute("INSERT INTO shop.place VALUES ('A', 'a', '1'), ('B', repeat(E'x\n', 3000000), '2')")
    done = bench.ingest(TABLE)
    assert [("A", 1), ("B", 6_000_000)] == rows_of(done.staged, "id, length(name)")


def test_a_row_that_is_too_long_is_refused_as_what_it_is(
    bench: Bench, shop: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database wrote its result as it should: what helps is a shorter one."""
    monkeypatch.setattr(csv_reading, "MAX_ROW", 2 * 1024**2)
    shop.execute("INSERT INTO shop.place VALUES ('A', repeat(E'x\n', 1500000), '2')")
    with pytest.raises(
        FeedError, match=r"a row is longer than 2 MiB.* leave its longest column out of the query"
    ):
        bench.ingest(TABLE)


def test_a_query_is_read_in_its_own_order(bench: Bench, shop: psycopg.Connection[Any]) -> None:
    """The ordinal of a quarantined row counts the query's result, and a trailing comment does no harm."""
    shop.execute("INSERT INTO shop.place SELECT chr(64 + n), 'n', n FROM generate_series(1, 5) AS n")
    query = "SELECT id AS code, name, CASE WHEN id = 'B' THEN '-1' ELSE size END AS size FROM shop.place ORDER BY id DESC --"
    done = bench.ingest({"query": query}, columns={"id": "code", "name": "name", "size": "size"})
    assert [("E",), ("D",), ("C",), ("A",)] == rows_of(done.staged, "id")
    assert [("shop:query", 4, "minimum")] == rows_of(done.quarantine, "origin, position, rule")


def test_a_single_empty_column_loses_no_row(bench: Bench, shop: psycopg.Connection[Any]) -> None:
    """Rows of one empty value would be blank lines: all of them are counted."""
    shop.execute("INSERT INTO shop.place VALUES ('A'), (NULL), ('B')")
    done = bench.ingest(TABLE, rules=contract(), columns={"id": "id"})
    assert (3, 2) == (done.rows_in, done.rows_staged)
    assert [(2, "required")] == rows_of(done.quarantine, "position, rule")


@pytest.mark.usefixtures("shop")
def test_an_empty_table_is_a_feed_without_rows(bench: Bench) -> None:
    """Nothing in, nothing out, no error."""
    done = bench.ingest(TABLE)
    assert (0, 0, 0) == (done.rows_in, done.rows_staged, done.rows_quarantined)


VALUES = {
    "timestamptz": ("'2026-11-22 12:00:00.5+05:30'::timestamptz", "timestamp", "2026-11-22 06:30:00.5"),
    "timestamp": ("'2026-11-22 12:00'::timestamp", "timestamp", "2026-11-22 12:00:00"),
    "date": ("'2026-11-22'::date", "date", "2026-11-22"),
    "boolean": ("true", "boolean", "true"),
    "numeric": ("12.50::numeric(10, 2)", "number", "12.5"),
    "double": ("0.1::float8 + 0.2", "number", "0.30000000000000004"),
    "bigint": ("9223372036854775807", "integer", "9223372036854775807"),
    "array": ("ARRAY['a', NULL, 'b,\"c']", "string", '["a",null,"b,\\"c"]'),
    "json": ("'{\"a\": [1, 2]}'::jsonb", "string", '{"a": [1, 2]}'),
    "bytea": ("'\\xDEAD'::bytea", "string", "\\xdead"),
    "uuid": (
        "'00000000-0000-0000-0000-00000000000A'::uuid",
        "string",
        "00000000-0000-0000-0000-00000000000a",
    ),
    "interval": ("'1 day 2 hours'::interval", "string", "P1DT2H"),
}


@pytest.mark.parametrize(("value", "kind", "expected"), VALUES.values(), ids=VALUES)
def test_values_keep_what_they_say(
    bench: Bench, shop: psycopg.Connection[Any], value: str, kind: str, expected: str
) -> None:
    """Whatever the database's own settings: times in UTC, arrays as JSON, numbers in full."""
    name = psycopg.conninfo.conninfo_to_dict(bench.url)["dbname"]
    for setting in ("TimeZone = 'Asia/Tokyo'", "DateStyle = 'German'", "extra_float_digits = -5"):
        shop.execute(f'ALTER DATABASE "{name}" SET {setting}')  # type: ignore[arg-type]
    done = bench.ingest(
        {"query": f"SELECT 'A' AS id, {value} AS x"},
        rules=contract({"name": "x", "type": kind}),
        columns={"id": "id", "x": "x"},
    )
    assert [(expected,)] == rows_of(done.staged, "x::VARCHAR")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("value", ["'infinity'::timestamptz", "'0044-03-15 BC'::timestamptz"])
def test_times_that_nobody_else_has_are_put_aside(bench: Bench, value: str) -> None:
    """Infinity and years before Christ break the rule of the type."""
    done = bench.ingest(
        {"query": f"SELECT 'A' AS id, {value} AS x"},
        rules=contract({"name": "x", "type": "timestamp"}),
        columns={"id": "id", "x": "x"},
    )
    assert {"type": 1} == done.rejects


BAD = {
    "no such table": ({"table": "shop.gone"}, {}, 'relation "shop.gone" does not exist'),
    "no such column": (TABLE, {"columns": {"id": "code"}}, "has no column 'code'. Got 'id', 'name', 'size'"),
    "no query": ({"query": "SELEKT 1"}, {}, "syntax error"),
    "two statements": ({"query": "SELECT 1) AS x; DROP TABLE shop.place; SELECT (1"}, {}, "can't be read"),
    "an ending": ({"query": "SELECT 1; COMMIT; DROP TABLE shop.place"}, {}, "syntax error"),
    "no select": ({"query": "DELETE FROM shop.place RETURNING *"}, {}, "syntax error"),
    "a hidden write": (
        {"query": "WITH gone AS (DELETE FROM shop.place RETURNING *) SELECT * FROM gone"},
        {},
        "data-modifying statement",
    ),
    "a writing function": (
        {"query": "SELECT id, id AS name, id AS size FROM (SELECT shop.wipe() AS id) AS x"},
        {},
        "read-only transaction",
    ),
    "a failing row": (
        {"query": "SELECT (1 / 0)::text AS id, '' AS name, '' AS size"},
        {},
        r"DivisionByZero \(22012\); correct the rows, or how the query computes",
    ),
    "too many rows": (TABLE, {"limits": {"rows": 1}}, "more than 1 rows, the feed's limits.rows"),
    "too many bytes": (TABLE, {"limits": {"bytes": 5}}, "more than 5 bytes, the feed's limits.bytes"),
    "too long": (
        {"query": "SELECT id, name, size FROM shop.place, pg_sleep(5)"},
        {"limits": {"seconds": 0.2}},
        "took more than 0.2 s, the feed's limits.seconds",
    ),
}


@pytest.mark.parametrize(("source", "changes", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_fails_the_feed_and_touches_nothing(
    bench: Bench,
    shop: psycopg.Connection[Any],
    source: dict[str, str],
    changes: dict[str, Any],
    said: str,
) -> None:
    """The error names the remedy, and the table is as it was."""
    shop.execute("INSERT INTO shop.place VALUES ('A', 'a', '1'), ('B', 'b', '2')")
    shop.execute(
        "CREATE FUNCTION shop.wipe() RETURNS text LANGUAGE sql AS $$ DELETE FROM shop.place RETURNING id $$"
    )
    with pytest.raises(FeedError, match=said):
        bench.fetch(source, **changes)
    assert (2,) == shop.execute("SELECT count(*) FROM shop.place").fetchone()


def test_a_table_that_may_not_be_read_is_refused(bench: Bench, shop: psycopg.Connection[Any]) -> None:
    """A missing right is named."""
    shop.execute("INSERT INTO shop.place VALUES ('A', 'a', '1')")
    shop.execute("DROP ROLE IF EXISTS nosy")
    shop.execute("CREATE ROLE nosy")
    try:
        nosy = Bench(psycopg.conninfo.make_conninfo(bench.url, options="-c role=nosy"), bench.folder)
        with pytest.raises(FeedError, match="permission denied for schema shop"):
            nosy.fetch(TABLE)
    finally:
        shop.execute("DROP ROLE nosy")


def test_an_error_of_a_value_does_not_quote_the_value(bench: Bench, shop: psycopg.Connection[Any]) -> None:
    """What a feed's error says is kept with the run, and shown: it names the kind of the data's fault alone."""
    shop.execute("INSERT INTO shop.place VALUES ('A', 'a', 'anna@example.org')")
    with pytest.raises(FeedError) as refused:
        bench.fetch({"query": "SELECT id, name, size::int AS size FROM shop.place"})
    assert (
        "list: shop:query can't be read: InvalidTextRepresentation (22P02); "
        "correct the rows, or how the query computes with them." == str(refused.value)
    )


def test_a_statement_that_a_person_cancels_is_a_fault_and_not_the_feeds(
    bench: Bench, shop: psycopg.Connection[Any]
) -> None:
    """Only what really took the feed's seconds is told to have taken them."""
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(
            bench.fetch,
            {"query": "SELECT id, name, size FROM shop.place, pg_sleep(30)"},
            limits={"seconds": 30},
        )
        while not reading.done() and not shop.execute(CANCEL).rowcount:
            pass
        with pytest.raises(psycopg.errors.QueryCanceled):
            reading.result()


def test_rows_that_a_policy_hides_are_not_left_out_in_silence(
    bench: Bench, shop: psycopg.Connection[Any]
) -> None:
    """Row-level security gives a part of the rows as if it were all: the feed is refused, with the remedy."""
    shop.execute("INSERT INTO shop.place VALUES ('A', 'a', '1'), ('B', 'b', '2')")
    shop.execute("ALTER TABLE shop.place ENABLE ROW LEVEL SECURITY")
    shop.execute("CREATE POLICY only_a ON shop.place USING (id = 'A')")
    shop.execute("DROP ROLE IF EXISTS nosy")
    shop.execute("CREATE ROLE nosy; GRANT USAGE ON SCHEMA shop TO nosy; GRANT SELECT ON shop.place TO nosy")
    try:
        nosy = Bench(psycopg.conninfo.make_conninfo(bench.url, options="-c role=nosy"), bench.folder)
        with pytest.raises(
            FeedError, match=r"row-level security .*; let the connection's role read all of its"
        ):
            nosy.fetch(TABLE)
    finally:
        shop.execute("DROP OWNED BY nosy; DROP ROLE nosy")


def test_a_lost_connection_is_a_fault_and_not_the_feeds(tmp_path: Path) -> None:
    """What may pass is raised as it is, for the task to be tried again."""
    bench = Bench("host=127.0.0.1 port=1 connect_timeout=1", tmp_path)
    with pytest.raises(psycopg.OperationalError):
        bench.fetch(TABLE)
