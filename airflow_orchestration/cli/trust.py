"""`trust` shows how trust in feeds moved and what it changed; `try-trust` tries it on given claims."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_orchestration.cli.terminal import looking, plain_table, print_json, tell
from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.run_spec import Dataset, resolve
from airflow_orchestration.engine.comparing import DifferingCell
from airflow_orchestration.exceptions import StagedFileError
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.outside import staging_area
from airflow_orchestration.hooks.pipeline_files import deployed_pipeline_file
from airflow_orchestration.insights.trust import TrustCourse, trust_courses
from airflow_orchestration.insights.trust_trial import Verdict, read_claims, read_labels, try_trust
from airflow_orchestration.storage.store import Fence, RunKey, Store, WorkUnit
from airflow_orchestration.storage.trust_history import TaughtRun
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.trust_changes import trust_changes

EXAMPLES = 5
SHOWN_RUNS = 8
Changes = Mapping[str, tuple[int, list[DifferingCell]]]


@looking
def trust(args: Namespace) -> None:
    """Show, for each dataset merged by trust, how feeds' reliability moved and what the last run owes to it."""
    found = deployed_pipeline_file(args.pipeline)
    spec = resolve(found.pipeline, found.read_contracts(), RunConf(), date.min)
    shown = []
    with OrchestrationHook(spec.pipeline.store_conn_id).store() as store:
        for dataset in spec.datasets.values():
            if dataset.merge.learns:
                runs = store.trust.history(spec.pipeline.id, dataset.name, runs=args.runs)
                changes = _changes(store, spec.pipeline.id, dataset, runs)
                shown.append((dataset.name, runs, trust_courses(runs, args.feed), changes))
    if args.output == "json":
        print_json([_as_json(*one) for one in shown])
        return
    if not shown:
        tell("No dataset of this pipeline is merged by trust.")
    for one in shown:
        _show(*one)


@looking
def try_claims(args: Namespace) -> None:
    """Learn from a share of the labels, and show how vote and trust do on the others."""
    verdict = try_trust(
        read_claims(Path(args.claims)),
        read_labels(Path(args.labels)),
        tolerance=dict(args.tolerance or ()),
        probes=args.probes,
        seed=args.seed,
    )
    if args.output == "json":
        print_json(verdict.as_json())
    else:
        _show_verdict(verdict)


def _changes(store: Store, dag_id: str, dataset: Dataset, runs: Sequence[TaughtRun]) -> Changes | str:
    """What the last run owes to trust, or why that is not known any more."""
    if not runs:
        return "No published run has taught anything yet."
    unit = WorkUnit(run=RunKey(dag_id=dag_id, run_id=runs[-1].run_id), round=0, unit="trust")
    with TemporaryDirectory(prefix="trust-") as scratch:
        step = Step(
            store=store,
            fence=Fence(unit=unit, epoch=0),
            scratch=Path(scratch),
            open_staging=staging_area,
        )
        try:
            return trust_changes(step, step.spec.datasets[dataset.name], EXAMPLES)
        except StagedFileError as error:
            return f"What the last run owes to trust can't be shown: {error}"


def _as_json(
    name: str, runs: Sequence[TaughtRun], courses: Sequence[TrustCourse], changes: Changes | str
) -> dict[str, Any]:
    listed = {
        attribute: {"values": count, "examples": [asdict(cell) for cell in cells]}
        for attribute, (count, cells) in ({} if isinstance(changes, str) else changes).items()
    }
    return {
        "dataset": name,
        "runs": [
            {"run_id": run.run_id, "method": run.method, "started_at": run.started_at.isoformat()}
            for run in runs
        ],
        "courses": [{**asdict(course), "moved": course.moved} for course in courses],
        "differs_from_vote": listed,
    }


def _show(
    name: str,
    runs: Sequence[TaughtRun],
    courses: Sequence[TrustCourse],
    changes: Changes | str,
) -> None:
    days = [f" {run.started_at.astimezone(UTC):%m-%d %H:%M}" for run in runs[-SHOWN_RUNS:]]
    title = f"{name}: how often each feed is right"
    table = plain_table("feed", "attribute", *days, " last run", title=title)
    for course in courses:
        figures = ("" if one is None else f"{one:.3f}" for one in course.accuracy[-SHOWN_RUNS:])
        settled = f"{course.right:,.0f} of {course.total:,.0f}"
        table.add_row(course.feed_id, course.attribute, *figures, settled)
    tell(table)
    if isinstance(changes, str):
        tell(changes)
        return
    for attribute, (count, cells) in changes.items():
        tell(f"{attribute}: {count:,} values of the last run are not what a vote would have chosen")
        for cell in cells:
            tell(f"  {', '.join(cell.key)}: {cell.value} instead of {cell.other}")


def _show_verdict(verdict: Verdict) -> None:
    tell(
        f"{verdict.judged:,} cells judged, {verdict.probes:,} labelled cells learned from, way: {verdict.model.method}\n"
        f"vote  {verdict.vote_accuracy:.3f}\n"
        f"trust {verdict.trust_accuracy:.3f} (no choice is right more often than {verdict.best_possible:.3f})\n"
        f"expected calibration error {verdict.calibration_error:.3f}"
    )
    table = plain_table("source", *verdict.model.accuracy, title="How often each source is right")
    for source in sorted({name for feeds in verdict.model.accuracy.values() for name in feeds}):
        figures = [feeds.get(source) for feeds in verdict.model.accuracy.values()]
        table.add_row(source, *("" if one is None else f"{one:.3f}" for one in figures))
    tell(table)
    for copier, originals in sorted(verdict.model.copying.items()):
        for other, share in sorted(originals.items()):
            if copier < other:
                tell(f"{copier} and {other} share {share:.0%} beyond what both being right explains")
