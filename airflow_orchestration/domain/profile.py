"""What the rows of a feed look like in figures: how many, how filled, how varied, how new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_orchestration.domain.statistics import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """One column of the checked rows.

    `distinct` is an estimate, a few percent off, of the different values among `sampled` filled cells. `mean` and
    `deviation` are of numbers, and of a text's length in bytes; None for times, and where no cell is filled.
    `lowest` and `highest` are of numbers and times (ISO 8601), never of texts: these may be somebody's.
    """

    name: str
    rows: int
    filled: int
    sampled: int
    distinct: int
    refused: int = 0
    """Rows that were put aside for this column."""
    mean: float | None = None
    deviation: float | None = None
    lowest: float | str | None = None
    highest: float | str | None = None

    @property
    def completeness(self) -> Share:
        """The filled cells among the checked rows."""
        return Share(part=self.filled, whole=self.rows)

    @property
    def validity(self) -> Share:
        """The rows that were not put aside for this column."""
        return Share(part=self.rows, whole=self.rows + self.refused)

    @property
    def uniqueness(self) -> Share:
        """The different values among the filled cells that were looked at."""
        return Share(part=self.distinct, whole=self.sampled)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedProfile:
    """The rows of one feed in one run: `rows` are those that passed all checks."""

    rows: int
    completeness: Share
    """Filled cells of the mapped columns, over the rows in scope."""
    validity: Share
    """Rows that break no rule of their own, over the rows in scope."""
    uniqueness: Share
    """Valid rows with a key of their own."""
    columns: tuple[ColumnProfile, ...]
    newest: str | None = None
    """The newest time in the column that says how new a row is, ISO 8601."""
    age_seconds: float | None = None
    """How old that was when the run began; below 0 for a time to come."""

    def as_json(self) -> dict[str, Any]:
        """Plain data that `profile_of` turns back into the same object."""
        return asdict(self)


def profile_of(document: Mapping[str, Any]) -> FeedProfile:
    """The profile that `as_json` wrote down."""
    shares = {name: Share(**document[name]) for name in ("completeness", "validity", "uniqueness")}
    columns = tuple(ColumnProfile(**column) for column in document["columns"])
    return FeedProfile(**{**document, **shares, "columns": columns})
