"""Branches whose feeds stand in an object store: each is worked on by a process of its own, or says why not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.hooks.outside import AirflowOutside, staging_area
from airflow_orchestration.sources.outside import RemotePath
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.in_process import ATTEMPT
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import apart
from tests.sources.test_object_store import ROOT, deliver, lake, server
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

__all__ = ["lake", "server"]
KEY = RunKey(dag_id="things", run_id="1")
ROWS = b"code,size\na,1\nb,2\n"


class Unsteady(AirflowOutside):
    """An object store whose second root doesn't answer."""

    def storage(self, uri: str) -> RemotePath:
        if "://lake@away" in uri:
            raise ConnectionRefusedError(111, "Connection refused")
        return super().storage(uri)


class Branch:
    """One branch with a feed in each of some roots, its round planned."""

    def __init__(self, folder: Path, *roots: str, outside: AirflowOutside | None = None) -> None:
        self.folder, self.outside = folder, outside or AirflowOutside()
        self.store = MemoryStore(lambda: datetime.now(UTC))
        spec = RunSpec(pipeline=pipeline(roots), contracts=(CONTRACT,), run_date=date(2026, 11, 22))
        analyze_batches(self.store, self.store.claim(self._unit(0, "analyze"), ATTEMPT), spec, self.outside)
        plan_round(self.opened(1, "plan"))

    @staticmethod
    def _unit(number: int, name: str) -> WorkUnit:
        return WorkUnit(run=KEY, round=number, unit=name)

    def opened(self, number: int, name: str) -> Step:
        return Step(
            store=self.store,
            fence=self.store.claim(self._unit(number, name), ATTEMPT),
            scratch=self.folder / "scratch",
            open_staging=staging_area,
            outside=self.outside,
        )

    def run(self, *, last_try: bool = True) -> dict[str, FeedOutcome]:
        step = self.opened(1, "branch:beta:b1")
        run_branch(step, "b1", Lane.BETA, last_try=last_try, worker=apart(step))
        return {outcome.feed_id: outcome for outcome in self.store.outcomes(KEY)}


def pipeline(roots: tuple[str, ...]) -> Pipeline:
    named = {f"root{number}": root for number, root in enumerate(roots)}
    feeds = [
        {"id": f"in_{name}", "uri": f"{name}/x.csv", "format": "csv", "columns": COLUMNS} for name in named
    ]
    return Pipeline.model_validate(
        {
            "id": "things",
            "roots": named,
            "staging": f"{ROOT}/staging",
            "contract": "unused",
            "workflow_mode": "sequential",
            "sync": {"deadline": 60},
            "publish": {"table": "public.thing"},
            "feeds": feeds,
        }
    )


def test_a_process_of_its_own_reads_and_stages_in_a_bucket(lake: Any, tmp_path: Path) -> None:
    """It uses what its parent knows of the connection, after the parent has looked at the same place."""
    deliver(lake, "x.csv", ROWS + b"c,-1\n")
    branch = Branch(tmp_path, ROOT)
    outcome = branch.run()["in_root0"]

    assert (None, 2, 1) == (outcome.error, outcome.rows_staged, outcome.rows_quarantined)
    assert outcome.staged is not None
    assert outcome.staged.uri.startswith(f"{ROOT}/staging/things/")
    (tmp_path / "back").mkdir()
    fetched = branch.opened(1, "merge").staging.fetch(outcome.staged, tmp_path / "back")
    assert outcome.staged.bytes == fetched.stat().st_size


def test_a_feed_with_a_misspelt_connection_fails_alone(lake: Any, tmp_path: Path) -> None:
    """The connection is named in the feed's record, and the feed behind it is processed."""
    deliver(lake, "x.csv", ROWS)
    found = Branch(tmp_path, ROOT.replace("lake@", "lak@"), ROOT).run()

    assert found["in_root0"].error is not None
    assert "connection lak: 1 problem" in found["in_root0"].error
    assert (None, 2) == (found["in_root1"].error, found["in_root1"].rows_staged)


def test_a_feed_that_cannot_be_looked_for_keeps_no_other_from_being_processed(
    lake: Any, tmp_path: Path
) -> None:
    """It is a fault of that feed: the others are done first, then the task is tried again, then it is recorded."""
    deliver(lake, "x.csv", ROWS)
    branch = Branch(tmp_path, "s3://lake@away/landing", ROOT, outside=Unsteady())
    with pytest.raises(ConnectionRefusedError):
        branch.run(last_try=False)
    assert ["in_root1"] == [outcome.feed_id for outcome in branch.store.outcomes(KEY)]

    assert (
        "in_root0: ConnectionRefusedError, Connection refused, on the last try; "
        "see the log of its task, and mend the cause before the next run." == branch.run()["in_root0"].error
    )
