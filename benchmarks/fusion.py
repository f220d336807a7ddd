"""What does a merge cost against one hand-written DuckDB statement for the same values? (target: <= 1.3)

Five sources; value, origin, confidence and conflicts by three strategies. The statement trusts that keys are
unique, counts nothing, and leaves the rows in no order. Each run is a process of its own, with the same bound
on the engine's memory. `python -m benchmarks.fusion [ROWS [ROUNDS]]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.engine.fusing import FusionSource, fuse
from airflow_orchestration.engine.part import PARQUET
from benchmarks.table import show

TARGET_RATIO, TARGET_GROWTH, TARGET_MB = 1.3, 1.3, 1024
ROWS, ROUNDS = 2_000_000, 3
SOURCES = 5
GROWTH = 8
"""Half of the rows, and so many times that, are merged once as well."""
MEMORY_MB = 600
CONTRACT = Contract.model_validate(
    {
        "name": "places",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "name", "type": "string"},
            {"name": "city", "type": "string"},
            {"name": "amount", "type": "number"},
            {"name": "latitude", "type": "number"},
            {"name": "level", "type": "integer"},
        ],
    }
)
MERGE = Merge.model_validate(
    {
        "strategy": "primary",
        "attributes": {"city": "vote", "latitude": "mean"},
        "tolerance": {"amount": 0.02, "latitude": 0.45},
    }
)
ATTRIBUTES = [column.name for column in CONTRACT.attributes]
MARGINS = {"amount": 0.02, "latitude": 0.45}
WEIGHTS = [5, 4, 3, 2, 1]
NUMBERS = range(SOURCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One merge in a process of its own."""

    wall: float
    cpu: float
    peak_mb: float


def write_sources(folder: Path, rows: int) -> None:
    """Write sources that know two thirds of the keys each, in no order, and differ in some values."""
    keys = rows * 3 // 2
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false; SET threads = 2")
        for i in NUMBERS:
            key = f"(SELECT (n * 7919 + {i * 1_000_003}) % {keys} AS id FROM range({rows}) AS t (n))"
            connection.execute(
                f"COPY (SELECT id, CASE WHEN hash(id, {i}, 1) % 20 > 0 THEN 'name ' || "
                f"(id * 3 + CASE WHEN hash(id, {i}, 6) % 10 = 0 THEN hash(id, {i}, 2) % 3 ELSE 0 END) END AS name, "
                f"'city ' || (hash(id) % 1000 + (hash(id, {i}, 7) % 20 = 0)::INT) AS city, "
                f"id / 7.0::DOUBLE + (hash(id, {i}, 3) % 7) / 100.0 AS amount, "
                f"(hash(id, 9) % 180)::DOUBLE + (hash(id, {i}, 8) % 20 = 0)::INT AS latitude, "
                f"CASE WHEN hash(id, {i}, 4) % 3 > 0 THEN (hash(id, {i}, 5) % 4)::BIGINT END AS level FROM {key}) "
                f"TO '{folder / f'{i}.parquet'}' {PARQUET}"
            )


def ours(folder: Path) -> None:
    """Merge as a pipeline does."""
    sources = [
        FusionSource(feed_id=f"feed{i}", path=folder / f"{i}.parquet", weight=WEIGHTS[i]) for i in NUMBERS
    ]
    fuse(sources, contract=CONTRACT, merge=MERGE, scratch=folder, memory_mb=MEMORY_MB)


def by_hand(folder: Path) -> None:
    """Run the statement that someone would write."""
    with duckdb.connect() as connection:
        connection.execute(
            f"SET enable_progress_bar = false; SET threads = 2; SET memory_limit = '{MEMORY_MB}MiB'; "
            f"SET temp_directory = '{folder / 'spill'}'; SET preserve_insertion_order = false"
        )
        connection.execute(f"COPY ({statement(folder)}) TO '{folder / 'hand.parquet'}' {PARQUET}")


def statement(folder: Path) -> str:
    """Return it: join, choose, compare, write down."""
    joined = f"'{folder / '0.parquet'}' AS s0"
    for i in NUMBERS[1:]:
        joined += f" FULL JOIN '{folder / f'{i}.parquet'}' AS s{i} USING (id)"
    said = ", ".join(f"s{i}.{name} AS {name}_{i}" for i in NUMBERS for name in ATTRIBUTES)
    knows = ", ".join(f"s{i}.city IS NOT NULL AS knows_{i}" for i in NUMBERS)
    votes = ", ".join(f"{weight('city', f'city_{i}', '=')} AS votes_{i}" for i in NUMBERS)
    best = ", ".join(f"votes_{i}" for i in NUMBERS)
    top = " ".join(f"WHEN city_{i} IS NOT NULL AND votes_{i} = best THEN city_{i}" for i in NUMBERS)
    firsts = ", ".join(
        f"coalesce({', '.join(f'{name}_{i}' for i in NUMBERS)}) AS {name}"
        for name in ("name", "amount", "level")
    )
    summed = " + ".join(f"coalesce(latitude_{i} * {WEIGHTS[i]}, 0)" for i in NUMBERS)
    chosen = f"{firsts}, CASE {top} END AS city, ({summed}) / ({present('latitude')}) AS latitude"
    shares = ", ".join(
        f"({weight(name, name, '~')}) / ({present(name)}) AS share_{name}" for name in ATTRIBUTES
    )
    return (
        f"SELECT id, name, city, amount, latitude, level, {texts()} FROM (SELECT *, {shares} FROM (SELECT *, {chosen} "
        f"FROM (SELECT *, greatest({best}) AS best FROM (SELECT *, {votes} FROM "
        f"(SELECT id, {said}, {knows} FROM {joined})))))"
    )


