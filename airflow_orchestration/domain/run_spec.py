"""What one run does: the pipeline file with the run's conf applied, frozen before anything else happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from airflow_orchestration.domain.aggregation import aggregate_problems, feed_problems
from airflow_orchestration.domain.conf import BatchConf, RunConf, RunTerms
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.dependencies import cycle_in
from airflow_orchestration.domain.feed import DATE_PLACEHOLDER, Feed
from airflow_orchestration.domain.lane_terms import lane_problems
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.domain.merge_problems import merge_problems
from airflow_orchestration.domain.output import output_problems
from airflow_orchestration.domain.pipeline import ALL_FEEDS, DatasetTerms, Late, Pipeline, Sync
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.domain.run_terms import (
    asked_by,
    names_of,
    preset_problems,
    terms_of_run,
    terms_problems,
    unknown_root,
)
from airflow_orchestration.domain.strict import Strict
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows of one kind: what they look like, which feeds bring them, how they are merged, where they go."""

    name: str
    contract: Contract
    merge: Merge
    publish: Publish
    feeds: tuple[str, ...]


class RunSpec(Strict):
    """A pipeline, its contracts and the run's date; every path in it is absolute."""

    pipeline: Pipeline
    contracts: tuple[Contract, ...]
    run_date: date
    left_out: tuple[Feed, ...] = ()
    """The declared feeds that conf did not choose: this run does without them, and must say so."""
    preset: str | None = None
    """The preset that conf chose."""
    asked: RunTerms = RunTerms()
    """What conf asked for itself, where that is not what the preset or the pipeline's `params` say already."""
    home: str | None = None
    """The folder of the run's tenant; None where an author may name any folder."""

    @cached_property
    def feeds(self) -> dict[str, Feed]:
        """The feeds of this run by id, in the order of the pipeline file."""
        return {feed.id: feed for feed in self.pipeline.feeds}

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The datasets that feeds of this run bring rows of, by name, in the order of the contract."""
        terms = terms_of(self.pipeline, self.contracts)
        brought = {
            contract.name: tuple(
                feed_id
                for feed_id, feed in self.feeds.items()
                if named(feed, self.contracts) == contract.name
            )
            for contract in self.contracts
        }
        return {
            contract.name: Dataset(
                name=contract.name,
                contract=contract,
                merge=terms[contract.name].merge,
                publish=terms[contract.name].publish,
                feeds=brought[contract.name],
            )
            for contract in self.contracts
            if brought[contract.name]
        }

    def dataset_of(self, feed_id: str) -> Dataset:
        """The dataset that a feed brings rows of."""
        return self.datasets[named(self.feeds[feed_id], self.contracts) or ""]

    def location(self, feed_id: str) -> Location | None:
        """Where this run reads a feed's files; None when its rows are no files."""
        uri = self.feeds[feed_id].uri
        if uri is None:
            return None
        root, _, below = uri.partition("/")
        return Location(
            root=self.pipeline.roots[root], below=below.replace(DATE_PLACEHOLDER, self.run_date.isoformat())
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data that `RunSpec.model_validate` turns back into the same object."""
        return self.model_dump(mode="json", exclude_defaults=True)


def named(feed: Feed, contracts: Sequence[Contract]) -> str | None:
    """The name of a feed's dataset; None when the feed names none and there are several."""
    return feed.dataset or (contracts[0].name if len(contracts) == 1 else None)


def terms_of(pipeline: Pipeline, contracts: Sequence[Contract]) -> Mapping[str, DatasetTerms]:
    """How each dataset is merged and published, by its name."""
    if pipeline.publish is None:
        return pipeline.datasets
    terms = DatasetTerms(merge=pipeline.merge, publish=pipeline.publish)
    return {contract.name: terms for contract in contracts}


def resolve(pipeline: Pipeline, contracts: tuple[Contract, ...], conf: RunConf, run_date: date) -> RunSpec:
    """Apply a run's conf to a pipeline; raises `InputRefusedError` with every problem and its path.

    What conf doesn't say, its preset does, and after that the pipeline's `params`.
    """
    terms = terms_of_run(pipeline, conf)
    problems = [*preset_problems(pipeline, conf), *terms_problems(pipeline, terms)]
    if problems:
        raise InputRefusedError("conf", problems)
    chosen = {batch.id: batch for batch in terms.batches or ()}
    left_out = tuple(feed for feed in pipeline.feeds if chosen and feed.id not in chosen)
    feeds = tuple(
        _overridden(feed, chosen.get(feed.id)) for feed in pipeline.feeds if not chosen or feed.id in chosen
    )
    changes: dict[str, object] = {
        "feeds": feeds,
        "sync": _sync(pipeline.sync, terms, {feed.id for feed in feeds}),
    }
    if terms.workflow_mode is not None:
        changes["workflow_mode"] = terms.workflow_mode
    if terms.quality_approve_at is not None:
        changes["quality"] = pipeline.quality.model_copy(update={"approve_at": terms.quality_approve_at})
    return RunSpec(
        pipeline=pipeline.model_copy(update=changes),
        contracts=contracts,
        run_date=run_date,
        left_out=left_out,
        preset=conf.preset,
        asked=asked_by(pipeline, conf),
    )


def structure_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """What the fields of a pipeline file get wrong among themselves, each with its path."""
    first: dict[str, int] = {}
    for index, feed in enumerate(pipeline.feeds):
        path = f"feeds[{index}]"
        if first.setdefault(feed.id, index) != index:
            yield Problem(
                code=ProblemCode.DUPLICATE,
                path=f"{path}.id",
                message=f"{feed.id!r} is already the id of feeds[{first[feed.id]}]",
            )
        root = (feed.uri or "").partition("/")[0]
        if root and root not in pipeline.roots:
            yield unknown_root(f"{path}.uri", root, pipeline)
    yield from _dependency_problems(pipeline.feeds, "feeds")
    yield from feed_problems(pipeline.feeds)
    yield from _sync_problems(pipeline)
    yield from lane_problems(pipeline.lanes, pipeline.agents)
    declared = {"params": pipeline.params, **{f"presets.{name}": it for name, it in pipeline.presets.items()}}
    for path, terms in declared.items():
        for problem in terms_problems(pipeline, terms):
            yield Problem(code=problem.code, path=f"{path}.{problem.path}", message=problem.message)


def contract_problems(pipeline: Pipeline, contracts: Sequence[Contract]) -> Iterator[Problem]:
    """What a pipeline file asks of its data contract in vain, each with its path."""
    known = {contract.name: contract for contract in contracts}
    brought = {feed.id: known.get(named(feed, contracts) or "") for feed in pipeline.feeds}
    for index, feed in enumerate(pipeline.feeds):
        contract = brought[feed.id]
        if contract is None:
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME,
                path=f"feeds[{index}].dataset",
                message=f"must be one of the contract's objects: {names_of(known)}",
            )
        else:
            yield from _column_problems(feed, contract, f"feeds[{index}].columns")
            yield from output_problems(feed, f"feeds[{index}].output", pipeline.roots, contract)
            yield from aggregate_problems(feed, f"feeds[{index}]", contract, _read_by(feed, brought))
    if pipeline.publish is not None and len(contracts) > 1:
        yield Problem(
            code=ProblemCode.CONFLICT,
            path="publish",
            message="the contract has several schema objects; write datasets instead",
        )
        return
    yield from _dataset_problems(pipeline, known)


