"""What did a policy decide, and why? One object for log, XCom, audit table and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The action that a policy chose, the reason for it, and the facts that it rests on.

    `evidence` is JSON-plain and small: counts, shares and names, never rows.
    """

    policy: str
    action: StrEnum
    reason: StrEnum
    evidence: Mapping[str, Json]

    def as_json(self) -> dict[str, Json]:
        """Return the decision as plain data, ready for XCom, the audit table and the page."""
        return {
            "policy": self.policy,
            "action": self.action.value,
            "reason": self.reason.value,
            "evidence": dict(self.evidence),
        }

    def __str__(self) -> str:
        shown = ", ".join(
            f"{name}={_shown(value)}" for name, value in self.evidence.items() if _is_told(value)
        )
        return f"{self.policy}: {self.action.value} because {self.reason.value} ({shown})"


def _is_told(value: Json) -> bool:
    return isinstance(value, str | int | float | bool)


def _shown(value: Json) -> str:
    """Write a number as a person reads it; the record has all of its digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