def weight(name: str, value: str, sign: str) -> str:
    """Return SQL for the weight of the sources that say a value, or with `~` nearly so."""
    margin = MARGINS.get(name)
    same = (
        f"= {value}"
        if sign == "=" or margin is None
        else f"BETWEEN {value} - {margin} AND {value} + {margin}"
    )
    return " + ".join(f"CASE WHEN {name}_{i} {same} THEN {WEIGHTS[i]}.0::DOUBLE ELSE 0 END" for i in NUMBERS)


def present(name: str) -> str:
    """Return SQL for the weight of the sources with a value."""
    return " + ".join(
        f"CASE WHEN {name}_{i} IS NOT NULL THEN {WEIGHTS[i]}.0::DOUBLE ELSE 0 END" for i in NUMBERS
    )


def texts() -> str:
    """Return SQL for the columns that say where values are from and how sure they are."""
    listed = ", ".join(f"CASE WHEN knows_{i} THEN '\"feed{i}\"' END" for i in NUMBERS)
    primary = " ".join(f"WHEN knows_{i} THEN 'feed{i}'" for i in NUMBERS)
    made = ", ".join(f"CASE WHEN latitude_{i} IS NOT NULL THEN '\"feed{i}\"' END" for i in NUMBERS)
    origins = {"latitude": f"'\"latitude\":[' || concat_ws(',', {made}) || ']'"}
    for name in ("name", "city", "amount", "level"):
        holds = "votes_{i} = best AND city_{i} IS NOT NULL" if name == "city" else name + "_{i} IS NOT NULL"
        cases = " ".join(f'WHEN {holds.format(i=i)} THEN \'"{name}":"feed{i}"\'' for i in NUMBERS)
        origins[name] = f"CASE {cases} END"
    attribution = ", ".join(origins[name] for name in ATTRIBUTES)
    confidence = ", ".join(
        f"CASE WHEN share_{name} = 1 THEN '\"{name}\":1.0' ELSE '\"{name}\":' || round(share_{name}, 4) END"
        for name in ATTRIBUTES
    )
    conflicts = ", ".join(f"CASE WHEN share_{name} < 1 THEN '\"{name}\"' END" for name in ATTRIBUTES)
    return (
        f"CASE {primary} END AS _primary_source, '[' || concat_ws(',', {listed}) || ']' AS _sources, "
        f"'{{' || concat_ws(',', {attribution}) || '}}' AS _attribution, "
        f"'{{' || concat_ws(',', {confidence}) || '}}' AS _confidence, "
        f"'[' || concat_ws(',', {conflicts}) || ']' AS _conflicts"
    )


def differences(folder: Path) -> int:
    """Count the rows in which both differ; the mean up to the last digits."""
    exact = "id, name, city, amount, level, round(latitude, 6), _primary_source, _sources, _attribution, _conflicts"
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(*) FROM (SELECT {exact} FROM '{folder / 'hand.parquet'}' EXCEPT "
            f"SELECT {exact} FROM '{folder / 'merged.parquet'}')"
        ).fetchone()
    return int(found[0]) if found else -1


def timed(work: Callable[[Path], None], folder: Path) -> Run:
    """Run and take the time."""
    cpu, wall = time.process_time(), time.perf_counter()
    work(folder)
    return Run(
        wall=time.perf_counter() - wall,
        cpu=time.process_time() - cpu,
        peak_mb=peak_mb(),
    )


def peak_mb() -> float:
    """Read the peak from the kernel: the one of `resource` begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024


def alone(work: Callable[[Path], None], folder: Path) -> Run:
    """Run in a fresh process, whose memory is the work's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(timed, work, folder).result()


def main(rows: int = ROWS, rounds: int = ROUNDS) -> None:
    """Print the ratios first."""
    mine, theirs = [], []
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        write_sources(folder, rows)
        for _ in range(rounds):
            mine.append(alone(ours, folder))
            theirs.append(alone(by_hand, folder))
        differing = differences(folder)
    few, many = grown(rows // 2), grown(rows // 2 * GROWTH)
    ratios = [one.cpu / other.cpu for one, other in zip(mine, theirs, strict=True)]
    walls = [one.wall / other.wall for one, other in zip(mine, theirs, strict=True)]
    more = f"a row of {rows // 2 * GROWTH} against one of {rows // 2}"
    show(
        f"fusion: {SOURCES} sources of {rows} rows within {MEMORY_MB} MiB of buffers, {rounds} rounds",
        [
            ("CPU time against a statement by hand", f"{median(ratios):.2f}", f"<= {TARGET_RATIO}"),
            ("wall time against it", f"{median(walls):.2f}", f"<= {TARGET_RATIO}"),
            (f"wall time of {more}", f"{many.wall / few.wall / GROWTH:.2f}", f"<= {TARGET_GROWTH}"),
            (f"CPU time of {more}", f"{many.cpu / few.cpu / GROWTH:.2f}", ""),
            (
                "peak memory of the process, MB",
                f"{max(one.peak_mb for one in [*mine, many]):.0f}",
                f"<= {TARGET_MB}",
            ),
            ("rows that differ", f"{differing}", "0"),
            ("merge, median s (CPU s)", _seconds(mine), ""),
            ("by hand, median s (CPU s)", _seconds(theirs), ""),
        ],
    )


def grown(rows: int) -> Run:
    """Merge another number of rows."""
    with TemporaryDirectory(prefix="bench-") as name:
        write_sources(Path(name), rows)
        return alone(ours, Path(name))


def _seconds(runs: list[Run]) -> str:
    return f"{median(one.wall for one in runs):.1f} ({median(one.cpu for one in runs):.1f})"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
