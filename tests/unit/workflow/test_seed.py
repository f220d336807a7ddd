"""The source document's behaviours that span several steps, by the number of their line in the specification."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import NotPublishedError
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunKey, WorkUnit
from airflow_orchestration.workflow import branch
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.in_process import ATTEMPT
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import publish
from airflow_orchestration.workflow.step import Step

GOOD = "code,size\na,1\nb,2\n"
OTHER = "code,size\nb,3\nc,4\n"
BAD = "code,size\na,-1\nb,-2\nc,5\n"

Play = Callable[..., Any]


def test_seed_04_state_of_a_run_is_kept(play: Play) -> None:
    """Branches, rounds, decisions, timeline and result of a run can be read back from the store."""
    run, manifest, _ = play({"one": GOOD, "two": OTHER})

    assert ["one", "two"] == sorted(outcome.feed_id for outcome in run.store.outcomes(run.key))
    assert [1] == [stored.round for stored in run.store.rounds(run.key)]
    assert {"workflow_mode", "allocation", "quorum_gate", "merging", "quality_gate"} <= {
        decision["policy"] for _, decision in run.store.decisions(run.key)
    } | {run.store.run(run.key).mode["policy"]}
    assert "published" == manifest["state"]


def test_seed_05_checkpoint_spares_what_is_done(play: Play, tmp_path: Any) -> None:
    """A branch that is started again does not repeat a batch that is registered."""
    run, _, _ = play({"one": GOOD})
    before = run.store.outcomes(run.key)
    fence = run.store.claim(WorkUnit(run=run.key, round=1, unit="branch:beta:b1"), ATTEMPT)
    (tmp_path / "one.csv").write_text("no longer what it was")
    step = Step(store=run.store, fence=fence, scratch=tmp_path, open_staging=lambda _: pytest.fail("staged"))

    assert () == run_branch(step, "b1", Lane.BETA)
    assert before == run.store.outcomes(run.key)


def test_seed_08_analysis_is_recorded(play: Play) -> None:
    """Mode, complexity, cluster utilization and branches stand in the timeline's first event."""
    run, _, _ = play({"one": GOOD})
    event = run.store.timeline(run.key)[0]

    assert "data_batch_analysis_completed" == event.event
    assert {"mode", "complexity_score", "cluster_utilization", "max_branches"} <= event.detail.keys()


def test_seed_11_branch_measures_its_work(play: Play) -> None:
    """A success carries time, utilization, quality and throughput in rows per second."""
    run, _, _ = play({"one": GOOD})
    outcome = run.store.outcomes(run.key)[0]

    assert OutcomeStatus.SUCCESS is outcome.status
    assert outcome.elapsed > timedelta(0)
    assert 1.0 == outcome.cluster_utilization
    assert 1.0 == outcome.quality_score
    assert outcome.rows_in / outcome.elapsed.total_seconds() == outcome.throughput


def test_seed_11_throughput_is_0_without_time() -> None:
    """Nothing is divided by zero when no time was measured."""
    outcome = FeedOutcome(
        feed_id="one", round=1, branch_id="b1", status=OutcomeStatus.SUCCESS, elapsed=timedelta(0), rows_in=9
    )

    assert 0.0 == outcome.throughput


def test_seed_12_failure_becomes_a_record_and_the_workflow_goes_on(play: Play) -> None:
    """A feed that can't be read is a record with its error; the others are merged."""
    run, manifest, _ = play({"one": GOOD, "broken": "", "two": OTHER, "three": GOOD})
    broken = next(outcome for outcome in run.store.outcomes(run.key) if outcome.feed_id == "broken")

    assert OutcomeStatus.FAILED is broken.status
    assert broken.error
    assert "published_degraded" == manifest["state"]


def test_seed_14_checkpoint_event_has_the_metrics(play: Play) -> None:
    """The timeline says at which sync point how much had arrived, what was missing, and what was decided."""
    run, _, _ = play({"one": GOOD, "two": OTHER})
    event = next(e for e in run.store.timeline(run.key) if e.event == "synchronization_checkpoint")

    assert ("feeds", 1.0, "completed") == tuple(event.detail[n] for n in ("sync_point", "progress", "status"))
    assert ["one", "two"] == event.detail["arrived_ids"]
    assert [] == event.detail["missing_ids"]


