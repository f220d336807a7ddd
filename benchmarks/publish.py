"""What does publishing exactly once cost, in each mode, against the same written by hand?

`python -m benchmarks.publish [--rows 200000] [--rounds 3] [--mode upsert]`: starts an empty server of its own.
By hand means: no ledger, no fence, no count per feed, and a COPY that the server reads from a file.
`insert` is an upsert into a new table; `upsert` brings rows of which 1 % changed into five times as many.
"""

from __future__ import annotations

import hashlib
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import psycopg
from psycopg import sql

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.publishing import FeedRows, Publication, Publisher
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.target import MERGE_COLUMNS, Target, listed, template
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres

TARGET_RATIO = 1.3
ROWS, ROUNDS = 200_000, 3
TIMES_AS_MANY, CHANGED_EVERY = 5, 100
CHUNK = 1 << 20
TABLE = "public.published"
COLUMNS = (
    Column(name="id", type=ColumnType.INTEGER, required=True),
    Column(name="name", type=ColumnType.STRING, required=True),
    Column(name="city", type=ColumnType.STRING),
    Column(name="country", type=ColumnType.STRING),
    Column(name="latitude", type=ColumnType.NUMBER),
    Column(name="longitude", type=ColumnType.NUMBER),
    Column(name="elevation", type=ColumnType.INTEGER),
    Column(name="open", type=ColumnType.BOOLEAN),
    Column(name="since", type=ColumnType.DATE, required=True),
    Column(name="seen_at", type=ColumnType.TIMESTAMP),
)
CONTRACT = Contract(name="benchmark", key=("id",), columns=COLUMNS)
BY_DAY = Contract(name="benchmark", key=("id", "since"), columns=COLUMNS)
MERGED = {
    "_primary_source": '"{source}"',
    "_sources": '"[""{source}"",""other""]"',
    "_attribution": '"{{""name"": ""{source}""}}"',
    "_confidence": '"{{""name"": 1}}"',
    "_conflicts": '"[]"',
}
"""What a merge adds to a row, as CSV."""
SCRATCH = sql.Identifier("public", "by_hand")
INSERT = (
    "INSERT INTO {target} ({columns}, _run_id, _published_at) SELECT {columns}, 'hand', now() FROM {merged}"
)
COPY = "COPY {into} ({columns}) FROM {file} (FORMAT csv, NULL ''{freeze})"
MERGE = """
MERGE INTO {target} AS kept USING {merged} AS new ON kept.id = new.id
WHEN MATCHED AND ({old}) IS DISTINCT FROM ({new}) THEN UPDATE SET {assigned}, _run_id = 'hand', _published_at = now()
WHEN NOT MATCHED THEN INSERT ({columns}, _run_id, _published_at) VALUES ({new}, 'hand', now())"""
UPDATE = """
UPDATE {target} AS kept SET {assigned}, _run_id = 'hand', _published_at = now() FROM {merged} AS new
WHERE kept.id = new.id AND ({old}) IS DISTINCT FROM ({new});
INSERT INTO {target} ({columns}, _run_id, _published_at)
SELECT {new}, 'hand', now() FROM {merged} AS new WHERE NOT EXISTS (SELECT FROM {target} AS kept WHERE kept.id = new.id)"""
SWAP = """
ALTER TABLE {merged} ADD PRIMARY KEY (id); DROP TABLE {target}; ALTER TABLE {merged} RENAME TO published"""
EXCHANGE = """
ALTER TABLE {merged} ADD PRIMARY KEY (id, since), ADD CHECK (since IS NOT NULL AND since = '2001-02-03');
DROP TABLE public.published_2001_02_03; ALTER TABLE {merged} RENAME TO published_2001_02_03;
ALTER TABLE {target} ATTACH PARTITION public.published_2001_02_03 FOR VALUES IN ('2001-02-03')"""
GROW = """
INSERT INTO {target} SELECT id + {rows} * step, {others}, _run_id, _published_at FROM {target} CROSS JOIN generate_series(1, {times}) AS step"""


@dataclass(frozen=True)
class Cost:
    """What a publication took."""

    seconds: float
    wal_mb: float
    wait_ms: float
    """The longest that a reader of the table waited meanwhile."""


