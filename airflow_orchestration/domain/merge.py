"""How values of several feeds become one, as the author declares it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from airflow_orchestration.domain.strict import Strict
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError


class Strategy(StrEnum):
    """How one value is chosen, or made, of those that the feeds have for a key and attribute."""

    PRIMARY = "primary"
    """The value of the heaviest feed that has one."""
    VOTE = "vote"
    """The value that most weight stands for."""
    MEDIAN = "median"
    """The weighted median, for numbers and times."""
    MEAN = "mean"
    """The weighted mean, for numbers."""
    NEWEST = "newest"
    """The value of the row with the latest `newest_by`."""
    TRUST = "trust"
    """The most probable value, by what is known of each feed's reliability in this attribute."""


class Trust(Strict):
    """What the reliability of feeds is learned from, for strategy `trust`."""

    probes: Annotated[str, Field(min_length=3, max_length=1000)] | None = None
    """`<root>/<path>` of a CSV file with the contract's column names: rows of which the values are known."""
    settled: bool = True
    """Learn from the values that this table's earlier runs settled."""
    half_life: Annotated[int, Field(ge=1, le=1000)] = 20
    """After so many runs an observation counts half."""


class Merge(Strict):
    """How values of several feeds become one."""

    strategy: Strategy = Strategy.PRIMARY
    """Of every attribute that `attributes` does not name."""
    attributes: dict[str, Strategy] = {}
    """Attribute -> its own strategy."""
    tolerance: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Per numeric attribute, the difference up to which two feeds still agree."""
    newest_by: str | None = None
    """The date or timestamp column of the contract that says how new a row is, for `newest`."""
    trust: Trust = Trust()

    @model_validator(mode="after")
    def _newest_has_a_time(self) -> Merge:
        if Strategy.NEWEST in {self.strategy, *self.attributes.values()} and self.newest_by is None:
            raise RefusedValueError(
                "strategy newest needs newest_by, a date or timestamp column of the contract",
                code=ProblemCode.REQUIRED,
            )
        return self

    def strategy_of(self, attribute: str) -> Strategy:
        """The strategy of one attribute."""
        return self.attributes.get(attribute, self.strategy)

    @property
    def learns(self) -> bool:
        """Whether any attribute is merged by trust."""
        return Strategy.TRUST in {self.strategy, *self.attributes.values()}
