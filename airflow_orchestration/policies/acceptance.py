"""Is what was published complete enough for who comes after? By its own manifest, whoever wrote that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_orchestration.domain.decision import Decision

TOLERANCE = 5e-5
"""Manifests round their shares to four digits."""


class AcceptanceAction(StrEnum):
    """What becomes of the publication here."""

    ACCEPT = "accept"
    REFUSE = "refuse"


class AcceptanceReason(StrEnum):
    """Why."""

    COMPLETE = "complete"
    ENOUGH = "enough"
    NOT_PUBLISHED = "not_published"
    REQUIRED_MISSING = "required_missing"
    SOMETHING_MISSING = "something_missing"
    SHARE_TOO_SMALL = "share_too_small"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceFacts:
    """What a manifest says."""

    published: bool
    weight_share: float
    present: frozenset[str]
    """The feeds that are in, whole."""
    missing: tuple[str, ...]
    """The feeds that are not, in the manifest's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceDecision(Decision):
    """Whether the publication is good enough."""

    action: AcceptanceAction
    reason: AcceptanceReason

    @property
    def is_accepted(self) -> bool:
        """Whether to go on with it."""
        return self.action is AcceptanceAction.ACCEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The least that is taken; without a `min_share` nothing may be missing.

    >>> facts = AcceptanceFacts(
    ...     published=True, weight_share=0.8, present=frozenset({"airports"}), missing=("planes",)
    ... )
    >>> Acceptance(min_share=0.75, require=("airports",)).evaluate(facts).action.value
    'accept'
    >>> Acceptance(min_share=0.75, require=("planes",)).evaluate(facts).reason.value
    'required_missing'
    """

    min_share: float | None = None
    require: Sequence[str] = ()
    """Feeds that must be in, whatever the share; one that the manifest does not know is missing."""

    def __post_init__(self) -> None:
        if self.min_share is not None and not 0 < self.min_share <= 1:
            raise ValueError(f"min_share {self.min_share} is no share; use more than 0 and at most 1")

    def evaluate(self, facts: AcceptanceFacts) -> AcceptanceDecision:
        """Accept or refuse."""
        required_missing = [feed for feed in self.require if feed not in facts.present]
        action, reason = self._verdict(facts, bool(required_missing))
        return AcceptanceDecision(
            policy="acceptance",
            action=action,
            reason=reason,
            evidence={
                "weight_share": facts.weight_share,
                "min_share": self.min_share,
                "missing": list(facts.missing),
                "required_missing": list(required_missing),
            },
        )

    def _verdict(
        self, facts: AcceptanceFacts, required_missing: bool
    ) -> tuple[AcceptanceAction, AcceptanceReason]:
        accept, refuse = AcceptanceAction.ACCEPT, AcceptanceAction.REFUSE
        if not facts.published:
            return refuse, AcceptanceReason.NOT_PUBLISHED
        if required_missing:
            return refuse, AcceptanceReason.REQUIRED_MISSING
        if not facts.missing and facts.weight_share > 1 - TOLERANCE:
            return accept, AcceptanceReason.COMPLETE
        if self.min_share is None:
            return refuse, AcceptanceReason.SOMETHING_MISSING
        if facts.weight_share < self.min_share - TOLERANCE:
            return refuse, AcceptanceReason.SHARE_TOO_SMALL
        return accept, AcceptanceReason.ENOUGH
