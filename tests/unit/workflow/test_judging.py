"""A feed's score: its measures, lowered by warnings, at most what another quality tool says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.operators.quality_results import with_quality_results
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Fence, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.in_process import ATTEMPT
from airflow_orchestration.workflow.judging import as_of
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import Worker, apart, here
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

KEY = RunKey(dag_id="things", run_id="1")
START = datetime(2026, 11, 22, 6, tzinfo=UTC)
ROWS = "code,size\na,1\nb,2\nc,\nd,4\n"


@dataclass(frozen=True)
class Bench:
    """A run with one feed, whose branch is ready to be processed."""

    folder: Path
    store: MemoryStore
    spec: RunSpec

    def claim(self, round_number: int, unit: str) -> Fence:
        return self.store.claim(WorkUnit(run=KEY, round=round_number, unit=unit), ATTEMPT)

    def step(self, fence: Fence) -> Step:
        return Step(
            store=self.store,
            fence=fence,
            scratch=self.folder / "scratch",
            open_staging=lambda _: StagingArea(self.folder / "staging"),
        )

    def outcome(
        self,
        results: Mapping[str, object] | None = None,
        worker: Callable[[Step], Worker] | None = None,
    ) -> FeedOutcome:
        """What comes of the feed when its quality tasks left these results."""
        step = self.step(self.claim(1, "branch:beta:b1"))
        left = results or {}
        context: Any = {"ti": SimpleNamespace(xcom_pull=lambda task_ids, **_: left.get(task_ids))}
        step = with_quality_results(context, step, ["things"])
        run_branch(step, "b1", Lane.BETA, worker=here if worker is None else worker(step))
        (outcome,) = self.store.outcomes(KEY)
        return outcome


def bench(
    folder: Path, *, rules: tuple[dict[str, Any], ...] = (), run_date: date = date(2026, 11, 22), **feed: Any
) -> Bench:
    (folder / "landing").mkdir()
    (folder / "scratch").mkdir()
    (folder / "landing" / "things.csv").write_text(ROWS)
    declared = {
        "id": "things",
        "uri": "landing/things.csv",
        "format": "csv",
        "columns": COLUMNS,
        "type": "data_validation",
    }
    pipeline = Pipeline.model_validate(
        {
            "id": "things",
            "roots": {"landing": str(folder / "landing")},
            "staging": str(folder / "staging"),
            "contract": "unused",
            "sync": {"deadline": 60},
            "publish": {"table": "public.thing"},
            "feeds": [{**declared, **feed}],
        }
    )
    contract = Contract.model_validate(CONTRACT.model_dump() | {"quality": rules})
    spec = RunSpec(pipeline=pipeline, contracts=(contract,), run_date=run_date)
    made = Bench(folder, MemoryStore(lambda: START), spec)
    analyze_batches(made.store, made.claim(0, "analyze"), spec)
    plan_round(made.step(made.claim(1, "plan")))
    return made


def gaps(severity: str) -> dict[str, Any]:
    return {
        "name": "few gaps", "metric": "nullValues", "columns": ["size"], "severity": severity,
        "threshold": {"operator": "mustBeLessThan", "low": 1, "high": 1},
    }  # fmt: skip


def test_a_warning_lowers_the_score_and_is_kept(tmp_path: Path) -> None:
    """A quarter of the rows has a gap: 0.975 of the score is left, and the store knows why."""
    plain = (1 + 3 / 4) / 2 * 0.4 + 0.4 + 0.2
    outcome = bench(tmp_path, rules=(gaps("warning"),)).outcome()

    assert pytest.approx(plain * 0.975) == outcome.quality_score
    assert outcome.rules is not None
    assert [("few gaps", False, 1.0, 0.25)] == [
        (rule["name"], rule["passed"], rule["value"], rule["share"]) for rule in outcome.rules
    ]


def test_a_broken_rule_fails_the_feed_and_not_the_task(tmp_path: Path) -> None:
    """The record says which rule, its value and its threshold."""
    outcome = bench(tmp_path, rules=(gaps("error"),)).outcome()

    assert OutcomeStatus.FAILED is outcome.status
    assert "few gaps is 1, mustBeLessThan 1" in (outcome.error or "")


def test_another_tool_lowers_the_score_and_is_kept(tmp_path: Path) -> None:
    """The lower of both counts; the verdict stands beside the rules of the contract."""
    made = bench(tmp_path, quality_task="check.things")
    outcome = made.outcome({"check.things": {"success": False, "score": 0.4}})

    assert 0.4 == outcome.quality_score
    assert outcome.rules is not None
    assert ("check.things (plain)", False, 0.4) == tuple(
        outcome.rules[0][name] for name in ("name", "passed", "value")
    )


def test_a_result_that_is_not_there_fails_the_feed(tmp_path: Path) -> None:
    """No verdict is no praise."""
    outcome = bench(tmp_path, quality_task="check").outcome()

    assert OutcomeStatus.FAILED is outcome.status
    assert "the result of its quality_task check can't be read (NoneType)" in (outcome.error or "")


DATES = [
    (date(2026, 11, 22), START),
    (date(2026, 11, 21), datetime(2026, 11, 22, tzinfo=UTC)),
    (date(2026, 11, 1), datetime(2026, 11, 2, tzinfo=UTC)),
    (date(2026, 12, 1), START),
]


@pytest.mark.parametrize(("run_date", "moment"), DATES)
def test_rows_are_fresh_or_not_at_the_start_of_the_run_or_the_end_of_its_date(
    tmp_path: Path, run_date: date, moment: datetime
) -> None:
    """A run for a day of last month judges that day's rows as they were then."""
    made = bench(tmp_path, run_date=run_date)

    assert moment == as_of(made.step(made.claim(1, "look")))
    assert timedelta(0) == made.store.run(KEY).started_at - START


ENOUGH = {
    "name": "enough", "metric": "rowCount", "columns": [], "severity": "error",
    "threshold": {"operator": "mustBeGreaterThan", "low": 2},
}  # fmt: skip
DECIMALS = 'code,size\na,1\nb,"1,5"\nc,"2,5"\nd,-4\n'


@pytest.mark.parametrize("worker", [None, apart])
def test_a_feed_that_breaks_a_rule_of_many_rows_says_what_was_put_aside_before(
    tmp_path: Path, worker: Callable[[Step], Worker] | None
) -> None:
    """With its counts, its rejects and the quarantined rows, by a process of its own as well."""
    made = bench(tmp_path, rules=(ENOUGH,))
    (tmp_path / "landing" / "things.csv").write_text(DECIMALS)
    outcome = made.outcome(worker=worker)

    told = (
        "things: the contract's quality rules are broken: enough is 1, mustBeGreaterThan 2. 3 of 4 rows were put aside: "
        "type of size 2 (line 3: Expected a finite number, written with digits, a point and perhaps an exponent, "
        "without marks for thousands); minimum of size 1 (line 5: "
    )
    assert (outcome.error or "").startswith(told)
    assert (OutcomeStatus.FAILED, 4, 1, 3) == (
        outcome.status,
        outcome.rows_in,
        outcome.rows_staged,
        outcome.rows_quarantined,
    )
    assert {"type": 2, "minimum": 1} == outcome.rejects
    assert outcome.staged is None
    assert outcome.quarantine is not None
    fetched = StagingArea(tmp_path / "staging").fetch(outcome.quarantine, tmp_path / "scratch")
    assert [3, 4, 5] == [row[2] for row in duckdb.read_parquet(str(fetched)).fetchall()]