def test_seed_18_merge_is_recorded(play: Play) -> None:
    """The merge leaves its event, and its decision with quality, confidence and performance."""
    run, _, _ = play({"one": GOOD, "two": OTHER})
    events = [event.event for event in run.store.timeline(run.key)]
    merging = next(d for _, d in run.store.decisions(run.key) if d["policy"] == "merging")

    assert "intelligent_data_merge_completed" in events
    assert {"overall_quality", "integration_confidence", "merge_performance", "syntheses"} <= merging[
        "evidence"
    ].keys()
    assert 1.0 == merging["evidence"]["merge_performance"]["success_rate"]


def test_ruling_four_failures_of_four_merge_nothing(play: Play) -> None:
    """Failed feeds never count as arrived: the gate gives up at once, and nothing is published."""
    _, manifest, _ = play(dict.fromkeys(("a", "b", "c", "d"), ""), max_rounds=1)

    assert "not_published" == manifest["state"]
    assert "floor_unreachable" == manifest["gate"][0]["reason"]


def test_ruling_a_round_runs_again_only_what_needs_it(play: Play) -> None:
    """A feed below standard is run again alone, and the loop ends after max_rounds."""
    run, manifest, _ = play({"one": GOOD, "bad": BAD}, quality={"approve_at": 0.9, "fail_below": 0.1})

    assert [("bad", "one"), ("bad",), ("bad",)] == [
        tuple(sorted(stored.plan.feed_ids)) for stored in run.store.rounds(run.key)
    ]
    assert "not_published" == manifest["state"]


def test_poor_feed_that_nobody_needs_does_not_keep_the_others_from_publishing(play: Play) -> None:
    """In the last round it stays out, the run is degraded, and the manifest says why."""
    files = {"one": GOOD, "two": OTHER, "three": GOOD, "bad": BAD}
    run, manifest, _ = play(files, quality={"approve_at": 0.9, "fail_below": 0.1})
    missing = {line["feed"]: (line["state"], line["why"]) for line in manifest["missing"]}

    assert "published_degraded" == manifest["state"]
    assert 3 == len(run.store.rounds(run.key))
    why = "quality 0.733 is below 0.9: validity 0.333 (rows put aside: minimum 2)"
    assert {"bad": ("below_standard", why)} == missing


