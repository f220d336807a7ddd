from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.api.datamodels._generated import AssetReferenceAssetEventDagRun
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

from airflow_orchestration.operators.require_completeness import RequireCompleteness

AIRPORTS = Asset(name="reference.airport", uri="orchestration://x/reference/airport")
FULL = {"feed": "a", "state": "in", "why": None}
LATE = {"feed": "b", "state": "late", "why": "it came at seven"}
COMPLETE = {"state": "published", "weight_share": 1.0, "missing": [], "feeds": [FULL]}
DEGRADED = {"state": "published_degraded", "weight_share": 0.8, "missing": [LATE], "feeds": [FULL, LATE]}


class Pushed:
    """Keeps what a task pushed."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def event(extra: Any, *, minute: int = 0, asset: Asset = AIRPORTS, partition: str | None = None) -> Any:
    return AssetEventDagRunReferenceResult(
        asset=AssetReferenceAssetEventDagRun(name=asset.name, uri=asset.uri, extra={}),
        extra=extra,
        source_task_id="publish",
        source_dag_id="airport_reference",
        source_run_id="manual__1",
        source_map_index=-1,
        source_aliases=[],
        timestamp=datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minute),
        partition_key=partition,
    )


def judge(*events: Any, **asked: Any) -> tuple[Any, dict[str, Any]]:
    pushed = Pushed()
    context: Any = {"triggering_asset_events": TriggeringAssetEventsAccessor.build(events), "ti": pushed}
    return RequireCompleteness(task_id="complete", **asked).execute(context), pushed.xcoms


def refusal(*events: Any, **asked: Any) -> str:
    with pytest.raises(AirflowFailException) as refused:
        judge(*events, **asked)
    return str(refused.value)


def test_complete_is_taken() -> None:
    """A complete publication passes without a note, and the decision is returned."""
    decisions, pushed = judge(event(COMPLETE))

    assert ("accept", "complete") == (
        decisions["reference.airport"]["action"],
        decisions["reference.airport"]["reason"],
    )
    assert {} == pushed


def test_what_is_taken_degraded_is_noted() -> None:
    """What was made from degraded data says so on its own run."""
    _, pushed = judge(event(DEGRADED), min_share=0.8)

    assert pushed["dag_run_note"].startswith("Made from degraded data: asset reference.airport")
    assert "Missing: `b` (`late`: `it came at seven`)." in pushed["dag_run_note"]


def test_degraded_is_refused_with_what_is_missing() -> None:
    """The refusal names asset, run, share, what is asked for and what is missing."""
    assert (
        "Not complete enough:\n- asset reference.airport from airport_reference, run manual__1 has 80 % of the "
        "weight; nothing may be missing. Missing: `b` (`late`: `it came at seven`)."
    ) == refusal(event(DEGRADED))


def test_required_feed_is_named() -> None:
    """A required feed that is missing is refused even when the share is enough."""
    assert "Required: b." in refusal(event(DEGRADED), min_share=0.5, require=["b"])


def test_a_strangers_text_is_shown_and_not_obeyed() -> None:
    """Whoever may create asset events chooses names, states and reasons: each is quoted, cut and in one line."""
    text = f"x\n\n# Fine\n![](http://evil/p.png) <b>`a`</b> | {'y' * 500}"
    line = {"feed": text, "state": text, "why": text}
    strange = {**DEGRADED, "missing": [line], "feeds": [FULL, line]}
    _, pushed = judge(event(strange, partition=text), min_share=0.8)

    for told in (
        pushed["dag_run_note"],
        refusal(event(strange, partition=text)).removeprefix("Not complete enough:\n"),
    ):
        assert "\n" not in told
        assert 4 == told.count("`x # Fine ![](http://evil/p.png) <b>'a'</b> ¦ yyy")
        assert 8 == told.count("`")
        assert 4 * 125 > sum(len(part) for part in told.split("`")[1::2])


def test_refusing_can_skip() -> None:
    """With soft_fail the run ends green without having done anything."""
    with pytest.raises(AirflowSkipException, match="nothing may be missing"):
        judge(event(DEGRADED), soft_fail=True)


def test_the_latest_publication_counts() -> None:
    """When a table was published twice before the run began, the later one is what stands in it."""
    decisions, _ = judge(event(COMPLETE, minute=5), event(DEGRADED, minute=1))

    assert "complete" == decisions["reference.airport"]["reason"]
    assert "80 %" in refusal(event(COMPLETE, minute=1), event(DEGRADED, minute=5))


def test_each_partition_counts() -> None:
    """A later publication of one partition says nothing about another."""
    assert "nothing may be missing" in refusal(
        event(DEGRADED, minute=1, partition="rome"), event(COMPLETE, minute=5, partition="paris")
    )


def test_other_assets_can_be_left_out() -> None:
    """Assets without a manifest don't matter when those that do are named."""
    other = Asset(name="other", uri="s3://other")

    assert {"reference.airport"} == set(judge(event(COMPLETE), event({}, asset=other), assets=[AIRPORTS])[0])
    assert "asset other" in refusal(event(COMPLETE), event({}, asset=other))