def _read_by(feed: Feed, brought: Mapping[str, Contract | None]) -> dict[str, Contract]:
    """The contracts of the feeds that an aggregate reads, by feed."""
    needed = () if feed.aggregate is None else feed.aggregate.feeds
    found = {feed_id: brought.get(feed_id) for feed_id in needed}
    return {feed_id: contract for feed_id, contract in found.items() if contract is not None}


def _dataset_problems(pipeline: Pipeline, known: Mapping[str, Contract]) -> Iterator[Problem]:
    prefixes = {name: f"datasets.{name}." if pipeline.datasets else "" for name in known}
    for name in pipeline.datasets:
        if name not in known:
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME,
                path=f"datasets.{name}",
                message="is no schema object of the contract",
            )
    terms = terms_of(pipeline, tuple(known.values()))
    tables: dict[str, str] = {}
    for name, contract in known.items():
        if name not in terms:
            yield Problem(
                code=ProblemCode.REQUIRED,
                path="datasets",
                message=f"lacks {name!r}, a schema object of the contract",
            )
            continue
        yield from merge_problems(terms[name].merge, contract, prefixes[name])
        root = (terms[name].merge.trust.probes or "").partition("/")[0]
        if root and root not in pipeline.roots:
            yield unknown_root(f"{prefixes[name]}merge.trust.probes", root, pipeline)
        yield from _publish_problems(terms[name].publish, contract, prefixes[name])
        first = tables.setdefault(f"{terms[name].publish.conn_id} {terms[name].publish.table}", name)
        if first != name:
            yield Problem(
                code=ProblemCode.DUPLICATE,
                path=f"datasets.{name}.publish.table",
                message=f"is the table of {first!r} already",
            )


