from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.workflow.in_process import InProcessRun

CONTRACT = Contract(
    name="thing",
    key=("code",),
    columns=(
        Column(name="code", type=ColumnType.STRING, required=True),
        Column(name="size", type=ColumnType.NUMBER, minimum=0),
    ),
)
COLUMNS = {"code": {"column": "code"}, "size": {"column": "size"}}

Finished = tuple[InProcessRun, dict[str, Any], list[Plan | Decision]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Finished]:
    """Write feeds, run them in this process, and return the run, its manifest and what it reported."""

    def run(
        files: dict[str, str], feeds: dict[str, dict[str, Any]] | None = None, **pipeline: Any
    ) -> Finished:
        for feed_id, text in files.items():
            (tmp_path / f"{feed_id}.csv").write_text(text)
        declared = feeds or {feed_id: {} for feed_id in files}
        spec = RunSpec(
            pipeline=Pipeline.model_validate(
                {
                    "id": "things",
                    "roots": {"landing": str(tmp_path)},
                    "staging": str(tmp_path / "staging"),
                    "contract": "unused",
                    "sync": {"deadline": 60},
                    "publish": {"table": "public.thing"},
                    "feeds": [
                        {
                            "id": name,
                            "uri": f"landing/{name}.csv",
                            "format": "csv",
                            "columns": COLUMNS,
                            **changes,
                        }
                        for name, changes in declared.items()
                    ],
                    **pipeline,
                }
            ),
            contracts=(CONTRACT,),
            run_date=date(2026, 11, 22),
        )
        reported: list[Plan | Decision] = []
        finished = InProcessRun(
            spec=spec, clock=lambda: datetime.now(UTC), report=reported.append, output=tmp_path / "out"
        )
        return finished, finished.run(), reported

    return run
