"""`reconcile`: merge what came late to a run, now, as the Dag `<pipeline>__reconcile` does for a run that is named.

It works under a claim of its own, as every run of that Dag does; that nothing is published twice, or over
something newer, is seen to by the ledger of the target.
"""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from airflow_orchestration.cli.airflow_database import quality_results, tell_assets
from airflow_orchestration.cli.manifest_view import headline, reasons
from airflow_orchestration.cli.runs import known_run
from airflow_orchestration.cli.terminal import (
    NO,
    at_work,
    print_json,
    refused,
    refusing,
    tell,
    terminal,
)
from airflow_orchestration.exceptions import ProblemCode
from airflow_orchestration.hooks.orchestration import OrchestrationHook, publisher_of
from airflow_orchestration.hooks.outside import AirflowOutside, staging_area
from airflow_orchestration.insights.narrative import line
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, Event, RunKey, WorkUnit
from airflow_orchestration.workflow.reconcile import RECONCILED, read_late_files
from airflow_orchestration.workflow.reconcile import reconcile as merge_late
from airflow_orchestration.workflow.step import Step, read_spec


@refusing
def reconcile(args: Namespace) -> None:
    """Read what is there now of late and failed feeds, publish a further version, and tell Airflow's assets of it."""
    with OrchestrationHook(args.conn_id).store() as store:
        key = known_run(store, args.run)
        before = _version(store.manifest(key))
        with at_work("Reading and merging what came late"):
            manifest = bring_in(store, key)
    news = manifest is not None and _version(manifest) > before
    if args.output == "json":
        print_json({"merged": news, "manifest": manifest})
    elif manifest is not None and news:
        tell(*_told(manifest, before), headline(manifest), *reasons(manifest))
    else:
        tell(f"{args.run}: there is nothing to merge yet.", *(reasons(manifest) if manifest else ()))
    if not news:
        raise SystemExit(NO)
    _tell_assets(manifest or {}, key, before)


def bring_in(store: PostgresStore, key: RunKey) -> Mapping[str, Any] | None:
    """Merge what came late to a run; return its manifest, a new one if there was anything, None before its end."""
    rounds = store.rounds(key)
    if not rounds:
        raise refused(
            "RUN",
            f"{key.dag_id}/{key.run_id} never came to its feeds; there is nothing to repair",
            code=ProblemCode.EMPTY,
        )
    unit = WorkUnit(run=key, round=rounds[-1].round, unit=f"reconcile:command {uuid4()}")
    process = f"{socket.gethostname()}:{os.getpid()}"
    with TemporaryDirectory(prefix="orchestration-") as scratch:
        step = Step(
            store=store,
            fence=store.claim(unit, Attempt(try_number=1, ti_id="command", process=process)),
            scratch=Path(scratch),
            open_staging=staging_area,
            outside=AirflowOutside(),
            quality_results=quality_results(read_spec(store.run(key)), key),
        )
        read_late_files(step, publisher_of, failed_too=True)
        return merge_late(step, publisher_of) or store.manifest(key)


def _changed(manifest: Mapping[str, Any], after: int) -> list[str]:
    """The tables of which there is a version that was not there before."""
    news = {one["dataset"] for one in _news(manifest, after)}
    return [one["table"] for one in manifest["datasets"] if one["dataset"] in news]


def _news(manifest: Mapping[str, Any], after: int) -> list[Mapping[str, Any]]:
    """The later versions of datasets since the run's version `after`: each made it one version more."""
    later = [one for one in manifest["versions"] if one["version"] > 1]
    return later[max(after, 1) - 1 :]


def _tell_assets(manifest: Mapping[str, Any], key: RunKey, before: int) -> None:
    """What is published stays so when Airflow can't be told of it: that is said, and no error."""
    untold = tell_assets(_changed(manifest, before), {**manifest, "run_id": key.run_id})
    for table, why in untold.items():
        terminal(stderr=True).print(
            f"No asset event of {table} was sent: {why}; trigger by hand what waits for it.",
            style="yellow",
            soft_wrap=True,
        )


def _told(manifest: Mapping[str, Any], after: int) -> list[str]:
    """The new versions in the words of the timeline."""
    return [
        line(Event(at=datetime.fromisoformat(one["published_at"]), round=0, event=RECONCILED, detail=one))
        for one in _news(manifest, after)
    ]


def _version(manifest: Mapping[str, Any] | None) -> int:
    return 1 if manifest is None else int(manifest.get("version", 1))