@dataclass(frozen=True)
class Bench:
    """A fresh database and a file of rows that its server can read."""

    conninfo: str
    file: Path
    rows: int
    mode: PublishMode
    numbers: Iterator[int]

    @property
    def target(self) -> Target:
        """Where the rows go."""
        return self._publication(0).target

    def publish(self) -> Cost:
        """A publication as the package makes it."""
        publication = self._publication(next(self.numbers))
        publisher = Publisher(lambda: psycopg.connect(self.conninfo))
        return self._timed(lambda: publisher.publish(publication, chunks(self.file), iter(())))

    def by_hand(self, statement: str, *, like: bool = False) -> Cost:
        """The same rows by a statement of one's own, from a scratch table or from one like the target."""
        changeable = [name for name in self.target.written if name != "id"]
        assigned = [sql.SQL("{0} = new.{0}").format(sql.Identifier(name)) for name in changeable]
        made = sql.SQL(statement).format(
            target=self.target.identifier,
            merged=SCRATCH,
            columns=listed(self.target.written),
            old=listed(self.target.written, "kept"),
            new=listed(self.target.written, "new"),
            assigned=sql.SQL(", ").join(assigned),
        )

        def work() -> None:
            with psycopg.connect(self.conninfo) as connection:
                self._load(connection, like=like)
                connection.execute(made)
                connection.execute(template("drop_table", table=SCRATCH))

        return self._timed(work)

    def insert_by_hand(self) -> Cost:
        """COPY, and a plain INSERT into a new table."""
        return self.by_hand(f"{self._created()}; {INSERT}")

    def _created(self) -> str:
        return self.target.creation().as_string(None).replace("{", "{{").replace("}", "}}")

    def _load(self, connection: psycopg.Connection[Any], *, like: bool) -> None:
        target = self.target
        if like:
            made = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS)").format(SCRATCH, target.identifier)
        else:
            made = template("create_merged", merged=SCRATCH, columns=target.definitions(with_rules=False))
        connection.execute(made)
        copy = sql.SQL(COPY).format(
            into=SCRATCH,
            columns=listed(target.written),
            file=sql.Literal(str(self.file)),
            freeze=sql.SQL(", FREEZE"),
        )
        connection.execute(copy)

    def _timed(self, work: Callable[[], object]) -> Cost:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            before = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            started = time.perf_counter()
            with self._reader() as waits:
                work()
            seconds = time.perf_counter() - started
            query = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s) / 1e6"
            [wal] = connection.execute(query, before).fetchone() or [0]
        return Cost(seconds, float(wal), 1000 * max(waits, default=0.0))

    @contextmanager
    def _reader(self) -> Iterator[list[float]]:
        """Read a row of the table again and again, and note the seconds."""
        waits: list[float] = []
        done = Event()

        def read() -> None:
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                while not done.wait(0.01):
                    started = time.perf_counter()
                    with suppress(psycopg.errors.UndefinedTable):
                        connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(self.target.identifier))
                    waits.append(time.perf_counter() - started)

        thread = Thread(target=read)
        thread.start()
        try:
            yield waits
        finally:
            done.set()
            thread.join()

    def execute(self, *statements: str) -> None:
        """Prepare the next measurement."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _publication(self, number: int) -> Publication:
        halves = {"heavy": (self.rows + 1) // 2, "other": self.rows // 2}
        heavy = _feed_rows(published=halves["heavy"], superseded=0)
        other = _feed_rows(published=halves["other"], superseded=halves["heavy"])
        by_day = self.mode is PublishMode.PARTITION
        return Publication(
            table=TABLE,
            publication_key=f"benchmark/{number}",
            run=RunKey(dag_id="benchmark", run_id=str(number)),
            round=1,
            epoch=number + 1,
            content_sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            contract=BY_DAY if by_day else CONTRACT,
            feeds={"heavy": heavy, "other": other},
            mode=self.mode,
            partition_by="since" if by_day else None,
        )


def _feed_rows(*, published: int, superseded: int) -> FeedRows:
    rows = published + superseded
    return FeedRows(
        rows_in=rows, rows_staged=rows, rows_quarantined=0, published=published, superseded=superseded
    )


def chunks(file: Path) -> Iterator[bytes]:
    """The file as a stream of bytes."""
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def write_rows(file: Path, rows: int) -> None:
    """Ten columns, and the four that a merge adds."""
    added = ",".join(["", *(MERGED[name] for name in MERGE_COLUMNS)])
    heavy, other = (added.format(source=source) for source in ("heavy", "other"))
    other = other.replace('"[""other"",""other""]"', '"[""other""]"')
    with file.open("w") as stream:
        for number in range(rows):
            place = f"{number % 180 - 90}.{number % 1000:03},{number % 360 - 180}.{number % 997:03}"
            stream.write(
                f'{number},"Airport number {number}","City {number % 5000}","C{number % 200}",{place},'
                f"{number % 4000},true,2001-02-03,2026-11-22 10:00:00+00{other if number % 2 else heavy}\n"
            )


Ways = dict[str, Callable[[], Cost]]


def inserting(bench: Bench) -> tuple[Ways, Sequence[str]]:
    """A first publication: the table is not there."""
    return {"ours": bench.publish, "COPY, INSERT": bench.insert_by_hand}, [f"DROP TABLE IF EXISTS {TABLE}"]


def upserting(bench: Bench) -> tuple[Ways, Sequence[str]]:
    """Before each measurement 1 % of the rows are made different from the file's."""
    bench.publish()
    others = ", ".join(bench.target.written[1:])
    grow = GROW.format(target=TABLE, rows=bench.rows, times=TIMES_AS_MANY - 1, others=others)
    bench.execute(grow)
    ways: Ways = {
        "ours": bench.publish,
        "COPY, MERGE": lambda: bench.by_hand(MERGE),
        "COPY, UPDATE, INSERT": lambda: bench.by_hand(UPDATE),
    }
    changed = f"id < {bench.rows} AND id % {CHANGED_EVERY} = 0"
    return ways, [f"UPDATE {TABLE} SET city = 'old' WHERE {changed}", f"VACUUM ANALYZE {TABLE}"]


