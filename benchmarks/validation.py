"""What do well-known libraries take for the same ten rules over the same rows, the good ones written as Parquet?

Ours reads Parquet, checks, puts aside bad rows with their position, rule and reason, stages the good ones and
accounts for all. The libraries get a Parquet file too, judge it, and write what they let pass. They live in an
environment below `.orchestration` that is made at the first run by pip, and are no dependency.
`python -m benchmarks validation [ROWS [ROUNDS]]`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks import places, validators
from benchmarks.alone import alone
from benchmarks.ingest import MEMORY_MB, ours

ROWS, ROUNDS = 1_000_000, 3
REQUIREMENTS = (
    "pandera[polars]==0.35.0",
    "pointblank[pl]==1.1.1",
    "great-expectations==1.24.1",
    "pyarrow==26.0.1",
)
ENVIRONMENT = Path(__file__).parents[1] / ".orchestration" / "bench-venv"
OURS = "ours"
Figures = dict[str, float]


def main(rows: int = ROWS, rounds: int = ROUNDS) -> None:
    """Print medians, and each as a multiple of ours."""
    python, bad = environment(), places.bad_rows(rows)
    found: dict[str, list[Figures]] = {name: [] for name in (OURS, *validators.LIBRARIES)}
    with TemporaryDirectory(prefix="bench-") as name:
        folder, source = Path(name), Path(name) / "bad.parquet"
        alone(write, folder, source, rows)
        for _ in range(rounds):
            run = alone(ours, folder, source, MEMORY_MB, rows, bad)
            found[OURS].append({"cpu": run.cpu, "wall": run.wall, "peak_mb": run.peak_mb})
            for library in validators.LIBRARIES:
                found[library].append(other(python, library, source, bad))
    table = Table(
        title=f"{rows:,} rows x {len(places.TYPES)} columns in Parquet, {bad} bad, 10 rules, medians of {rounds} rounds",
        title_justify="left",
    )
    headings = (
        "check and keep the good",
        "CPU",
        "wall",
        "peak",
        "CPU s",
        "of it judging",
        "wall s",
        "peak MB",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading.startswith("check") else "right")
    for library, taken in found.items():
        table.add_row(library, *_figures(taken, found[OURS]))
    Console(width=110).print(table)


def write(scratch: Path, target: Path, rows: int) -> None:
    """Write the rows."""
    places.write_clean(rows, parquet=scratch / "clean.parquet")
    places.write_bad_parquet(rows, scratch / "clean.parquet", target)


def environment() -> Path:
    """Return the Python of the libraries' own environment, which is made when it isn't there."""
    python, made = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS)
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        made.write_text(wanted)
    return python


def other(python: Path, library: str, source: Path, bad: int) -> Figures:
    """Let a library do the work in a process of its own; it must find the same rows."""
    target = source.with_name("kept.parquet")
    command = [str(python), validators.__file__, library, str(source), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=source.parent)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    if found["bad"] != bad:
        raise AssertionError((library, found))
    return found


def _figures(taken: list[Figures], base: list[Figures]) -> list[str]:
    pairs = list(zip(taken, base, strict=True))
    ratios = [
        f"{median(one[name] / mine[name] for one, mine in pairs):.2f}" for name in ("cpu", "wall", "peak_mb")
    ]
    judging = [one["judging"] for one in taken if "judging" in one]
    return [
        *ratios,
        f"{median(one['cpu'] for one in taken):.2f}",
        f"{median(judging):.2f}" if judging else "",
        f"{median(one['wall'] for one in taken):.2f}",
        f"{max(one['peak_mb'] for one in taken):.0f}",
    ]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
