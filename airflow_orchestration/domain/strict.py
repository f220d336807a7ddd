"""The base of every model that a person writes, and the kinds of values that several of them have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from airflow_orchestration.domain.deadline import MAX_SECONDS

IDENTIFIER = r"^[a-z][a-z0-9_]{0,62}$"
QUALIFIED_TABLE = r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$"

Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
"""Lower case letters, digits and underscores."""
ConnectionId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w#!().:/\\-]*$")]
"""The id of an Airflow connection, of the letters that Airflow takes: an address with a login is none."""
QualifiedTable = Annotated[str, Field(pattern=QUALIFIED_TABLE)]
"""`schema.table` in PostgreSQL, in lower case."""
MAX_COUNT = 2**53
"""The largest whole number that every reader of JSON tells from its neighbours."""
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
"""Rows, bytes, or the like."""
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
WholeSeconds = Annotated[int, Field(ge=1, le=MAX_SECONDS)]
Share = Annotated[float, Field(ge=0, le=1)]
Floor = Annotated[float, Field(ge=0.01, le=1)]
"""A floor of nothing would merge nothing."""
GracePeriod = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
"""In seconds."""


class Strict(BaseModel):
    """Unknown fields, infinities and NaN are refused; numbers are not read out of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