def replacing(bench: Bench) -> tuple[Ways, Sequence[str]]:
    """Before each measurement the last row is made different from the file's."""
    bench.publish()
    ways: Ways = {
        "ours": bench.publish,
        "COPY, key, swap": lambda: bench.by_hand(SWAP, like=True),
        "COPY, TRUNCATE, INSERT": lambda: bench.by_hand(f"TRUNCATE {TABLE}; {INSERT}"),
        "COPY, DELETE, INSERT": lambda: bench.by_hand(f"DELETE FROM {TABLE}; {INSERT}"),
    }
    return ways, [f"UPDATE {TABLE} SET city = 'old' WHERE id % {CHANGED_EVERY} = 0"]


def exchanging(bench: Bench) -> tuple[Ways, Sequence[str]]:
    """As for the whole table, for one of its partitions."""
    bench.publish()
    ways: Ways = {"ours": bench.publish, "COPY, key, attach": lambda: bench.by_hand(EXCHANGE, like=True)}
    return ways, [f"UPDATE {TABLE} SET city = 'old' WHERE id % {CHANGED_EVERY} = 0"]


CASES: dict[str, tuple[PublishMode, Callable[[Bench], tuple[Ways, Sequence[str]]]]] = {
    "insert": (PublishMode.UPSERT, inserting),
    "upsert": (PublishMode.UPSERT, upserting),
    "replace": (PublishMode.REPLACE, replacing),
    "partition": (PublishMode.PARTITION, exchanging),
}


def measure(case: str, rows: int, rounds: int) -> dict[str, list[Cost]]:
    """What each way cost in each round, one after the other in changing order."""
    mode, prepare = CASES[case]
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        server.start()
        try:
            server.create_database("bench")
            file = server.data / "rows.csv"
            write_rows(file, rows)
            file.chmod(0o644)
            bench = Bench(server.dsn("bench"), file, rows, mode, count(1))
            with psycopg.connect(bench.conninfo) as connection:
                migrate(connection)
            ways, before_each = prepare(bench)
            costs: dict[str, list[Cost]] = {name: [] for name in ways}
            for number in range(rounds):
                for name in ways if number % 2 else reversed(ways):
                    bench.execute(*before_each, "CHECKPOINT")
                    costs[name].append(ways[name]())
        finally:
            server.stop()
    return costs


def main(rows: int = ROWS, rounds: int = ROUNDS, cases: Sequence[str] = tuple(CASES)) -> None:
    """Print the ratio of the medians to the best way by hand first."""
    for case in cases:
        costs = measure(case, rows, rounds)
        seconds = {name: median(cost.seconds for cost in found) for name, found in costs.items()}
        best = min((name for name in seconds if name != "ours"), key=lambda name: seconds[name])
        ratios = [
            mine.seconds / theirs.seconds for mine, theirs in zip(costs["ours"], costs[best], strict=True)
        ]
        figures = [
            (f"median ratio to {best}", f"{median(ratios):.2f}", f"<= {TARGET_RATIO}"),
            ("ratio of each round", " ".join(f"{ratio:.2f}" for ratio in ratios), ""),
            ("rows published a second", f"{rows / seconds['ours']:.0f}", ""),
        ]
        for name, found in costs.items():
            wal, wait = median(cost.wal_mb for cost in found), max(cost.wait_ms for cost in found)
            value = f"{seconds[name]:.2f}, {wal:.0f}, {wait:.0f}"
            figures.append((f"{name}: median s, MB of WAL, longest wait of a reader in ms", value, ""))
        show(f"publish, {case}: {rows} rows of 10 columns, {rounds} rounds", figures)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--mode", action="append", choices=CASES, help="one of the cases; all when left out")
    asked = parser.parse_args()
    main(asked.rows, asked.rounds, asked.mode or tuple(CASES))
