"""`try` runs a pipeline here and now, `migrate` prepares a database. Exit codes: see `terminal`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from airflow.sdk import timezone
from rich.table import Table

from airflow_orchestration.cli.manifest_view import manifest_view
from airflow_orchestration.cli.plans import spec_of
from airflow_orchestration.cli.terminal import NO, at_work, plain_table, print_json, refusing, tell, writing
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.hooks.orchestration import OrchestrationHook, publisher_of
from airflow_orchestration.hooks.outside import AirflowOutside
from airflow_orchestration.storage.migrating import migrate as migrate_database
from airflow_orchestration.storage.store import RunState
from airflow_orchestration.workflow.in_process import InProcessRun
from airflow_orchestration.workflow.publish import Publishers, check_targets


@refusing
def try_pipeline(args: Namespace) -> None:
    """Run a pipeline file here and now; print plan, decisions and manifest."""
    spec = spec_of(args.pipeline, args.conf, timezone.utcnow().date())
    run = InProcessRun(
        spec=spec,
        clock=timezone.utcnow,
        report=lambda made: tell(_shown(made)),
        output=Path(args.output) if args.output else None,
        publishers=_publishers(args, spec),
        outside=AirflowOutside(),
    )
    with at_work("Running"):
        manifest = run.run()
    tell(manifest_view(manifest))
    if not args.publish_to:
        tell("A trial: no table was written. --publish-to CONN_ID writes to a database.")
    if args.output:
        _write(manifest, Path(args.output))
    if manifest["state"] == RunState.NOT_PUBLISHED:
        raise SystemExit(NO)


@refusing
def migrate(args: Namespace) -> None:
    """Bring the orchestration schema of a database up to this package's."""
    with OrchestrationHook(args.conn_id).get_conn() as connection, at_work("Migrating"):
        applied = migrate_database(connection)
    if args.output == "json":
        print_json({"applied": applied})
    else:
        tell(f"Applied: {', '.join(applied)}" if applied else "Nothing to do: the schema is up to date.")


def _publishers(args: Namespace, spec: RunSpec) -> Publishers | None:
    """Publish to one database whatever the pipeline file says, or not at all."""
    if not args.publish_to:
        return None
    publisher = publisher_of(args.publish_to)
    check_targets(spec, lambda _: publisher)
    return lambda _: publisher


def _write(manifest: dict[str, Any], folder: Path) -> None:
    with writing("--output", folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    tell(f"Written to {folder}")


def _shown(made: Plan | Decision) -> str | Table:
    if isinstance(made, Decision):
        return str(made)
    table = plain_table("branch", "lane", "feeds in order", title=f"Round {made.round}")
    for branch in made.branches:
        for lane in dict.fromkeys(batch.lane for batch in branch.batches):
            table.add_row(branch.branch_id, lane.value, ", ".join(branch.feeds_in(lane)))
    return table