def _publish_problems(publish: Publish, contract: Contract, prefix: str) -> Iterator[Problem]:
    if publish.partition_by is not None and publish.partition_by not in contract.key:
        yield Problem(
            code=ProblemCode.MISMATCH,
            path=f"{prefix}publish.partition_by",
            message=f"{publish.partition_by!r} is no part of the dataset contract's key; add it to the key",
        )


def _column_problems(feed: Feed, contract: Contract, path: str) -> Iterator[Problem]:
    for name in feed.columns:
        if name not in contract.by_name:
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME,
                path=f"{path}.{name}",
                message="is no column of the dataset contract",
            )
    for column in contract.columns:
        if column.name in feed.columns:
            continue
        if column.name in contract.key:
            yield Problem(
                code=ProblemCode.REQUIRED,
                path=path,
                message=f"maps nothing to {column.name!r}, which is part of the key",
            )
        elif column.required:
            yield Problem(
                code=ProblemCode.REQUIRED,
                path=path,
                message=f"maps nothing to {column.name!r}, which the contract requires",
            )


def _dependency_problems(feeds: tuple[Feed, ...], prefix: str) -> Iterator[Problem]:
    known = {feed.id for feed in feeds}
    for index, feed in enumerate(feeds):
        for needed in feed.depends_on:
            if needed not in known:
                yield Problem(
                    code=ProblemCode.UNKNOWN_NAME,
                    path=f"{prefix}[{index}].depends_on",
                    message=f"there is no feed {needed!r}",
                )
    cycle = cycle_in({feed.id: [need for need in feed.depends_on if need in known] for feed in feeds})
    if cycle:
        yield Problem(
            code=ProblemCode.CYCLE,
            path=prefix,
            message=f"depends_on goes round in a circle: {' -> '.join(cycle)}",
        )


def _sync_problems(pipeline: Pipeline) -> Iterator[Problem]:
    known = {feed.id for feed in pipeline.feeds}
    if pipeline.sync.reconcile_schedule is not None and pipeline.sync.late is not Late.RECONCILE:
        message = f"is of no use with late: {pipeline.sync.late}; leave it out, or write late: reconcile"
        yield Problem(code=ProblemCode.CONFLICT, path="sync.reconcile_schedule", message=message)
    for name, point in pipeline.sync.points.items():
        path = f"sync.points.{name}"
        if name == ALL_FEEDS:
            yield Problem(
                code=ProblemCode.RESERVED,
                path=path,
                message="is the name of the gate over all feeds; choose another",
            )
        first: dict[str, int] = {}
        for index, feed_id in enumerate(point.feeds):
            if feed_id not in known:
                yield Problem(
                    code=ProblemCode.UNKNOWN_NAME,
                    path=f"{path}.feeds[{index}]",
                    message=f"there is no feed {feed_id!r}",
                )
            elif first.setdefault(feed_id, index) != index:
                yield Problem(
                    code=ProblemCode.DUPLICATE,
                    path=f"{path}.feeds[{index}]",
                    message=f"{feed_id!r} stands here twice",
                )


def _overridden(feed: Feed, batch: BatchConf | None) -> Feed:
    if batch is None:
        return feed
    return feed.model_copy(update=batch.model_dump(exclude_none=True, exclude={"id"}))


def _sync(sync: Sync, terms: RunTerms, feeds: set[str]) -> Sync:
    """The author's terms with the conf's, and sync points with the run's feeds only."""
    asked = {
        "deadline": terms.sync_deadline,
        "floor": terms.sync_floor,
        "grace_period": terms.sync_grace_period,
    }
    points = {
        name: point.model_copy(
            update={"feeds": tuple(feed_id for feed_id in point.feeds if feed_id in feeds)}
        )
        for name, point in sync.points.items()
        if not feeds.isdisjoint(point.feeds)
    }
    chosen = {name: value for name, value in asked.items() if value is not None}
    return sync.model_copy(update={"points": points, **chosen})
