"""Who does what in one round: batches in order on branches, each batch in its lane."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_orchestration.domain.batch import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """One batch on a branch; `cost` is the estimated work in rows-equivalents."""

    feed_id: str
    lane: Lane
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A stream of work: its batches run in this order."""

    branch_id: str
    batches: tuple[PlannedBatch, ...]

    @property
    def cost(self) -> float:
        """The estimated work of the whole branch."""
        return sum(batch.cost for batch in self.batches)

    def feeds_in(self, lane: Lane) -> tuple[str, ...]:
        """The feeds of this branch that run in one lane, in order."""
        return tuple(batch.feed_id for batch in self.batches if batch.lane is lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The branches of one round. A feed stands in exactly one of them."""

    round: int
    branches: tuple[Branch, ...]

    @property
    def feed_ids(self) -> tuple[str, ...]:
        """Every feed of the round, branch by branch."""
        return tuple(batch.feed_id for branch in self.branches for batch in branch.batches)

    def branches_in(self, lane: Lane) -> tuple[str, ...]:
        """The ids of the branches that have work in a lane: what the lane's task is mapped over."""
        return tuple(branch.branch_id for branch in self.branches if branch.feeds_in(lane))

    def branch(self, branch_id: str) -> Branch:
        """The branch of that id; raises `KeyError` for an id that the plan did not make."""
        for branch in self.branches:
            if branch.branch_id == branch_id:
                return branch
        raise KeyError(branch_id)

    def branch_of(self, feed_id: str) -> str:
        """The id of the branch that a feed stands in; raises `KeyError` for a feed that the round left out."""
        for branch in self.branches:
            if any(batch.feed_id == feed_id for batch in branch.batches):
                return branch.branch_id
        raise KeyError(feed_id)
