"""How much more CPU time does checking every line cost than one hand-written DuckDB statement that trusts them?

The statement reads typed columns and filters with the same six rules; it gets the clean file, since it
could not read the other one at all. Run it with `python -m benchmarks.ingest`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.ingest import ingest
from airflow_orchestration.sources.fetched import Fetched, SourceFile

ROWS = 1_000_000
ROUNDS = 7
TYPES = {
    "id": "BIGINT",
    "code": "VARCHAR",
    "name": "VARCHAR",
    "city": "VARCHAR",
    "lat": "DOUBLE",
    "lon": "DOUBLE",
    "elevation": "BIGINT",
    "active": "BOOLEAN",
    "opened": "DATE",
    "updated": "TIMESTAMP",
}
CITIES = ("Berlin", "São Paulo", "Zürich", "New York", "Tokyo", "Lagos")
CONTRACT = Contract.model_validate(
    {
        "name": "places",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "code", "type": "string", "required": True, "pattern": "[A-J][0-9]{7}"},
            {"name": "name", "type": "string", "max_length": 80},
            {"name": "city", "type": "string"},
            {"name": "lat", "type": "number", "minimum": -90, "maximum": 90},
            {"name": "lon", "type": "number"},
            {"name": "elevation", "type": "integer"},
            {"name": "active", "type": "boolean"},
            {"name": "opened", "type": "date"},
            {"name": "updated", "type": "timestamp"},
        ],
    }
)
SAME_RULES = (
    "id IS NOT NULL AND code IS NOT NULL AND regexp_full_match(code, '[A-J][0-9]{7}') "
    "AND (length(name) <= 80 OR name IS NULL) AND (lat >= -90 OR lat IS NULL) AND (lat <= 90 OR lat IS NULL)"
)
BAD_LINES = (
    'X,"open,1,2,3\n',
    "too,few\n",
    "1.7,A0000001,n,c,1,2,3,true,2026-01-01,2026-01-01 00:00:00\n",
    "7,A0000001,n,c,1,2,1_000,true,2026-01-01,2026-01-01 00:00:00\n",
    "8,A0000001,n,c,NaN,2,3,true,2026-01-01,2026-01-01 00:00:00\n",
    "9,A0000001,n,c,1,2,3,true,2026-01-01,2026-01-01 00:00:00,one,more\n",
    '10,A0000001,n"c,c,1,2,3,"true\n',
    "11,A0000001,n,c,99,2,3,true,2026-01-01,2026-01-01 00:00:00\n",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One run, in seconds."""

    cpu: float
    wall: float


def write_rows(path: Path, *, order: str, quoted: bool = False, bad: bool = False) -> None:
    """Write `ROWS` seeded rows, by key or shuffled; `bad` puts eight lines in that must be found."""
    dice = random.Random(1)
    keys = list(range(ROWS))
    if order == "shuffled":
        dice.shuffle(keys)
    places = dict(zip(dice.sample(range(ROWS), len(BAD_LINES)), BAD_LINES, strict=True)) if bad else {}
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(TYPES) + "\n")
        for number, key in enumerate(keys):
            if number in places:
                file.write(places[number])
            file.write(row(key, dice, quoted=quoted))


def row(key: int, dice: random.Random, *, quoted: bool) -> str:
    """Write one line of the ten columns."""
    name = f"Place number {dice.randrange(10**6)}"
    name = f'"{name}, north"' if quoted else name
    return (
        f"{key},{'ABCDEFGHIJ'[key % 10]}{key:07d},{name},{CITIES[key % 6]},{dice.uniform(-90, 90):.6f},"
        f"{dice.uniform(-180, 180):.6f},{dice.randrange(-100, 9000)},{'true' if key & 1 else 'false'},"
        f"{1950 + key % 70}-0{1 + key % 9}-1{key % 10},"
        f"2026-11-{1 + key % 28:02d} {key % 24:02d}:{key % 60:02d}:{key * 7 % 60:02d}\n"
    )


