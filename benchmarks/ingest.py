"""What does it cost to account for every row? (targets: CPU <= 1.2 times a trusting statement, 1.5 with bad lines)

The statement is what someone would write by hand in DuckDB for the same staged file: read typed columns, keep
the rows that keep the ten rules, look for repeated keys, count filled cells. It trusts the file and gives no
reasons. It gets the clean file, since it could not read the other one at all. Every run is a process of its own.
`python -m benchmarks ingest [ROWS [ROUNDS [MEMORY_MB]]]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import duckdb
from rich.console import Console
from rich.table import Table

from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.ingest import ingest
from airflow_orchestration.engine.part import PARQUET
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from benchmarks import places
from benchmarks.alone import Run, alone

ROWS, ROUNDS, MEMORY_MB = 1_000_000, 5, 512
CLEAN, DIRTY = 1.2, 1.5
"""The targets."""
OVERHEAD_MB = 200
"""What a process may take beyond the bound of the engine's buffers: Python, libraries, the reader's lines."""
THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table; `target` is that of the CPU ratio to the statement over `base`."""

    title: str
    work: Callable[..., None]
    file: str
    base: str
    target: float | None = None
    bad: int = 0


def by_hand(scratch: Path, path: Path, memory_mb: int) -> None:
    """Run the statements that someone would write."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in places.TYPES.items())
    staged = scratch / "hand.parquet"
    source = f"read_parquet('{path}')"
    if path.suffix == ".csv":
        source = f"read_csv('{path}', header = true, auto_detect = false, columns = {{{columns}}})"
    with duckdb.connect() as connection:
        connection.execute(
            f"SET enable_progress_bar = false; SET threads = {THREADS}; SET memory_limit = '{memory_mb}MiB'; "
            f"SET temp_directory = '{scratch / 'spill'}'"
        )
        connection.execute(f"COPY (FROM {source} WHERE {places.SAME_RULES}) TO '{staged}' {PARQUET}")
        repeated = connection.execute(
            f"SELECT count(*) FROM (SELECT id FROM '{staged}' GROUP BY id HAVING count(*) > 1)"
        ).fetchone()
        connection.execute(
            f"SELECT path_in_schema, sum(num_values - stats_null_count) FROM parquet_metadata('{staged}') GROUP BY 1"
        ).fetchall()
    if repeated != (0,):
        raise AssertionError(repeated)


def ours(scratch: Path, path: Path, memory_mb: int, rows: int, bad: int) -> None:
    """Ingest the file, and be sure that nothing went missing."""
    feed = Feed.model_validate(
        {
            "id": "places",
            "uri": f"data/{path.name}",
            "format": path.suffix[1:],
            "columns": {name: name for name in places.TYPES},
        }
    )
    done = ingest(
        feed,
        fetched=Fetched(
            files=(SourceFile(path=path, root=path.parent, origin=path.name),),
            format=FeedFormat(path.suffix[1:]),
        ),
        contract=places.CONTRACT,
        scratch=scratch,
        memory_mb=memory_mb,
        threads=THREADS,
    )
    if (done.rows_in, done.rows_quarantined) != (rows, bad):
        raise AssertionError(done)


def write_files(_: Path, folder: Path, rows: int) -> None:
    """Write the files of all cases."""
    places.write_clean(rows, folder / "clean.csv", folder / "clean.parquet")
    places.write_clean(rows, folder / "shuffled.csv", rising=False)
    places.write_bad_csv(rows, folder / "clean.csv", folder / "bad.csv")
    places.write_bad_parquet(rows, folder / "clean.parquet", folder / "bad.parquet")


def cases(bad: int) -> Iterator[Case]:
    """Yield what is compared."""
    yield Case(title="CSV, by hand", work=by_hand, file="clean.csv", base="clean.csv")
    yield Case(title="CSV, clean", work=ours, file="clean.csv", base="clean.csv", target=CLEAN)
    yield Case(
        title=f"CSV, {bad} bad lines", work=ours, file="bad.csv", base="clean.csv", target=DIRTY, bad=bad
    )
    yield Case(title="CSV, keys in no order, by hand", work=by_hand, file="shuffled.csv", base="shuffled.csv")
    yield Case(
        title="CSV, keys in no order", work=ours, file="shuffled.csv", base="shuffled.csv", target=CLEAN
    )
    yield Case(title="Parquet, by hand", work=by_hand, file="clean.parquet", base="clean.parquet")
    yield Case(title="Parquet, clean", work=ours, file="clean.parquet", base="clean.parquet", target=CLEAN)
    yield Case(
        title=f"Parquet, {bad} bad rows",
        work=ours,
        file="bad.parquet",
        base="clean.parquet",
        target=DIRTY,
        bad=bad,
    )


def run(rows: int, rounds: int, memory_mb: int) -> Iterator[tuple[Case, list[Run]]]:
    """Interleave the cases, each run in a process of its own."""
    compared = list(cases(places.bad_rows(rows)))
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        alone(write_files, folder, folder, rows)
        runs: dict[str, list[Run]] = {case.title: [] for case in compared}
        for _ in range(rounds):
            for case in compared:
                counts = () if case.work is by_hand else (rows + _added(case), case.bad)
                runs[case.title].append(alone(case.work, folder, folder / case.file, memory_mb, *counts))
    for case in compared:
        yield case, runs[case.title]


def _added(case: Case) -> int:
    """Bad lines stand beside the good ones, bad rows in place of them."""
    return case.bad if case.file.endswith(".csv") else 0


def main(rows: int = ROWS, rounds: int = ROUNDS, memory_mb: int = MEMORY_MB) -> None:
    """Print the table; a ratio is the median of the rounds' ratios."""
    table = Table(
        title=f"{rows:,} rows x {len(places.TYPES)} columns, 10 rules, {memory_mb} MiB, medians of {rounds} rounds",
        title_justify="left",
    )
    for heading in ("read, check, stage", "CPU", "target", "wall", "CPU s", "wall s", "peak MB"):
        table.add_column(heading, justify="left" if heading.startswith("read") else "right")
    found = list(run(rows, rounds, memory_mb))
    bases = {case.base: taken for case, taken in found if case.work is by_hand}
    for case, taken in found:
        table.add_row(case.title, *_figures(case, taken, bases[case.base]))
    peak = max(one.peak_mb for case, taken in found if case.work is ours for one in taken)
    console = Console(width=110)
    console.print(table)
    console.print(
        f"Peak memory {peak:.0f} MB; the bound of the buffers and {OVERHEAD_MB} MB: {memory_mb + OVERHEAD_MB}"
    )


def _figures(case: Case, taken: list[Run], base: list[Run]) -> Iterator[str]:
    pairs = list(zip(taken, base, strict=True))
    yield f"{median(one.cpu / other.cpu for one, other in pairs):.2f}"
    yield f"<= {case.target}" if case.target else ""
    yield f"{median(one.wall / other.wall for one, other in pairs):.2f}"
    yield f"{median(one.cpu for one in taken):.2f}"
    yield f"{median(one.wall for one in taken):.2f}"
    yield f"{max(one.peak_mb for one in taken):.0f}"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