def test_a_run_without_an_event_is_refused() -> None:
    """A run that a person triggered has no publication to judge."""
    assert "let its event trigger a run" in refusal()


NO_MANIFESTS: list[tuple[Any, str]] = [
    ({}, "weight_share: is required"),
    ({"from_rest_api": True}, "state: is required"),
    ({**COMPLETE, "state": "fine"}, "state: must be 'published'"),
    ({**COMPLETE, "state": None}, "state: must be"),
    ({**COMPLETE, "weight_share": "1"}, "weight_share: must be a valid number"),
    ({**COMPLETE, "weight_share": True}, "weight_share: must be a valid number"),
    ({**COMPLETE, "weight_share": 100}, "weight_share: must be a share from 0 to 1: write 1"),
    ({**COMPLETE, "missing": "none"}, "missing: must be a valid"),
    ({**COMPLETE, "missing": [7]}, r"missing[0]: must be"),
    ({**COMPLETE, "feeds": [{"feed": "a" * 5000, "state": "in"}]}, "feeds[0].feed: must have at most"),
    ({**COMPLETE, "feeds": {"a": "in"}}, "feeds: must be a valid"),
    (
        {**COMPLETE, "feeds": [LATE, {**LATE, "state": "in"}], "missing": [LATE]},
        "feeds names `b` more than once",
    ),
    ({**COMPLETE, "feeds": [FULL, FULL]}, "feeds names `a` more than once"),
    ({**COMPLETE, "feeds": [FULL, LATE]}, "missing and feeds contradict each other about `b` (`late`)"),
    ({**COMPLETE, "missing": [LATE]}, "missing and feeds contradict each other about `b` (`late`)"),
    ({**COMPLETE, "missing": [FULL]}, "missing and feeds contradict each other about `a` (`in`)"),
    ({**DEGRADED, "missing": [LATE, LATE]}, "missing and feeds contradict each other about `b` (`late`)"),
    ({**DEGRADED, "missing": [{**LATE, "state": "failed"}]}, "contradict each other about `b` (`failed`)"),
]


@pytest.mark.parametrize(("extra", "problem"), NO_MANIFESTS, ids=lambda value: str(value)[:50])
def test_what_is_no_manifest_is_refused(extra: Any, problem: str) -> None:
    """Anybody who may create asset events can write any extra: it is refused with what is wrong with it."""
    message = refusal(event(extra), min_share=0.1)

    assert problem in message
    assert "It must be a completeness manifest" in message


def test_not_published_is_refused() -> None:
    """A manifest of a run that published nothing is no publication."""
    assert "Not complete enough" in refusal(event({**COMPLETE, "state": "not_published"}))


def test_parameters_are_checked_when_the_dag_is_parsed() -> None:
    """Percents and texts are refused."""
    with pytest.raises(ValueError, match="is no share"):
        RequireCompleteness(task_id="a", min_share=80)
    with pytest.raises(TypeError, match="write a list"):
        RequireCompleteness(task_id="a", require="b")
