"""What a merge is written from: the sources in the order of their weight, and how each attribute is merged."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.domain.merge import Strategy as Name
from airflow_orchestration.engine.opinions import Cell, Strategy, whole_weights
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.engine.strategies import STRATEGIES
from airflow_orchestration.policies.trust.model import TrustModel

SOURCES_AT_ONCE = 50
"""Ours: sources of one statement. Measured: planning takes more than twice as long for twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSource:
    """A feed's staged Parquet file, and how far it is trusted; `weight` is above 0."""

    feed_id: str
    path: Path
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The sources, heaviest first, and the rules."""

    sources: tuple[FusionSource, ...]
    contract: Contract
    merge: Merge
    trust: TrustModel
    only_keys: Path | None = None

    @property
    def feeds(self) -> tuple[str, ...]:
        """The feeds' ids."""
        return tuple(source.feed_id for source in self.sources)

    @property
    def weights(self) -> tuple[float, ...]:
        """The feeds' weights as whole numbers."""
        return whole_weights([source.weight for source in self.sources])

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The attributes, each with what a strategy has to know."""
        feeds, weights = self.feeds, self.weights
        return tuple(
            Cell(
                number=number,
                column=column,
                tolerance=self.merge.tolerance.get(column.name, 0.0),
                feeds=feeds,
                weights=weights,
            )
            for number, column in enumerate(self.contract.attributes)
        )

    def strategy(self, cell: Cell) -> Strategy:
        """How an attribute is merged."""
        return STRATEGIES[self.merge.strategy_of(cell.column.name)](self.trust)

    def makes(self, cell: Cell) -> bool:
        """Whether the value of an attribute is made of all opinions, and is no single source's."""
        return self.merge.strategy_of(cell.column.name) is Name.MEAN

    def chunks(self) -> Iterator[range]:
        """The numbers of the sources, some at a time: a statement over all of very many takes no end of time and memory."""
        for start in range(0, len(self.sources), SOURCES_AT_ONCE):
            yield range(start, min(start + SOURCES_AT_ONCE, len(self.sources)))

    @property
    def time(self) -> str:
        """SQL for the time of a source's row."""
        return identifier(self.merge.newest_by) if self.merge.newest_by else "NULL::TIMESTAMP"

    def rows(self, number: int, within: str = "true") -> str:
        """SQL for the rows of a source that take part and for which a condition on the key holds."""
        path = literal(self.sources[number].path)
        if self.only_keys is not None:
            keys = identifiers(self.contract.key)
            path = f"{path} SEMI JOIN {literal(self.only_keys)} USING ({keys})"
        return f"(SELECT * FROM {path} WHERE {within})"
