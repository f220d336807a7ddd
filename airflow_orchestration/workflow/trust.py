"""Whom does a merge believe? Learns before it, and keeps what a published run taught."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.decision import Json
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.run_spec import Dataset
from airflow_orchestration.engine.balloting import ballots_of
from airflow_orchestration.engine.probing import read_probes
from airflow_orchestration.engine.terms import FusionSource
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.policies.trust.ballot import Tallies
from airflow_orchestration.policies.trust.choosing import learned
from airflow_orchestration.policies.trust.history import (
    as_counts,
    decayed,
    differs_from_vote,
    from_counts,
    settled,
)
from airflow_orchestration.policies.trust.model import TrustModel
from airflow_orchestration.storage.store import MergeRecord
from airflow_orchestration.storage.trust_history import MOST_TAUGHT, Taught, TaughtRun
from airflow_orchestration.workflow.step import Step

HALF_LIVES = 6
"""So many half-lives back a run is still heard; before, it would count less than 2 %."""
EVIDENCE = "trust"
"""Under this name a merge's decision says what was believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What a merge believes of its feeds, and what it settles."""

    model: TrustModel
    known: int
    """Labelled values that were learned from."""
    runs: int
    """Earlier runs that were learned from."""
    observed: Tallies
    differs: Mapping[str, int]
    """Per attribute, the keys of which a plain vote would have said another value."""

    def as_evidence(self) -> dict[str, Json]:
        """Plain data for the merge's decision."""
        return {
            "method": self.model.method,
            "known_values": self.known,
            "earlier_runs": self.runs,
            "differs_from_vote": dict(self.differs),
            "observed": as_counts(self.observed),  # type: ignore[dict-item]  # plain data
            "model": self.model.as_json(),
        }


def belief(step: Step, dataset: Dataset, sources: Sequence[FusionSource]) -> Belief | None:
    """Learn whom to believe; None for a dataset that is not merged by trust."""
    if not dataset.merge.learns:
        return None
    earlier = _earlier(step, dataset)
    number = list(step.spec.datasets).index(dataset.name)
    ballots = ballots_of(
        sources,
        contract=dataset.contract,
        merge=dataset.merge,
        scratch=step.folder(f"trust-{number}"),
        probes=_probes(step, dataset, step.folder(f"probes-{number}")),
    )
    model = learned(ballots, decayed([_tallies(run) for run in earlier], dataset.merge.trust.half_life))
    return Belief(
        model=model,
        known=round(sum(ballot.count for ballot in ballots if ballot.truth is not None)),
        runs=len(earlier),
        observed=settled(model, ballots),
        differs=differs_from_vote(model, ballots),
    )


def believed_in(decision: Mapping[str, Any]) -> TrustModel | None:
    """What a merge believed, by its decision; None when it was not by trust."""
    found = decision["evidence"].get(EVIDENCE)
    return TrustModel.from_json(found["model"]) if found else None


def teach(step: Step, merges: Mapping[str, MergeRecord]) -> None:
    """Keep what the merges of a published run settled; again, it replaces what the run taught before."""
    for name, record in merges.items():
        found = record.decision["evidence"].get(EVIDENCE)
        if found:
            model = TrustModel.from_json(found["model"])
            taught = [
                Taught(
                    attribute=attribute,
                    feed_id=feed_id,
                    right=one.right,
                    total=one.total,
                    accuracy=model.accuracy_of(feed_id, attribute),
                )
                for attribute, feeds in from_counts(found["observed"]).items()
                for feed_id, one in feeds.items()
            ]
            step.store.trust.teach(step.fence, name, model.method, taught)


def _earlier(step: Step, dataset: Dataset) -> Sequence[TaughtRun]:
    """What this Dag's runs before this one taught; a run does not learn from itself."""
    if not dataset.merge.trust.settled:
        return ()
    return step.store.trust.history(
        step.run_key.dag_id,
        dataset.name,
        runs=min(MOST_TAUGHT, HALF_LIVES * dataset.merge.trust.half_life),
        before=step.run.started_at,
    )


def _tallies(run: TaughtRun) -> Tallies:
    counts: dict[str, dict[str, tuple[float, float]]] = {}
    for one in run.taught:
        counts.setdefault(one.attribute, {})[one.feed_id] = (one.right, one.total)
    return from_counts(counts)


def _probes(step: Step, dataset: Dataset, scratch: Path) -> Path | None:
    named = dataset.merge.trust.probes
    if named is None:
        return None
    root, _, below = named.partition("/")
    location = Location(root=step.spec.pipeline.roots[root], below=below)
    file = _fetched(step, location, scratch) if location.is_remote else _local(location)
    return read_probes(file, contract=dataset.contract, scratch=scratch)


def _local(location: Location) -> Path:
    file, root = Path(location.root) / location.below, Path(location.root)
    if not file.resolve().is_relative_to(root.resolve()):
        raise _misplaced(location, f"lies outside its root; put it below {root}", ProblemCode.OUTSIDE_ROOTS)
    return file


def _fetched(step: Step, location: Location, scratch: Path) -> Path:
    remote = step.outside.storage(location.root) / location.below
    if not remote.exists():
        raise _misplaced(
            location, "is not there; put it there, or leave out merge.trust.probes", ProblemCode.NOT_FOUND
        )
    target = scratch / "probes.csv"
    with remote.open("rb") as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    return target


def _misplaced(location: Location, message: str, code: ProblemCode) -> InputRefusedError:
    return InputRefusedError(str(location), [Problem(code=code, path="merge.trust.probes", message=message)])
