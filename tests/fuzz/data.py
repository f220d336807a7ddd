"""Gives feeds to the engine, in this process or as a branch does, and counts what became of their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from tests.fuzz.branch import as_a_branch
from tests.fuzz.contracts import ALLOWED, CONTRACTS
from tests.fuzz.inputs import Made
from tests.fuzz.judging import require
from tests.fuzz.meaning import agrees, good_rows
from tests.fuzz.parquet import writer
from tests.fuzz.reading import Line, header_of, physical_rows

DUPLICATE_KEY = "duplicate_key"


def look_at_data(made: Made, folder: Path) -> None:
    """Ingest a feed; every row is staged or put aside, and what is staged is what the file says."""
    if made.terms["apart"]:
        as_a_branch(made, folder, _check)
        return
    contract = CONTRACTS[made.terms["contract"]]
    feed = Feed.model_validate_json(json.dumps(made.terms["feed"]))
    assert feed.format is not None
    path = folder / made.terms["feed"]["uri"]
    files = (SourceFile(path=path, root=path.parent, origin=f"in/{path.name}"),)
    with TemporaryDirectory(prefix="fuzz-scratch-") as scratch:
        done = ingest(
            feed,
            fetched=Fetched(files=files, format=feed.format),
            contract=contract,
            scratch=Path(scratch),
            threads=1,
        )
        _check_ingested(made, done)


def _check_ingested(made: Made, done: Ingested) -> None:
    require(done.rows_in == done.rows_staged + done.rows_quarantined, "rows in and rows out differ")
    require(
        sum(done.rejects.values()) == done.rows_quarantined,
        "the rejects by rule are not all that were put aside",
    )
    _check(made, done.rows_in, done.staged, done.quarantine)


def _check(made: Made, rows_in: int, staged: Path, quarantine: Path | None) -> None:
    """Compare the files with the feed's own, read in plain Python."""
    found = _table(staged)
    aside = [] if quarantine is None else _table(quarantine)
    positions = sorted([row["_position"] for row in found] + [row["position"] for row in aside])
    require(len(positions) == rows_in, f"{rows_in} rows in, and {len(positions)} in the files")
    require(len(set(positions)) == len(positions), "a position stands twice in the files")
    require(all(row["reason"] and row["rule"] for row in aside), "a row was put aside without a reason")
    wrong = list(_not_allowed(found))
    require(not wrong, "; ".join(wrong[:3]))
    if made.terms.get("rows") is not None:
        require(rows_in == made.terms["rows"], f"{made.terms['rows']} rows were written and {rows_in} read")
    rows, header = _written(made)
    if rows is not None:
        require(sorted(rows) == positions, _difference(sorted(rows), positions))
        wrong = list(_not_said(found, rows, made.terms["feed"], header))
        require(not wrong, "; ".join(wrong[:3]))
        unclear = any(line is None for line in rows.values())  # which may have the key of any other
        for_itself = {row["position"] for row in aside if not (unclear and row["rule"] == DUPLICATE_KEY)}
        refused = good_rows(rows, made.terms["feed"], header) & for_itself
        require(not refused, f"rows {sorted(refused)[:5]} are good and were put aside")


def _written(made: Made) -> tuple[Mapping[int, Line] | None, Sequence[str]]:
    """The rows of the file with the names of its columns, where that can be known."""
    feed = made.terms["feed"]
    (data,) = made.files.values()
    if feed["format"] != "parquet":
        return physical_rows(data, feed), header_of(data, feed) if feed["format"] == "csv" else []
    if made.terms.get("rows") is None:
        return None, []
    with NamedTemporaryFile(suffix=".parquet") as file:
        file.write(data)
        file.flush()
        return dict(enumerate(_table(Path(file.name)), 1)), []


def _difference(written: Sequence[int], told: Sequence[int]) -> str:
    lost, made_up = sorted(set(written) - set(told)), sorted(set(told) - set(written))
    return f"{len(written)} rows are written and {len(told)} told: lost {lost[:5]}, made up {made_up[:5]}"


def _table(path: Path) -> list[dict[str, Any]]:
    cursor = writer().execute(f"FROM read_parquet('{path}')")
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _not_allowed(staged: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Staged values that the contract does not allow, and keys that stand twice."""
    keys = [row["id"] for row in staged]
    if len(set(keys)) != len(keys):
        yield "a key was staged twice"
    for row in staged:
        for name, allowed in ALLOWED.items():
            if not allowed(row.get(name)):
                yield f"staged {name} is {row.get(name)!a}"[:300]


def _not_said(
    staged: Sequence[Mapping[str, Any]],
    rows: Mapping[int, Line],
    feed: Mapping[str, Any],
    header: Sequence[str],
) -> Iterator[str]:
    """Staged values that are not those of their row of the file."""
    for row in staged:
        line = rows[row["_position"]]
        if line is None:
            continue
        for name, source in feed["columns"].items():
            if not isinstance(source, str) or source.startswith("$"):
                continue
            said = _said(line, source, header)
            if said is not _UNKNOWN and not agrees(name, row[name], said, feed):
                yield f"row {row['_position']}: {name} is {row[name]!a}, the file says {said!a}"[:400]


_UNKNOWN = object()


def _said(line: list[str] | dict[str, Any], source: str, header: Sequence[str]) -> Any:
    if isinstance(line, dict):
        return line.get(source)
    at = header.index(source) if source in header else len(line)
    return line[at] if at < len(line) else _UNKNOWN
