"""What came of a run under faults."""

from __future__ import annotations

from dataclasses import dataclass, field


class GivenUpError(Exception):
    """A task has failed for good."""


@dataclass
class Account:
    """What came of a run."""

    violations: list[str] = field(default_factory=list)
    struck: list[tuple[str, str]] = field(default_factory=list)
    """Faults that struck, with the point."""
    missed: list[str] = field(default_factory=list)
    """Faults whose point was never reached."""
    points: dict[str, list[str]] = field(default_factory=dict)
    """By unit, every point that it came to; only where points are recorded."""
    met: set[str] = field(default_factory=set)
    """The statements that were executed."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the death of a task to the end of the one that did its work."""
    zombies: int = 0
    zombies_that_changed: int = 0
    unknown_commits: int = 0
    orphans: int = 0
    """Staged files of executions that died, before they were pruned."""
    seconds: float = 0.0
