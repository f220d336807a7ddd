"""`prune`: delete what is too old to be needed, and what died has left. It may be ended, repeated, and run twice at once."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from rich.table import Table

from airflow_orchestration.cli.terminal import (
    NO,
    plain_table,
    print_json,
    refused,
    refusing,
    tell,
    terminal,
)
from airflow_orchestration.exceptions import ProblemCode
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.outside import staging_area
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.target_pruning import TargetPruning
from airflow_orchestration.workflow.pruning import LEAST_AGE, Pruned, Terms
from airflow_orchestration.workflow.pruning import prune as prune_store

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedTarget:
    """What was deleted of a target database, or would be."""

    scratch: list[str]
    """The private tables that publications left."""
    quarantined: int


@refusing
def prune(args: Namespace) -> None:
    """Delete, or rehearse it; tell what is gone."""
    _check(args)
    terms = Terms(
        age=args.older_than,
        dag_id=args.dag_id,
        rehearse=args.dry_run,
        forget=frozenset(args.forget or ()),
    )
    targets = {conn_id: TargetPruning(OrchestrationHook(conn_id).get_conn) for conn_id in args.target or ()}
    for target in targets.values():
        target.check()  # before anything is deleted
    with OrchestrationHook(args.conn_id).store() as store:
        _check_known(store, terms)
        pruned = prune_store(store, staging_area, terms, report=_progress)
    rows_too = bool(args.quarantined_rows)
    done = {conn_id: _prune_target(target, terms, rows_too=rows_too) for conn_id, target in targets.items()}
    if args.output == "json":
        print_json(_as_json(pruned, done))
    else:
        tell(*_told(pruned, done, rehearsed=terms.rehearse))
    for root, why in pruned.swept.refused.items():
        told = f"{root} could not be looked at: {why.rstrip('.')}. If it is gone for good: --forget {shlex.quote(root)}"
        terminal(stderr=True).print(told, style="yellow", soft_wrap=True, markup=False)
    if pruned.swept.refused:
        raise SystemExit(NO)


def _check(args: Namespace) -> None:
    if args.older_than < LEAST_AGE:
        raise refused(
            "--older-than",
            f"{args.older_than.days}d is too young: degraded runs of the last {LEAST_AGE.days} days are still "
            f"repaired; write {LEAST_AGE.days}d or more",
            code=ProblemCode.OUT_OF_RANGE,
        )
    if args.quarantined_rows and not args.target:
        raise refused(
            "--quarantined-rows", "names no database; add --target CONN_ID", code=ProblemCode.CONFLICT
        )


def _check_known(store: PostgresStore, terms: Terms) -> None:
    if terms.dag_id is not None and not store.pruning.knows_dag(terms.dag_id):
        message = (
            f"the store knows no run of {terms.dag_id!a}, and never did; write the id as Airflow shows it"
        )
        raise refused("--dag-id", message, code=ProblemCode.NOT_FOUND)
    if not terms.forget:
        return
    areas = store.pruning.staging_areas()
    unknown = sorted(terms.forget - areas.keys() - store.pruning.forgotten_places())
    if unknown:
        known = ", ".join(map(ascii, areas)) or "none"
        message = f"no run keeps files in {', '.join(map(ascii, unknown))}; the places are: {known}"
        raise refused("--forget", message, code=ProblemCode.NOT_FOUND)


def _progress(text: str) -> None:
    console = terminal(stderr=True)
    if console.is_terminal:
        console.print(text, soft_wrap=True)


def _prune_target(target: TargetPruning, terms: Terms, *, rows_too: bool) -> PrunedTarget:
    scratch = target.drop_scratch(terms.quiet, rehearse=terms.rehearse)
    quarantined = 0
    if rows_too:
        for deleted in target.delete_quarantined(terms.age, dag_id=terms.dag_id, rehearse=terms.rehearse):
            quarantined += deleted
            _progress(f"{quarantined:,} rows that were put aside")
    return PrunedTarget(scratch=scratch, quarantined=quarantined)


def _as_json(pruned: Pruned, targets: Mapping[str, PrunedTarget]) -> dict[str, object]:
    return {
        "runs": [asdict(run) for run in pruned.runs],
        "rows": pruned.rows,
        "staging": asdict(pruned.swept),
        "targets": {conn_id: asdict(target) for conn_id, target in targets.items()},
    }


def _told(pruned: Pruned, targets: Mapping[str, PrunedTarget], *, rehearsed: bool) -> Iterator[str | Table]:
    swept, word = pruned.swept, "Would delete" if rehearsed else "Deleted"
    yield (
        f"{word} {len(pruned.runs):,} runs with {sum(pruned.rows.values()):,} rows, and {swept.files:,} staged files "
        f"of {swept.bytes / MEGABYTE:,.1f} MB."
    )
    for conn_id, target in targets.items():
        yield (
            f"{word} in {conn_id}: {len(target.scratch):,} tables that publications left, "
            f"{target.quarantined:,} rows that were put aside."
        )
    if swept.runs_unknown:
        yield (
            f"Left alone: {swept.runs_unknown:,} folders of runs that this store does not know; "
            "if no other store uses the staging area, delete them by hand."
        )
    if any(pruned.rows.values()):
        yield _table(pruned.rows)


def _table(rows: Mapping[str, int]) -> Table:
    table = plain_table("table", " rows")
    for name, count in rows.items():
        if count:
            table.add_row(name, f"{count:,}")
    return table