def by_hand(path: Path, scratch: Path) -> None:
    """Run the statement that someone would write."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in TYPES.items())
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false; SET threads = 2; SET memory_limit = '512MiB'")
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{path}', header = true, auto_detect = false, "
            f"columns = {{{columns}}}) WHERE {SAME_RULES}) "
            f"TO '{scratch / 'hand.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
        )


def ours(path: Path, scratch: Path, *, rejected: int) -> None:
    """Ingest the file, and be sure that nothing went missing."""
    feed = Feed.model_validate(
        {
            "id": "places",
            "uri": f"data/{path.name}",
            "format": "csv",
            "columns": {name: name for name in TYPES},
        }
    )
    done = ingest(
        feed,
        fetched=Fetched(
            files=(SourceFile(path=path, root=path.parent, origin=path.name),), format=feed.format
        ),
        contract=CONTRACT,
        scratch=scratch,
    )
    if (done.rows_in, done.rows_quarantined) != (ROWS + rejected, rejected):
        raise AssertionError(done)


def timed(work: Callable[[Path], None], folder: Path) -> Timing:
    """Run in a fresh folder and take the time."""
    with TemporaryDirectory(dir=folder) as scratch:
        cpu, wall = time.process_time(), time.perf_counter()
        work(Path(scratch))
        return Timing(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def cases(folder: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield what is compared, the hand-written statement first."""
    files = {name: folder / f"{name}.csv" for name in ("clean", "bad", "shuffled", "quoted")}
    write_rows(files["clean"], order="by key")
    write_rows(files["bad"], order="by key", bad=True)
    write_rows(files["shuffled"], order="shuffled", bad=True)
    write_rows(files["quoted"], order="by key", quoted=True)
    bad = len(BAD_LINES)
    yield "by hand, clean file", lambda scratch: by_hand(files["clean"], scratch)
    yield "ingest, clean file", lambda scratch: ours(files["clean"], scratch, rejected=0)
    yield f"ingest, {bad} bad lines", lambda scratch: ours(files["bad"], scratch, rejected=bad)
    yield (
        f"ingest, {bad} bad lines, shuffled keys",
        lambda scratch: ours(files["shuffled"], scratch, rejected=bad),
    )
    yield "by hand, quoted names", lambda scratch: by_hand(files["quoted"], scratch)
    yield "ingest, quoted names", lambda scratch: ours(files["quoted"], scratch, rejected=0)


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Interleave the cases; one row each with ratios to the hand-written statement before it, and seconds."""
    with TemporaryDirectory() as name:
        compared = list(cases(Path(name)))
        timings: dict[str, list[Timing]] = {title: [] for title, _ in compared}
        for _ in range(rounds):
            for title, work in compared:
                timings[title].append(timed(work, Path(name)))
    return list(rows(timings))


def rows(timings: dict[str, list[Timing]]) -> Iterator[dict[str, object]]:
    """Turn timings into the table; the ratio is the median of the rounds' ratios."""
    base: list[Timing] = []
    for title, taken in timings.items():
        if title.startswith("by hand"):
            base = taken
        pairs = list(zip(taken, base, strict=True))
        yield {
            "case": title,
            "cpu_ratio": median(one.cpu / other.cpu for one, other in pairs),
            "wall_ratio": median(one.wall / other.wall for one, other in pairs),
            "cpu_s": median(one.cpu for one in taken),
            "wall_s": median(one.wall for one in taken),
        }


def main() -> None:
    """Print the table."""
    print(f"{ROWS:,} rows x {len(TYPES)} columns, medians of {ROUNDS} interleaved rounds\n")
    print(f"{'case':42} {'CPU ratio':>9} {'wall ratio':>10} {'CPU s':>7} {'wall s':>7}")
    for line in run():
        print(
            f"{line['case']:42} {line['cpu_ratio']:9.2f} {line['wall_ratio']:10.2f} "
            f"{line['cpu_s']:7.2f} {line['wall_s']:7.2f}"
        )


if __name__ == "__main__":
    main()
