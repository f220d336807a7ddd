"""Reading an outbox: every committed row once, whatever the order in which transactions commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.source import MicroBatch, Outbox
from airflow_orchestration.domain.stream import StreamMark, StreamMarks, StreamRange
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.outbox import query_of, read_outbox

TABLE = "public.outbox"
OUTBOX = Outbox(conn_id="app", table=TABLE)
CREATE = """CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    payload jsonb NOT NULL)"""
INDEX = "CREATE INDEX ON outbox (transaction, id)"

Connect = Callable[[], psycopg.Connection[Any]]


@pytest.fixture
def connect(database: str) -> Connect:
    """Opens connections to a database with an empty outbox."""
    with psycopg.connect(database) as connection:
        connection.execute(CREATE)
        connection.execute(INDEX)
    return lambda: psycopg.connect(database)


@pytest.fixture
def application(connect: Connect) -> Iterator[psycopg.Connection[Any]]:
    """The application that writes events, each in a transaction of its own."""
    with connect() as connection:
        connection.autocommit = True
        yield connection


def put(connection: psycopg.Connection[Any], *numbers: int) -> None:
    for number in numbers:
        connection.execute("INSERT INTO outbox (payload) VALUES (%s)", [json.dumps({"n": number})])


def read(
    connect: Connect, folder: Path, marks: StreamMarks | None = None, outbox: Outbox = OUTBOX
) -> tuple[list[int], Fetched]:
    fetched = read_outbox("events", outbox, marks or StreamMarks(), connect=connect, scratch=folder)
    lines = [json.loads(line) for file in fetched.files for line in file.path.read_bytes().splitlines()]
    return [line["n"] for line in lines], fetched


def after(fetched: Fetched) -> StreamMarks:
    """The marks for the next reading when this one was registered."""
    return StreamMarks(marks={one.partition: StreamMark(start=one.stop) for one in fetched.ranges})


def bounded(**bounds: Any) -> Outbox:
    return OUTBOX.model_copy(update={"batch": MicroBatch(**bounds)})


def test_an_empty_outbox_is_an_empty_batch(connect: Connect, tmp_path: Path) -> None:
    """Nothing new: no file, no range, no error."""
    numbers, fetched = read(connect, tmp_path)
    assert ([], (), ()) == (numbers, fetched.files, fetched.ranges)


def test_each_reading_goes_on_after_the_last(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """What was read is a range, and the next reading begins at its stop."""
    put(application, 1, 2)
    numbers, first = read(connect, tmp_path)
    put(application, 3)
    later, _ = read(connect, tmp_path, after(first))
    assert ([1, 2], [3]) == (numbers, later)
    (source,) = first.files
    transaction = application.execute("SELECT min(transaction::text::bigint) FROM outbox").fetchone()
    assert transaction
    assert f"public.outbox from {transaction[0]}/1" == source.origin


def test_a_row_of_an_older_transaction_that_commits_late_is_read(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """Rows above an open transaction wait for it; when it has committed they are read in the order of transactions."""
    put(application, 1)
    with connect() as slow:
        put(slow, 2)
        put(application, 3)
        before, first = read(connect, tmp_path)
        slow.commit()
        both, second = read(connect, tmp_path, after(first))
        last, _ = read(connect, tmp_path, after(second))
    assert ([1], [2, 3], []) == (before, both, last)


def test_a_lower_id_of_a_newer_transaction_is_read(connect: Connect, tmp_path: Path) -> None:
    """Ids may be drawn in another order than transactions begin: by id alone the row would be skipped."""
    with connect() as early, connect() as late:
        number = late.execute("SELECT nextval('outbox_id_seq')").fetchone()
        late.rollback()
        put(early, 10)
        early.commit()
        first, fetched = read(connect, tmp_path)
        assert number
        late.execute(
            "INSERT INTO outbox (id, payload) OVERRIDING SYSTEM VALUE VALUES (%s, '{\"n\": 5}')", number
        )
        late.commit()
        second, _ = read(connect, tmp_path, after(fetched))
    assert ([10], [5]) == (first, second)


def test_transactions_are_ordered_as_numbers(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """Transaction 9 comes before transaction 10, also where the batch ends between them."""
    for number in (10, 9, 100):
        application.execute(
            "INSERT INTO outbox (transaction, payload) VALUES (%s::text::xid8, %s)",
            [str(number), json.dumps({"n": number})],
        )
    first, fetched = read(connect, tmp_path, outbox=bounded(records=1))
    second, _ = read(connect, tmp_path, after(fetched))
    assert ([9], [10, 100]) == (first, second)


def test_rows_that_were_rolled_back_hold_up_nobody(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A transaction that ends without committing leaves a hole in the ids, and nothing else."""
    with connect() as doomed:
        put(doomed, 1)
        put(application, 2)
        doomed.rollback()
    assert [2] == read(connect, tmp_path)[0]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"records": 3}, [0, 1, 2]),
        ({"bytes": 20}, [0, 1]),
        ({"bytes": 1}, [0]),
        ({"seconds": 0.000001}, [0]),
        ({}, [0, 1, 2, 3, 4]),
    ],
)
def test_the_first_bound_ends_the_batch(
    connect: Connect,
    application: psycopg.Connection[Any],
    tmp_path: Path,
    bounds: dict[str, Any],
    expected: list[int],
) -> None:
    """Records, bytes, or seconds; one record is always taken, and the next batch goes on behind it."""
    put(application, 0, 1, 2, 3, 4)
    numbers, fetched = read(connect, tmp_path, outbox=bounded(**bounds))
    rest, _ = read(connect, tmp_path, after(fetched))
    assert expected == numbers
    assert [0, 1, 2, 3, 4] == numbers + rest


