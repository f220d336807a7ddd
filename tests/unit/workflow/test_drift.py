"""A feed that is not as usual: its run says so, and it may count less."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.policies.drift import DRIFT_FACTOR
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import RunKey, RunState, WorkUnit
from airflow_orchestration.workflow.in_process import ATTEMPT, InProcessRun
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

DAYS = 8


class Nights:
    """One run after the other, by one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.quality: dict[str, str] = {}
        self.store = MemoryStore(lambda: datetime.now(UTC))

    def night(self, name: str, rows: int, state: RunState = RunState.NOT_PUBLISHED) -> tuple[RunKey, Any]:
        for feed, count in (("a", rows), ("b", 500)):
            lines = "".join(f"{feed}{key},{key % 100}\n" for key in range(count))
            (self.folder / f"{feed}.csv").write_text(f"code,size\n{lines}")
        run = InProcessRun(spec=self.spec(), clock=lambda: datetime.now(UTC), report=lambda _: None)
        key = RunKey(dag_id="things", run_id=name)
        object.__setattr__(run, "store", self.store)
        object.__setattr__(run, "key", key)
        manifest = run.run()
        fence = self.store.claim(WorkUnit(run=key, round=0, unit="close"), ATTEMPT)
        self.store.finish(fence, state, manifest)
        return key, manifest

    def spec(self) -> RunSpec:
        feeds = [
            {"id": name, "uri": f"landing/{name}.csv", "format": "csv", "columns": COLUMNS, "weight": 2}
            for name in ("a", "b")
        ]
        pipeline = {
            "id": "things",
            "roots": {"landing": str(self.folder)},
            "staging": str(self.folder / "staging"),
            "contract": "unused",
            "sync": {"deadline": 60},
            "publish": {"table": "public.thing"},
            "feeds": feeds,
            "quality": self.quality,
        }
        return RunSpec(
            pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
        )

    def weights(self, key: RunKey) -> dict[str, float]:
        """The feeds' shares of the weight in the merge."""
        (merge,) = self.store.merges(key, 1).values()
        return dict(merge.decision["evidence"]["source_attribution"])


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Some published nights; what the tests add is not published, and no example for each other."""
    known = Nights(tmp_path_factory.mktemp("nights"))
    for number in range(DAYS):
        known.night(str(number), rows=1000 + number, state=RunState.PUBLISHED)
    return known


def test_half_of_the_rows_are_told_everywhere(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    """In the decisions, the timeline, the log and the manifest, with the value and the usual one."""
    with caplog.at_level(logging.WARNING):
        key, manifest = nights.night("half", rows=500)
    (drift,) = (known for _, known in nights.store.decisions(key) if known["policy"] == "drift")
    told = [sentence(event) for event in nights.store.timeline(key) if event.event == "feed_drifted"]
    words = "volume is 500, usually 1004"

    assert ("drifted", "unusual", "a") == (drift["action"], drift["reason"], drift["evidence"]["feed"])
    assert [("unusual", f"a: {words}")] == told
    assert f"Feed a is not as usual: {words}" in caplog.text
    assert [[words], None] == [line.get("unusual") for line in manifest["feeds"]]
    assert [0.5, 0.5] == list(nights.weights(key).values())


def test_a_usual_night_says_nothing(nights: Nights) -> None:
    """Neither decision nor line."""
    key, manifest = nights.night("usual", rows=1010)

    assert "drift" not in {known["policy"] for _, known in nights.store.decisions(key)}
    assert [None, None] == [line.get("unusual") for line in manifest["feeds"]]


def test_what_is_unusual_counts_less_if_the_pipeline_says_so(nights: Nights) -> None:
    """Its weight is halved in the merge; at the gate, which has no time to ask, it counts as declared."""
    nights.quality = {"drift": "lower_weight"}
    key, manifest = nights.night("lowered", rows=500)
    (verdict,) = (known for _, known in nights.store.decisions(key) if known["policy"] == "quorum_gate")

    assert {"a": DRIFT_FACTOR / (1 + DRIFT_FACTOR), "b": 1 / (1 + DRIFT_FACTOR)} == pytest.approx(
        nights.weights(key)
    )
    assert 1.0 == verdict["evidence"]["progress"]
    assert ["volume is 500, usually 1004"] == manifest["feeds"][0]["unusual"]
