"""A row that was put aside: where it stood, and what was wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRow:
    """One row of a quarantine, as it was read. All texts are strangers' data."""

    feed_id: str
    rule: str
    origin: str | None
    """The file or stream that it came from, where a feed has several."""
    position: int | None
    """Its line or number there, from 1; None where the source has no order."""
    column_name: str | None
    reason: str | None
    raw: str | None

    def as_sample(self) -> dict[str, str | int | None]:
        """Return what tells it from others of its feed and rule, as plain data."""
        told = asdict(self)
        return {
            "column": told["column_name"],
            **{name: told[name] for name in ("origin", "position", "reason", "raw")},
        }
