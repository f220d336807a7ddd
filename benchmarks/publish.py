"""What does publishing exactly once cost, against the server's own COPY and the same INSERT? (target: <= 1.5)

`python -m benchmarks.publish [ROWS [ROUNDS]]`: starts an empty server of its own, and takes turns.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.publishing import FeedRows, Publication, Publisher
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.target import template
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres

TARGET_RATIO = 1.5
ROWS, ROUNDS = 1_000_000, 3
CHUNK = 1 << 20
CONTRACT = Contract(
    name="benchmark",
    key=("id",),
    columns=(
        Column(name="id", type=ColumnType.INTEGER, required=True),
        Column(name="name", type=ColumnType.STRING, required=True),
        Column(name="city", type=ColumnType.STRING),
        Column(name="country", type=ColumnType.STRING),
        Column(name="latitude", type=ColumnType.NUMBER),
        Column(name="longitude", type=ColumnType.NUMBER),
        Column(name="elevation", type=ColumnType.INTEGER),
        Column(name="open", type=ColumnType.BOOLEAN),
        Column(name="since", type=ColumnType.DATE),
        Column(name="seen_at", type=ColumnType.TIMESTAMP),
    ),
)
MERGED = ', "{source}", "[""{source}"",""other""]", "{{""name"": ""{source}""}}", "{{""name"": 1}}"'.replace(
    ", ", ","
)


@dataclass(frozen=True)
class Bench:
    """A fresh database and a file of rows that its server can read."""

    conninfo: str
    file: Path
    rows: int

    def publish(self, number: int) -> float:
        """Seconds of a publication into a table that is not there yet."""
        publication = self._publication(f"public.published_{number}", number)
        started = time.perf_counter()
        published = Publisher(lambda: psycopg.connect(self.conninfo)).publish(
            publication, chunks(self.file), iter(())
        )
        seconds = time.perf_counter() - started
        assert published.rows_inserted == self.rows
        return seconds

    def raw(self, number: int) -> float:
        """Seconds of a COPY that the server reads from the file, and of the same INSERT."""
        publication = self._publication(f"public.raw_{number}", number)
        target, scratch = publication.target, sql.Identifier("public", f"scratch_{number}")
        unused = sql.Identifier("public", f"scratch_{number}_unused")
        started = time.perf_counter()
        with psycopg.connect(self.conninfo) as connection:
            connection.execute(
                template(
                    "create_scratch",
                    merged=scratch,
                    quarantined=unused,
                    columns=target.definitions(with_rules=False),
                )
            )
            copy = sql.SQL("COPY {} FROM {} (FORMAT csv, NULL '', FREEZE)")
            connection.execute(copy.format(scratch, sql.Literal(str(self.file))))
            connection.execute(target.creation())
            stamps = {"run_id": "raw", "published_at": "2026-11-22"}
            written = connection.execute(target.upsert(scratch), stamps).fetchone()
            connection.execute(template("drop_table", table=scratch))
        seconds = time.perf_counter() - started
        assert written == (self.rows, 0)
        return seconds

    def drop(self, number: int) -> None:
        """Give the disk back, and let the server write out what it still holds."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for name in (f"published_{number}", f"raw_{number}"):
                connection.execute(template("drop_table", table=sql.Identifier("public", name)))
            connection.execute("CHECKPOINT")

    def _publication(self, table: str, number: int) -> Publication:
        halves = {"heavy": (self.rows + 1) // 2, "other": self.rows // 2}
        both = {
            "heavy": FeedRows(
                rows_in=halves["heavy"],
                rows_staged=halves["heavy"],
                rows_quarantined=0,
                published=halves["heavy"],
                superseded=0,
            ),
            "other": FeedRows(
                rows_in=self.rows,
                rows_staged=self.rows,
                rows_quarantined=0,
                published=halves["other"],
                superseded=halves["heavy"],
            ),
        }
        return Publication(
            table=table,
            publication_key=f"benchmark/{number}",
            run=RunKey(dag_id="benchmark", run_id=str(number)),
            round=1,
            epoch=number + 1,
            content_sha256=hashlib.sha256(table.encode()).hexdigest(),
            contract=CONTRACT,
            feeds=both,
        )


def chunks(file: Path) -> Iterator[bytes]:
    """The file as a stream of bytes."""
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def write_rows(file: Path, rows: int) -> None:
    """Ten columns, and the four that a merge adds."""
    heavy, other = (MERGED.format(source=source) for source in ("heavy", "other"))
    other = other.replace('"[""other"",""other""]"', '"[""other""]"')
    with file.open("w") as stream:
        for number in range(rows):
            place = f"{number % 180 - 90}.{number % 1000:03},{number % 360 - 180}.{number % 997:03}"
            stream.write(
                f'{number},"Airport number {number}","City {number % 5000}","C{number % 200}",{place},'
                f"{number % 4000},true,2001-02-03,2026-11-22 10:00:00+00{other if number % 2 else heavy}\n"
            )


def measure(rows: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each round, ours and raw, one after the other in changing order."""
    ours, raw = [], []
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        server.start()
        try:
            server.create_database("bench")
            file = server.data / "rows.csv"
            write_rows(file, rows)
            file.chmod(0o644)
            bench = Bench(server.dsn("bench"), file, rows)
            with psycopg.connect(bench.conninfo) as connection:
                migrate(connection)
            for number in range(rounds):
                steps: list[tuple[list[float], Callable[[int], float]]] = [
                    (ours, bench.publish),
                    (raw, bench.raw),
                ]
                for seconds, step in steps if number % 2 else reversed(steps):
                    seconds.append(step(number))
                bench.drop(number)
        finally:
            server.stop()
    return ours, raw


def main(rows: int = ROWS, rounds: int = ROUNDS) -> None:
    """Print the ratio of the medians first."""
    ours, raw = measure(rows, rounds)
    ratios = [mine / theirs for mine, theirs in zip(ours, raw, strict=True)]
    figures = [
        ("median ratio", f"{median(ratios):.2f}", f"<= {TARGET_RATIO}"),
        ("ratio of each round", " ".join(f"{ratio:.2f}" for ratio in ratios), ""),
        ("Publisher.publish, median s", f"{median(ours):.2f}", ""),
        ("COPY FROM file and INSERT, median s", f"{median(raw):.2f}", ""),
        ("rows published a second", f"{rows / median(ours):.0f}", ""),
    ]
    show(f"publish: {rows} rows of 10 columns into an empty table, {rounds} rounds", figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