def test_a_run_reads_exactly_its_ranges_again(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """What a run holds is read whole, and no more, whatever the bounds say now."""
    put(application, 1, 2, 3)
    _, fetched = read(connect, tmp_path)
    put(application, 4)
    again, same = read(connect, tmp_path, StreamMarks(again=fetched.ranges), bounded(records=1))
    assert [1, 2, 3] == again
    assert fetched.ranges == same.ranges


def test_a_gap_is_read_to_its_end_and_closed(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A range that was given back is read up to the next one that is held, leaving nothing between them."""
    put(application, 1, 2, 3)
    _, gap = read(connect, tmp_path, outbox=bounded(records=2))
    (given_back,) = gap.ranges
    marks = StreamMarks(marks={TABLE: StreamMark(start=given_back.start, before=given_back.stop)})
    numbers, fetched = read(connect, tmp_path, marks)
    assert ([1, 2], (given_back,)) == (numbers, fetched.ranges)
    part, some = read(connect, tmp_path, marks, bounded(records=1))
    assert ([1], given_back.start) == (part, some.ranges[0].start)
    assert some.ranges[0].stop < given_back.stop


def test_a_gap_without_rows_is_closed(connect: Connect, tmp_path: Path) -> None:
    """Rows that were deleted from a gap leave it empty: it is held, so that reading goes on behind it."""
    marks = StreamMarks(marks={TABLE: StreamMark(start=(5, 0), before=(9, 3))})
    _, fetched = read(connect, tmp_path, marks)
    assert ((), (StreamRange(partition=TABLE, start=(5, 0), stop=(9, 3)),)) == (fetched.files, fetched.ranges)


def test_each_payload_is_one_line(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """Line ends between the tokens of a json column become spaces; an empty payload is a line that is no object."""
    application.execute("ALTER TABLE outbox ALTER payload TYPE json, ALTER payload DROP NOT NULL")
    application.execute(
        "INSERT INTO outbox (payload) VALUES (%s), (NULL)", ['{\n  "n": 1,\r\n "t": "a\\nb"}']
    )
    fetched = read_outbox("events", OUTBOX, StreamMarks(), connect=connect, scratch=tmp_path)
    assert ['{   "n": 1,   "t": "a\\nb"}', '""'] == fetched.files[0].path.read_text().splitlines()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DROP TABLE outbox", "there is no such table"),
        ("ALTER TABLE outbox RENAME TO o; CREATE VIEW outbox AS TABLE o", "it is no table"),
        ("ALTER TABLE outbox DROP payload", "it has no column payload"),
        ("ALTER TABLE outbox ALTER payload TYPE text", "payload is text and must be json or jsonb"),
        ("ALTER TABLE outbox ALTER id TYPE integer", "id is integer and must be bigint"),
        ("ALTER TABLE outbox ALTER transaction DROP NOT NULL", "transaction may be empty"),
        ("ALTER TABLE outbox ALTER transaction DROP DEFAULT", r"needs DEFAULT pg_current_xact_id\(\)"),
        ("DROP INDEX outbox_transaction_id_idx", r"CREATE INDEX ON public.outbox \(transaction, id\)"),
        ("ALTER TABLE outbox DROP CONSTRAINT outbox_pkey", "nothing keeps id unique"),
        ("INSERT INTO outbox (transaction, payload) VALUES ('99999999', '{}')", "copied from another one"),
    ],
)
def test_a_table_that_is_no_outbox_is_refused(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path, change: str, problem: str
) -> None:
    """What would lose a row, or read the whole table each time, is named with its remedy."""
    for statement in change.split(";"):
        application.execute(statement)
    with pytest.raises(FeedError, match=rf"events: public.outbox can't be read as an outbox: .*{problem}"):
        read(connect, tmp_path)


def test_all_problems_of_the_columns_are_told_at_once(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A table with two wrong columns is refused with both."""
    application.execute("ALTER TABLE outbox DROP payload, ALTER transaction DROP DEFAULT")
    with pytest.raises(FeedError, match="no column payload; transaction needs DEFAULT"):
        read(connect, tmp_path)


def test_a_user_without_rights_is_told_so(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A connection that may not read the table is a problem of the feed, with the remedy."""
    application.execute("DROP ROLE IF EXISTS reader")
    application.execute("CREATE ROLE reader")

    def as_reader() -> psycopg.Connection[Any]:
        connection = connect()
        connection.execute("SET ROLE reader")
        connection.commit()
        return connection

    with pytest.raises(FeedError, match="may not read payload; grant SELECT"):
        read(as_reader, tmp_path)


def test_a_server_that_has_not_come_so_far_is_refused(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """An outbox that was moved to a new server would seem to have nothing new, for ever."""
    put(application, 1)
    marks = StreamMarks(marks={TABLE: StreamMark(start=(5_000_000, 77))})
    with pytest.raises(
        FeedError, match=r"up to transaction 5000000, which this server has not begun: .* another id"
    ):
        read(connect, tmp_path, marks)


def test_rows_that_a_policy_hides_are_not_passed_over(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """Row-level security would let positions move past rows that were never read."""
    put(application, 1, 2, 3)
    application.execute("CREATE ROLE half_blind LOGIN")
    application.execute("GRANT SELECT ON outbox TO half_blind")
    application.execute("ALTER TABLE outbox ENABLE ROW LEVEL SECURITY")
    application.execute("CREATE POLICY second ON outbox USING ((payload->>'n')::int = 2)")

    def as_half_blind() -> psycopg.Connection[Any]:
        connection = connect()
        connection.execute("SET SESSION AUTHORIZATION half_blind")
        connection.commit()
        return connection

    try:
        with pytest.raises(FeedError, match=r"row-level security hides rows .* BYPASSRLS"):
            read(as_half_blind, tmp_path)
    finally:
        application.execute("DROP OWNED BY half_blind; DROP ROLE half_blind")
    assert [1, 2, 3] == read(connect, tmp_path)[0]


def write(connect: Connect, writer: int, committed: list[int]) -> None:
    """Transactions of one to ten rows; every sixth is rolled back."""
    with connect() as connection:
        for number in range(40):
            batch = [
                writer * 10_000 + number * 100 + place for place in range(1 + (number * 7 + writer) % 10)
            ]
            put(connection, *batch)
            if number % 6 == writer:
                connection.rollback()
            else:
                connection.commit()
                committed += batch


def test_every_committed_row_is_read_once_while_writers_work(connect: Connect, tmp_path: Path) -> None:
    """With four writers at work, whose transactions overlap, a reader loses nothing and doubles nothing."""
    committed: list[list[int]] = [[] for _ in range(4)]
    writers = [Thread(target=write, args=(connect, number, committed[number])) for number in range(4)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    marks, ended = StreamMarks(), False
    while not ended:
        over = not any(writer.is_alive() for writer in writers)
        numbers, fetched = read(connect, tmp_path, marks, bounded(records=17))
        seen += numbers
        marks = after(fetched) if fetched.ranges else marks
        ended = over and not numbers
    assert sorted(number for written in committed for number in written) == sorted(seen)


def test_the_index_serves_the_reading(
    connect: Connect, application: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """Ten new rows behind 20,000 old ones are found in the order of the index, without looking at the old ones."""
    application.execute("INSERT INTO outbox (payload) SELECT '{\"n\": 0}' FROM generate_series(1, 20000)")
    application.execute("ANALYZE outbox")
    _, old = read(connect, tmp_path)
    put(application, *range(10))
    (span,) = after(old).spans([TABLE])
    query, values = query_of(OUTBOX, span, span.start or ())
    plan = application.execute(
        b"EXPLAIN (ANALYZE, COSTS off) " + query.as_bytes(application), values
    ).fetchall()
    told = "\n".join(line for (line,) in plan)
    assert "Index Scan using outbox_transaction_id_idx" in told
    assert "rows=10" in told
    assert "Sort" not in told
