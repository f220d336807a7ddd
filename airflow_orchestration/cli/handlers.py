"""What the commands do. Exit codes: 0 published or done, 1 not published, 2 the input was refused."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

import psycopg
from airflow.sdk import timezone
from rich.console import Console
from rich.table import Table

from airflow_orchestration.cli.manifest_view import manifest_view
from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec, resolve
from airflow_orchestration.exceptions import InputRefusedError, OrchestrationError, Problem
from airflow_orchestration.hooks.orchestration import OrchestrationHook, publisher_of
from airflow_orchestration.hooks.outside import AirflowOutside
from airflow_orchestration.storage.migrating import migrate as migrate_database
from airflow_orchestration.storage.store import RunState
from airflow_orchestration.workflow.in_process import InProcessRun
from airflow_orchestration.workflow.publish import Publishers, check_targets

NOT_PUBLISHED, REFUSED = 1, 2


def try_pipeline(args: Namespace) -> None:
    """Run a pipeline file here and now; print plan, decisions and manifest."""
    console = Console()
    try:
        spec = _spec(args)
        run = InProcessRun(
            spec=spec,
            clock=timezone.utcnow,
            report=lambda made: console.print(_shown(made), soft_wrap=True),
            output=Path(args.output) if args.output else None,
            publishers=_publishers(args, spec),
            outside=AirflowOutside(),
        )
        manifest = run.run()
    except (OrchestrationError, psycopg.OperationalError) as error:
        _exit(console, error)
    console.print(manifest_view(manifest))
    if not args.publish_to:
        console.print(
            "A trial: no table was written. --publish-to CONN_ID writes to a database.", soft_wrap=True
        )
    if args.output:
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        console.print(f"Written to {folder}", soft_wrap=True)
    if manifest["state"] == RunState.NOT_PUBLISHED:
        raise SystemExit(NOT_PUBLISHED)


def migrate(args: Namespace) -> None:
    """Bring the orchestration schema of a database up to this package's."""
    console = Console()
    try:
        with OrchestrationHook(args.conn_id).get_conn() as connection:
            applied = migrate_database(connection)
    except (OrchestrationError, psycopg.OperationalError) as error:
        _exit(console, error)
    console.print(f"Applied: {', '.join(applied)}" if applied else "Nothing to do: the schema is up to date.")


def _spec(args: Namespace) -> RunSpec:
    found = read_pipeline_file(Path(args.pipeline))
    try:
        conf = json.loads(args.conf)
    except ValueError as error:
        raise InputRefusedError("--conf", [Problem(path="", message=f"is not JSON: {error}")]) from None
    return resolve(found.pipeline, found.read_contracts(), read_conf(conf), timezone.utcnow().date())


def _publishers(args: Namespace, spec: RunSpec) -> Publishers | None:
    """Publish to one database whatever the pipeline file says, or not at all."""
    if not args.publish_to:
        return None
    publisher = publisher_of(args.publish_to)
    check_targets(spec, lambda _: publisher)
    return lambda _: publisher


def _shown(made: Plan | Decision) -> str | Table:
    if isinstance(made, Decision):
        return str(made)
    table = Table(title=f"Round {made.round}", title_justify="left")
    for heading in ("branch", "lane", "feeds in order"):
        table.add_column(heading)
    for branch in made.branches:
        for lane in dict.fromkeys(batch.lane for batch in branch.batches):
            table.add_row(branch.branch_id, lane.value, ", ".join(branch.feeds_in(lane)))
    return table


def _exit(console: Console, error: Exception) -> NoReturn:
    console.print(str(error), style="red", markup=False, soft_wrap=True)
    raise SystemExit(REFUSED) from error
