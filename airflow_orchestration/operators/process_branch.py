"""The five lanes: each processes the batches of a branch that are routed to it (SEED 9 to 12)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.wording import MOST_NAMES, some_of
from airflow_orchestration.operators.base import OrchestrationOperator
from airflow_orchestration.operators.instance_name import cut, show_now
from airflow_orchestration.operators.lineage import branch_lineage
from airflow_orchestration.operators.quality_results import with_quality_results
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers.branch_wait import BranchWaitTrigger
from airflow_orchestration.workflow.branch import Waiting, WaitsFor, failed_feeds, run_branch
from airflow_orchestration.workflow.stopping import apart

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_orchestration.workflow.step import Step

BRANCH_NAME = "{{ branch_name }}"
"""Shows a mapped task by its branch and feeds, which the task itself puts into its context."""


AWAITED = {
    WaitsFor.FILE: "the file",
    WaitsFor.FEED: "the feed",
    WaitsFor.TURN: "its turn behind",
    WaitsFor.NOTHING: "nothing",
}


class BatchesOperator(OrchestrationOperator):
    """Processes batches of a round, and waits for those that can't be processed yet without a worker slot.

    The task fails when one of its batches failed, and is skipped when one of them is late or was
    stopped: all are accepted by the gate or not, and none ends the run.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", BRANCH_NAME)
        super().__init__(**kwargs)

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Go on after waiting: something is there, or nothing is waited for any more."""
        self.execute(context)

    def end_or_wait(self, waiting: tuple[Waiting, ...], failed: list[str]) -> None:
        """Wait for what can still come, or end as the batches did."""
        if any(obstacle.kind is not WaitsFor.NOTHING for obstacle in waiting):
            self._wait(waiting)
        self._end(waiting, failed)

    def name_in(self, context: Context, name: str, feeds: Iterable[str]) -> None:
        """Let the mapped task show who works on what, from now on."""
        shown = cut(f"{name}: {', '.join(feeds)}")
        show_now(context, shown)
        context["branch_name"] = shown  # type: ignore[typeddict-unknown-key]  # read by map_index_template

    def _wait(self, waiting: tuple[Waiting, ...]) -> None:
        for obstacle in waiting[:MOST_NAMES]:
            self.log.info("Feed %s waits for %s %s", obstacle.feed_id, AWAITED[obstacle.kind], obstacle.on)
        if len(waiting) > MOST_NAMES:
            self.log.info("%d more feeds wait; the page names them", len(waiting) - MOST_NAMES)
        self.defer(
            trigger=BranchWaitTrigger(
                orchestration_conn_id=self.orchestration_conn_id,
                round_number=self.round_number,
                waiting=[[obstacle.feed_id, obstacle.kind.value, obstacle.on] for obstacle in waiting],
            ),
            method_name="resume",
        )

    def _end(self, waiting: tuple[Waiting, ...], failed: list[str]) -> None:
        if failed:
            raise AirflowFailException(f"Failed: {some_of(failed)}; the reasons stand in the log above.")
        stopped = some_of(obstacle.feed_id for obstacle in waiting if obstacle.stopped)
        if stopped:
            raise AirflowSkipException(
                f"Stopped: {stopped} was still being processed when the gate decided; nothing of it is kept."
            )
        if waiting:
            late = some_of(obstacle.feed_id for obstacle in waiting)
            raise AirflowSkipException(f"Late: {late} had not arrived when the gate decided.")


def is_last_try(context: Context) -> bool:
    """Whether Airflow tries the task no more after this."""
    ti = context["ti"]
    return bool(ti.try_number > ti.max_tries)


class ProcessBranchOperator(BatchesOperator):
    """Reads, checks and stages the batches of one branch in a lane, each registered as soon as it is done.

    :param branch_id: a branch of the round's plan; map the operator over these.
    """

    lane: ClassVar[Lane]

    def __init__(self, *, branch_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.branch_id = branch_id

    def execute(self, context: Context) -> None:
        """Process what is there; wait for the rest."""
        with self.step(context, f"branch:{self.lane}:{self.branch_id}") as step:
            feeds = self._feeds(step)
            self.name_in(context, self.branch_id, feeds)
            informed = with_quality_results(context, step, feeds)
            last_try = is_last_try(context)
            waiting = run_branch(informed, self.branch_id, self.lane, last_try=last_try, worker=apart(step))
            failed = failed_feeds(step, self.branch_id, self.lane)
        self.end_or_wait(waiting, failed)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what was read and which rules were broken, if Airflow's provider for it is there."""
        run = RunKey(dag_id=task_instance.dag_id, run_id=task_instance.run_id)
        return branch_lineage(self.orchestration_conn_id, run, self.round_number, self.branch_id, self.lane)

    def _feeds(self, step: Step) -> Sequence[str]:
        plan = step.store.rounds(step.run_key)[step.round - 1].plan
        return plan.branch(self.branch_id).feeds_in(self.lane)


class IngestionBranchOperator(ProcessBranchOperator):
    """Lane alpha: streaming ingestion."""

    lane = Lane.ALPHA


class ValidationBranchOperator(ProcessBranchOperator):
    """Lane beta: batch ingestion and validation."""

    lane = Lane.BETA


class TransformationBranchOperator(ProcessBranchOperator):
    """Lane gamma: real-time data and transformation."""

    lane = Lane.GAMMA


class AggregationBranchOperator(ProcessBranchOperator):
    """Lane primary: aggregation of high priority."""

    lane = Lane.PRIMARY


class QualityBranchOperator(ProcessBranchOperator):
    """Lane secondary: aggregation of lower priority, and quality monitoring."""

    lane = Lane.SECONDARY


LANE_OPERATORS: dict[Lane, type[ProcessBranchOperator]] = {
    operator.lane: operator
    for operator in (
        IngestionBranchOperator,
        ValidationBranchOperator,
        TransformationBranchOperator,
        AggregationBranchOperator,
        QualityBranchOperator,
    )
}
