"""What did trust change? Merges a run's checked rows once more, by a plain vote, and compares."""

from __future__ import annotations

from airflow_orchestration.domain.merge import Strategy
from airflow_orchestration.domain.run_spec import Dataset
from airflow_orchestration.engine.comparing import DifferingCell, differing_cells
from airflow_orchestration.engine.fusing import fuse
from airflow_orchestration.engine.terms import FusionSource
from airflow_orchestration.exceptions import StagedFileError
from airflow_orchestration.storage.store import MergeRecord
from airflow_orchestration.workflow.merge import fetch_rows
from airflow_orchestration.workflow.publish import last_merges, standing_feeds
from airflow_orchestration.workflow.step import Step


def trust_changes(step: Step, dataset: Dataset, most: int) -> dict[str, tuple[int, list[DifferingCell]]]:
    """Count, per attribute merged by trust, the values that a vote by heads would not have chosen.

    With the first `most` of them. Raises `StagedFileError` when the run's merge or checked rows are gone.
    """
    record = last_merges(step).get(dataset.name)
    if record is None:
        raise StagedFileError(f"The merge of {step.run_key.run_id} is not in the store; look at a newer run.")
    merge = dataset.merge
    attributes = [c.name for c in dataset.contract.attributes if merge.strategy_of(c.name) is Strategy.TRUST]
    voted = fuse(
        _equal_sources(step, record),
        contract=dataset.contract,
        merge=merge.model_copy(
            update={"attributes": {**merge.attributes, **dict.fromkeys(attributes, Strategy.VOTE)}}
        ),
        scratch=step.folder("voted"),
    )
    return differing_cells(
        step.staging.fetch(record.staged, step.scratch),
        voted.path,
        contract=dataset.contract,
        attributes=attributes,
        most=most,
        scratch=step.folder("compared"),
    )


def _equal_sources(step: Step, record: MergeRecord) -> list[FusionSource]:
    standing = standing_feeds(step)
    return [
        FusionSource(feed_id=feed_id, path=fetch_rows(step, standing[feed_id]), weight=1.0)
        for feed_id in record.published
    ]
