"""`quarantine`: which rows of a run were put aside, by feed and rule; with `--csv` all of them."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_orchestration.cli.runs import known_run
from airflow_orchestration.cli.terminal import (
    at_work,
    plain_table,
    print_json,
    refused,
    refusing,
    tell,
    tracked,
    writing,
)
from airflow_orchestration.domain.quarantined_row import QuarantinedRow
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.exceptions import ProblemCode
from airflow_orchestration.hooks.orchestration import OrchestrationHook, reader_of
from airflow_orchestration.hooks.outside import staging_area
from airflow_orchestration.insights.quarantine import NO_LIMITS, all_rows_of, quarantine_of
from airflow_orchestration.insights.run_facts import spec_of
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey

COLUMNS = ("feed", "rule", "origin", "position", "column", "reason", "raw")
"""The columns of the CSV."""
AT_ONCE = 1_000
"""Rows that are read before they are written."""
PATIENT_READER = partial(reader_of, statement_limit=None)
"""Who asks for all rows may wait for them, and can end it."""


@refusing
def quarantine(args: Namespace) -> None:
    """Show counts and samples, or write every row to a file."""
    chosen = {"feed": args.feed, "rule": args.rule}
    with OrchestrationHook(args.conn_id).store() as store:
        key = known_run(store, args.run)
        spec = store.readings.run(key).run["spec"]
        if not spec:
            raise refused(
                "RUN",
                f"{args.run} was refused before it read anything; `explain` tells why",
                code=ProblemCode.EMPTY,
            )
        _check_names(store, key, spec_of(spec), args.feed, args.rule)
        if args.csv:
            _export(store, key, chosen, Path(args.csv), as_json=args.output == "json")
            return
        with at_work("Reading samples"):
            found = quarantine_of(
                store, PATIENT_READER, staging_area, key, samples=args.limit, limits=NO_LIMITS, **chosen
            )
    if args.output == "json":
        print_json(found)
    else:
        tell(quarantine_view(found))


def _check_names(
    store: PostgresStore, key: RunKey, spec: RunSpec, feed: str | None, rule: str | None
) -> None:
    """Refuse a feed that the run has not, and a rule that put nothing aside while others did: it may be misspelt."""
    known = [*spec.feeds, *(one.id for one in spec.left_out)]
    if feed is not None and feed not in known:
        raise refused(
            "--feed", f"the run has no feed {feed!a}; it has: {some_of(known)}", code=ProblemCode.UNKNOWN_NAME
        )
    found = quarantine_of(store, PATIENT_READER, staging_area, key, samples=0, feed=feed, limits=NO_LIMITS)
    rules = sorted({ascii(one["rule"])[1:-1] for one in found["rules"]})
    if rule is not None and rules and ascii(rule)[1:-1] not in rules:
        raise refused(
            "--rule",
            f"no row was put aside by {rule!a}; rows were by: {some_of(rules)}",
            code=ProblemCode.UNKNOWN_NAME,
        )


def quarantine_view(found: Mapping[str, Any]) -> Group:
    """Return counts, then samples, as a person reads them in a terminal."""
    counts = plain_table("feed", "rule", " rows")
    samples = plain_table("feed", "rule", "origin", " position", "column", "reason", "raw")
    for one in found["rules"]:
        counts.add_row(one["feed"], one["rule"], f"{one['rows']:,}")
        for row in one["samples"]:
            position = "" if row["position"] is None else str(row["position"])
            told = (row["origin"], position, row["column"], row["reason"], row["raw"])
            samples.add_row(one["feed"], one["rule"], *(_in_a_line(it or "") for it in told))
    total = sum(one["rows"] for one in found["rules"])
    shown: list[Text | Table] = [
        Text(f"{total:,} {'row was' if total == 1 else 'rows were'} put aside", style="bold")
    ]
    shown += [counts] if found["rules"] else []
    shown += [Text(""), samples] if samples.row_count else []
    shown += [Text(found["note"], style="yellow")] if found["note"] else []
    return Group(*shown)


def _rows(count: int) -> str:
    return f"{count:,} row{' was' if count == 1 else 's were'}"


def _in_a_line(text: str) -> str:
    return text.replace("\n", "\\n")


def _export(
    store: PostgresStore, key: RunKey, chosen: Mapping[str, str | None], path: Path, *, as_json: bool
) -> None:
    counted = quarantine_of(store, PATIENT_READER, staging_area, key, samples=0, limits=NO_LIMITS, **chosen)
    total = sum(one["rows"] for one in counted["rules"])
    rows = all_rows_of(store, PATIENT_READER, staging_area, key, **chosen)
    try:
        written = write_csv(tracked(rows, "Writing rows", total), path)
    except OSError as error:
        raise refused(
            "RUN", f"its rows can't be read: {error.strerror or error}", code=ProblemCode.UNREADABLE
        ) from error
    if as_json:
        print_json({"file": str(path), "rows": written})
    else:
        tell(f"{written:,} {'row is' if written == 1 else 'rows are'} written to {path}")


def write_csv(rows: Iterable[QuarantinedRow], path: Path) -> int:
    """Write rows below a header, and return how many.

    A file is written whole or not at all, over what was there; a link stays, and what it leads to is replaced. What
    is there and no file, as a pipe or a device, gets the rows as they come. Raises `InputRefusedError` for a path
    that can't be written, and what reading the rows raises.
    """
    if path.exists() and not path.is_file():
        return _write_to(path, rows, told=path)
    with writing("--csv", path):
        target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        written = _write_to(draft, rows, told=path)
        with writing("--csv", path):
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return written


def _write_to(path: Path, rows: Iterable[QuarantinedRow], *, told: Path) -> int:
    """Write to a path that the person knows as `told`; what goes wrong in reading the rows is not blamed on it."""
    lines = (
        (row.feed_id, row.rule, row.origin, row.position, row.column_name, row.reason, row.raw)
        for row in rows
    )
    with writing("--csv", told):
        file = path.open("w", newline="", encoding="utf-8")
        csv.writer(file).writerow(COLUMNS)
    written = 0
    try:
        while some := list(islice(lines, AT_ONCE)):
            with writing("--csv", told):
                csv.writer(file).writerows(some)
            written += len(some)
    finally:
        with writing("--csv", told):
            file.close()
    return written
