"""How far may a run go from what the author declared? Presets, bounds, and what conf asks beyond them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from airflow_orchestration.domain.conf import BatchConf, RunConf, RunTerms
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.exceptions import Problem, ProblemCode

MAX_NAMES = 20
"""Ours: names that a message lists."""


def terms_of_run(pipeline: Pipeline, conf: RunConf) -> RunTerms:
    """Return what a run does: what conf says, over its preset, over the pipeline's `params`."""
    return _without(pipeline, conf).model_copy(update=conf.said())


def asked_by(pipeline: Pipeline, conf: RunConf) -> RunTerms:
    """Return what conf says itself that makes a difference; a form that nobody filled in asks for nothing."""
    usual = _without(pipeline, conf)
    batches = usual.batches or tuple(BatchConf(id=feed.id) for feed in pipeline.feeds)
    same = usual.model_copy(update={"batches": batches})
    said = {name: value for name, value in conf.said().items() if value != getattr(same, name)}
    return RunTerms.model_construct(**said)


def _without(pipeline: Pipeline, conf: RunConf) -> RunTerms:
    """What a run does whose conf says nothing itself."""
    preset = pipeline.presets.get(conf.preset or "", RunTerms())
    return pipeline.params.model_copy(update=preset.said())


def longest_deadline(pipeline: Pipeline) -> float | str:
    """Return the most seconds that conf may wait, or the time of day until which the author waits: then none."""
    return pipeline.conf_bounds.max_sync_deadline or pipeline.sync.deadline


def lowest_floor(pipeline: Pipeline) -> float:
    """Return the lowest floor that conf may ask for."""
    bound = pipeline.conf_bounds.min_sync_floor
    return pipeline.sync.floor if bound is None else bound


def shortest_grace_period(pipeline: Pipeline) -> float | None:
    """Return the fewest seconds of grace that conf may ask for; None where it may ask for none.

    Any grace period opens the gate earlier than none, so an author without one has allowed none.
    """
    bound = pipeline.conf_bounds.min_sync_grace_period
    return pipeline.sync.grace_period if bound is None else bound


def lowest_quality(pipeline: Pipeline) -> float:
    """Return the lowest score that conf may approve; below `fail_below` a table is a failure in any case."""
    bound, quality = pipeline.conf_bounds.min_quality, pipeline.quality
    return max(quality.approve_at if bound is None else bound, quality.fail_below)


def preset_problems(pipeline: Pipeline, conf: RunConf) -> Iterator[Problem]:
    """Refuse a preset that the pipeline file doesn't declare."""
    if conf.preset is not None and conf.preset not in pipeline.presets:
        known = names_of(pipeline.presets) or "none"
        yield Problem(
            code=ProblemCode.UNKNOWN_NAME,
            path="preset",
            message=f"there is no preset {conf.preset!r}; these are: {known}",
        )


def terms_problems(pipeline: Pipeline, terms: RunTerms) -> Iterator[Problem]:
    """What terms ask of a pipeline in vain, or beyond its author's bounds, each with its path."""
    declared = {feed.id: feed for feed in pipeline.feeds}
    chosen: dict[str, int] = {}
    for index, batch in enumerate(terms.batches or ()):
        path = f"batches[{index}]"
        first = chosen.setdefault(batch.id, index)
        if batch.id not in declared:
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME,
                path=f"{path}.id",
                message=f"there is no feed {batch.id!r} in this pipeline",
            )
        elif first != index:
            yield Problem(
                code=ProblemCode.DUPLICATE,
                path=f"{path}.id",
                message=f"{batch.id!r} already stands at batches[{first}]",
            )
        root = (batch.uri or "").partition("/")[0]
        if root and root not in pipeline.roots:
            yield unknown_root(f"{path}.uri", root, pipeline)
        if root and batch.id in declared and declared[batch.id].uri is None:
            yield Problem(
                code=ProblemCode.CONFLICT,
                path=f"{path}.uri",
                message="is of no use: this feed is read from no file; leave it out",
            )
    if chosen:
        yield from _left_out_problems(declared, set(chosen))
    yield from _bound_problems(pipeline, terms)


def _left_out_problems(declared: dict[str, Feed], chosen: set[str]) -> Iterator[Problem]:
    for feed in declared.values():
        if feed.required and feed.id not in chosen:
            yield Problem(
                code=ProblemCode.REQUIRED,
                path="batches",
                message=f"leaves out {feed.id!r}, which the pipeline requires",
            )
        for needed in feed.depends_on:
            if feed.id in chosen and needed not in chosen:
                yield Problem(
                    code=ProblemCode.REQUIRED,
                    path="batches",
                    message=f"leaves out {needed!r}, on which {feed.id!r} depends; add it",
                )


def _bound_problems(pipeline: Pipeline, terms: RunTerms) -> Iterator[Problem]:
    if terms.sync_deadline is not None:
        yield from _deadline_problems(terms.sync_deadline, longest_deadline(pipeline))
    lowest = lowest_floor(pipeline)
    if terms.sync_floor is not None and terms.sync_floor < lowest:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED,
            path="sync_floor",
            message=f"is {terms.sync_floor:g}, the author allows no less than {lowest:g}",
        )
    if terms.sync_grace_period is not None:
        yield from _grace_problems(terms.sync_grace_period, shortest_grace_period(pipeline))
    if terms.quality_approve_at is not None:
        yield from _quality_problems(pipeline, terms.quality_approve_at)


def _deadline_problems(asked: float, longest: float | str) -> Iterator[Problem]:
    if isinstance(longest, str):
        message = f"is {asked:g} s, the author waits until {longest}; leave it out"
        yield Problem(code=ProblemCode.NOT_ALLOWED, path="sync_deadline", message=message)
    elif asked > longest:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED,
            path="sync_deadline",
            message=f"is {asked:g} s, the author allows {longest:g} s",
        )


def _grace_problems(asked: float, shortest: float | None) -> Iterator[Problem]:
    if shortest is None:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED,
            path="sync_grace_period",
            message=f"is {asked:g} s, the author declares no grace period; leave it out to wait for the deadline",
        )
    elif asked < shortest:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED,
            path="sync_grace_period",
            message=f"is {asked:g} s, the author allows no less than {shortest:g} s",
        )


def _quality_problems(pipeline: Pipeline, asked: float) -> Iterator[Problem]:
    lowest, fail_below = lowest_quality(pipeline), pipeline.quality.fail_below
    if asked >= lowest:
        return
    why = (
        f"below the pipeline's fail_below {fail_below:g}"
        if lowest == fail_below
        else f"the author allows no less than {lowest:g}"
    )
    yield Problem(code=ProblemCode.NOT_ALLOWED, path="quality_approve_at", message=f"is {asked:g}, {why}")


def unknown_root(path: str, root: str, pipeline: Pipeline) -> Problem:
    """Say that a root is none of those that the pipeline file declares."""
    return Problem(
        code=ProblemCode.UNKNOWN_NAME,
        path=path,
        message=f"{root!r} is no declared root; these are: {names_of(pipeline.roots)}",
    )


def names_of(names: Iterable[str]) -> str:
    """List the first names: each feed may have a problem, and a file may have thousands of names."""
    known = list(islice(names, MAX_NAMES + 1))
    return ", ".join([*known[:MAX_NAMES], *(["..."] if len(known) > MAX_NAMES else [])])