def test_fault_of_one_feed_does_not_stop_the_others(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the machine on one feed is its own record; the feeds behind it are processed."""
    real = branch.ingest

    def faulty(feed: Any, **arguments: Any) -> Any:
        if feed.id == "one":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "rows of anna@example.org")
        return real(feed, **arguments)

    monkeypatch.setattr(branch, "ingest", faulty)
    _, manifest, _ = play(
        {"one": GOOD, "two": OTHER, "three": GOOD, "four": GOOD}, workflow_mode="sequential"
    )
    one = next(line for line in manifest["feeds"] if line["feed"] == "one")

    assert "published_degraded" == manifest["state"]
    why = "one: OSError, No space left on device, on the last try; see the log of its task"
    assert ("failed", f"{why}, and mend the cause before the next run.") == (one["state"], one["why"])


def test_fault_is_raised_for_a_retry_when_the_others_are_done(
    play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before the last try nothing is registered for the feed, and the task fails to be tried again."""
    run, _, _ = play({"one": GOOD}, max_rounds=1)
    store, key = run.store, RunKey(dag_id="again", run_id="1")
    spec_fence = store.claim(WorkUnit(run=key, round=0, unit="analyze"), ATTEMPT)
    analyze_batches(store, spec_fence, run.spec)
    plan_fence = store.claim(WorkUnit(run=key, round=1, unit="plan"), ATTEMPT)
    plan_round(
        Step(store=store, fence=plan_fence, scratch=tmp_path, open_staging=lambda _: pytest.fail("staged"))
    )
    fence = store.claim(WorkUnit(run=key, round=1, unit="branch:beta:b1"), ATTEMPT)
    monkeypatch.setattr(branch, "ingest", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    step = Step(
        store=store, fence=fence, scratch=tmp_path, open_staging=lambda _: StagingArea(tmp_path / "staging")
    )
    with pytest.raises(MemoryError):
        run_branch(step, "b1", Lane.BETA, last_try=False)

    assert [] == list(store.outcomes(key))


def test_rejected_merge_is_never_published(play: Play, tmp_path: Path) -> None:
    """Publishing asks for the quality gate's approval of this very merge, whoever starts it."""
    run, manifest, _ = play({"one": BAD}, quality={"approve_at": 0.9, "fail_below": 0.8})
    fence = run.store.claim(WorkUnit(run=run.key, round=0, unit="publish"), ATTEMPT)
    step = Step(store=run.store, fence=fence, scratch=tmp_path, open_staging=lambda _: pytest.fail("staged"))

    assert "not_published" == manifest["state"]
    with pytest.raises(NotPublishedError, match="approved no merge"):
        publish(step, lambda _: Publisher(lambda: pytest.fail("connected")))


def test_ruling_values_are_merged_per_key_and_attribute_by_a_named_strategy(
    play: Play, tmp_path: Path
) -> None:
    """A row takes each value from the heaviest feed that has one, not an average and not a whole row."""
    files = {"heavy": "code,size\na,\nb,2\n", "light": "code,size\na,7\nb,9\n"}
    run, _, _ = play(files, feeds={"heavy": {"weight": 3}, "light": {}}, quality={"approve_at": 0.5})
    rows = duckdb.sql(
        f"SELECT code, size, _primary_source FROM '{tmp_path}/out/rows.parquet' ORDER BY 1"
    ).fetchall()

    assert "primary" == run.spec.pipeline.merge.strategy
    assert [("a", 7.0, "heavy"), ("b", 2.0, "heavy")] == rows


def test_ruling_every_type_has_its_synthesis(play: Play) -> None:
    """Results of aggregation and quality batches are merged like all others."""
    types = (
        "data_ingestion",
        "data_validation",
        "data_transformation",
        "data_aggregation",
        "quality_monitoring",
    )
    run, manifest, _ = play(dict.fromkeys(types, GOOD), feeds={name: {"type": name} for name in types})
    merging = next(d for _, d in run.store.decisions(run.key) if d["policy"] == "merging")

    assert "published" == manifest["state"]
    assert dict.fromkeys(types, "synthesized") == {
        name: found["status"] for name, found in merging["evidence"]["syntheses"].items()
    }


def test_ruling_timeline_is_append_only(play: Play) -> None:
    """Later events never replace earlier ones."""
    run, _, _ = play({"one": GOOD})
    timeline = run.store.timeline(run.key)

    assert sorted(event.at for event in timeline) == [event.at for event in timeline]
    assert "data_batch_analysis_completed" == timeline[0].event
    assert "published" == timeline[-1].event or "data_quality_validated" == timeline[-1].event


def test_late_feed_is_named_with_its_usual_rows(play: Play) -> None:
    """What is not there is late, and the manifest says what share of the usual rows is missing."""
    usual = {"one": {"usual_rows": 3}, "two": {"usual_rows": 1}, "three": {}, "gone": {"usual_rows": 4}}
    _, manifest, _ = play(
        {"one": GOOD, "two": OTHER, "three": GOOD}, feeds=usual | {"three": {"usual_rows": 2}}
    )

    assert "published_degraded" == manifest["state"]
    assert ["gone"] == [line["feed"] for line in manifest["missing"]]
    assert 0.5 == manifest["usual_rows_missing_share"]


def test_rows_add_up_for_each_feed(play: Play) -> None:
    """Rows in are published, superseded or quarantined, feed by feed."""
    _, manifest, _ = play(
        {"one": GOOD, "two": OTHER, "bad": BAD},
        feeds={"one": {"weight": 9}, "two": {"weight": 3}, "bad": {}},
        quality={"approve_at": 0.1, "fail_below": 0.1},
    )

    assert [(2, 2, 0, 0), (2, 1, 1, 0), (3, 0, 1, 2)] == [
        tuple(line[name] for name in ("rows_in", "rows_published", "rows_superseded", "rows_quarantined"))
        for line in manifest["feeds"]
    ]


def test_rows_and_quarantine_are_written_out(play: Play, tmp_path: Any) -> None:
    """The merged rows with attribution, and each feed's quarantine, are Parquet files."""
    play({"one": GOOD, "bad": BAD}, quality={"approve_at": 0.1, "fail_below": 0.1})
    rows = duckdb.sql(
        f"SELECT code, _primary_source FROM '{tmp_path}/out/rows.parquet' ORDER BY code"
    ).fetchall()
    rejects = duckdb.sql(f"SELECT position, rule FROM '{tmp_path}/out/quarantine-bad.parquet'").fetchall()

    assert [("a", "one"), ("b", "one"), ("c", "bad")] == rows
    assert [(2, "minimum"), (3, "minimum")] == rejects
