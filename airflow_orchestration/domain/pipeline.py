"""The pipeline file: what an author declares about feeds, waiting, merging, quality and publishing."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from airflow_orchestration.domain.batch import BatchType, ModeChoice, Priority, SourceType
from airflow_orchestration.domain.deadline import MAX_SECONDS, Deadline
from airflow_orchestration.domain.defaults import APPROVE_AT, ASK_TIMEOUT, FAIL_BELOW, FLOOR, MAX_ROUNDS

MAX_FEEDS = 10_000
MAX_SYNC_POINTS = 20
ALL_FEEDS = "feeds"
"""The sync point over all feeds, which every run has."""
IDENTIFIER = r"^[a-z][a-z0-9_]{0,62}$"
DATE_PLACEHOLDER = "{date}"

Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
Share = Annotated[float, Field(ge=0, le=1)]
Floor = Annotated[float, Field(ge=0.01, le=1)]
"""A floor of nothing would merge nothing."""
Weight = Annotated[float, Field(gt=0, le=1000)]
GracePeriod = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]
"""In seconds."""


class Strict(BaseModel):
    """Unknown fields, infinities and NaN are refused; numbers are not read out of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class FeedFormat(StrEnum):
    """How the bytes of a feed are written. Each may be gzipped (`.gz`)."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


class KeylessRows(StrEnum):
    """What a row is whose key is empty or not of the contract's form."""

    INVALID = "invalid"
    OUT_OF_SCOPE = "out_of_scope"


class SourceColumn(Strict):
    """Where a column of the contract comes from in the feed."""

    column: Annotated[str, Field(min_length=1, max_length=200)]
    """The name of the column in the feed."""
    extract: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A regular expression whose first group is the value, for example `POINT \\((\\S+) \\S+\\)`."""

    @field_validator("extract")
    @classmethod
    def _one_group(cls, extract: str | None) -> str | None:
        try:
            groups = re.compile(extract).groups if extract else 1
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"needs exactly one group in round brackets, has {groups}")
        return extract


class Feed(Strict):
    """One source of rows, and what it means to the pipeline."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    """Its name: lower case letters, digits and underscores."""
    uri: Annotated[str, Field(min_length=3, max_length=1000)]
    """`<root>/<path below it>`; `{date}` in it stands for the run's date, written 2026-11-22."""
    format: FeedFormat
    columns: Annotated[dict[str, SourceColumn], Field(min_length=1)]
    """Column of the contract -> column of the feed. What is not named here stays empty."""
    type: BatchType = BatchType.DATA_INGESTION
    source_type: SourceType = SourceType.BATCH
    priority: Priority = Priority.MEDIUM
    weight: Weight = 1.0
    """What the feed counts at the gate, and how far it is trusted when feeds disagree."""
    required: bool = False
    """Without a required feed nothing is published."""
    depends_on: tuple[str, ...] = ()
    """Feeds that must have arrived before this one is processed."""
    deadline: Deadline | None = None
    """How long this feed is waited for: seconds from the start of a round, or a time of day with its time
    zone, as `06:00 Europe/Berlin`. The gate's deadline ends it too."""
    usual_rows: Annotated[int, Field(ge=1)] | None = None
    """Valid rows on a usual day, until the store has seen enough runs to know better."""
    keyless_rows: KeylessRows = KeylessRows.INVALID
    """`out_of_scope` puts rows without a proper key aside without counting them against quality."""
    delimiter: Annotated[str, Field(pattern=r"^[\t !#-~]$")] = ","
    """CSV only."""
    null_words: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    """Words that mean "no value", beside the empty text."""

    @field_validator("columns", mode="before")
    @classmethod
    def _short_form(cls, columns: object) -> object:
        if not isinstance(columns, dict):
            return columns
        return {
            name: {"column": source} if isinstance(source, str) else source
            for name, source in columns.items()
        }

    @field_validator("uri")
    @classmethod
    def _stays_below_its_root(cls, uri: str) -> str:
        return checked_uri(uri)


class SyncPoint(Strict):
    """A quorum over some of the feeds; the merge waits for each of these as well."""

    feeds: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_FEEDS)]
    """Feeds of this pipeline; a feed may stand in several sync points."""
    floor: Floor = FLOOR
    """The share of these feeds' weight that is good enough."""
    deadline: Deadline | None = None
    """When it decides with what is there; left out, or later than the gate's own deadline, with the gate."""
    grace_period: GracePeriod | None = None
    """Seconds to wait for the others once the floor is reached; left out, it holds to its deadline."""


class Late(StrEnum):
    """What becomes of a feed that arrives after the gate has opened."""

    RECONCILE = "reconcile"
    """It is merged afterwards, as a new version of the run's publication."""
    NEXT_RUN = "next_run"
    """The next run merges it, after its own publication."""
    DISCARD = "discard"
    """It is named as late, and stays outside."""


class Stragglers(StrEnum):
    """What becomes of a batch that is still being processed when the gate decides."""

    LEAVE = "leave"
    """It ends in its own time, and counts as late."""
    STOP = "stop"
    """It is stopped within seconds, and leaves nothing behind."""


class Sync(Strict):
    """When the gate opens (SEED 13 and its ruling), and what becomes of who comes later."""

    deadline: Deadline
    """When the gate decides with what is there: seconds from the start of a round, or a time of day with its
    time zone, as `06:00 Europe/Berlin`: the first such moment after the start of the run, for all rounds."""
    floor: Floor = FLOOR
    """The share of the feeds' weight that is good enough."""
    grace_period: GracePeriod | None = None
    """Seconds to wait for the others once the floor is reached; left out, the gate holds to the deadline."""
    points: Annotated[
        dict[Annotated[str, Field(pattern=IDENTIFIER)], SyncPoint], Field(max_length=MAX_SYNC_POINTS)
    ] = {}
    """Further quorums over some of the feeds, by name: the merge starts when all of them are settled."""
    late: Late = Late.RECONCILE
    """What becomes of a feed that arrives after the gate has opened."""
    reconcile_schedule: str | None = None
    """Airflow's schedule of the Dag that looks for late feeds; left out, it is triggered."""
    stragglers: Stragglers = Stragglers.LEAVE
    """What becomes of a batch that is still being processed when the gate decides."""


class AskWhen(StrEnum):
    """When a person is asked before the run goes on (SEED 5 and its ruling)."""

    CONDITIONAL = "conditional"
    """The gate opened without everybody."""
    BELOW_FLOOR = "below_floor"
    """The deadline came below the floor."""
    NEAR_MISS = "near_miss"
    """The merged table's quality is just below what is approved."""


class Merge(Strict):
    """How values of several feeds become one."""

    strategy: Literal["primary"] = "primary"
    """`primary`: per key and attribute, the value of the heaviest feed that has one."""
    tolerance: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Per numeric attribute, the difference up to which two feeds still agree."""


class Quality(Strict):
    """What is good enough to publish."""

    approve_at: Share = APPROVE_AT
    """A feed, and the merged table, below this score need a revision (SEED 25)."""
    fail_below: Share = FAIL_BELOW
    """A merged table below this score is a critical failure: nothing is published, nothing tried again."""

    @model_validator(mode="after")
    def _in_order(self) -> Quality:
        if self.fail_below > self.approve_at:
            raise ValueError(f"fail_below {self.fail_below} is above approve_at {self.approve_at}")
        return self


class Publish(Strict):
    """Where the merged rows go."""

    table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$")]
    """`schema.table` in PostgreSQL, in lower case. The schema must be there; the table is created when it is
    not. Rows are inserted or updated by key."""
    conn_id: Annotated[str, Field(min_length=1, max_length=200)] = "orchestration_default"
    """The Airflow connection of the target database."""


class Capacity(Strict):
    """What the machines offer; anything left out is measured where the analysis runs."""

    workers: Annotated[int, Field(ge=1, le=1000)] | None = None
    cpu_available: Share | None = None
    memory_mb: Annotated[int, Field(ge=256)] | None = None


class ConfBounds(Strict):
    """How far a run's conf may move what the author declared."""

    max_sync_deadline: Seconds | None = None
    """The longest deadline that conf may ask for; left out, the author's own deadline."""
    min_sync_floor: Floor | None = None
    """The lowest floor that conf may ask for; left out, the author's own floor."""
    min_sync_grace_period: GracePeriod | None = None
    """The shortest grace period, in seconds, that conf may ask for; left out, the author's own, and without
    one conf may set none."""
    min_quality: Share | None = None
    """The lowest `quality_approve_at` that conf may ask for; left out, the author's own."""


class Pipeline(Strict):
    """One pipeline file."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    """The Dag's id."""
    description: Annotated[str, Field(max_length=10_000)] = ""
    schedule: str | None = None
    """Airflow's: a cron expression or a preset such as @daily; left out, runs are triggered."""
    owner: Annotated[str, Field(min_length=1, max_length=200)] = "airflow"
    tags: tuple[Annotated[str, Field(max_length=100)], ...] = ()
    roots: Annotated[dict[Annotated[str, Field(pattern=IDENTIFIER)], str], Field(min_length=1)]
    """Name -> folder. Feeds are read below these folders only. Relative to the pipeline file."""
    staging: Annotated[str, Field(min_length=1)]
    """Folder for checked rows between tasks, a path or an object storage URI. Relative to the pipeline file."""
    contract: Annotated[str, Field(min_length=1)]
    """The dataset contract, a file in the Open Data Contract Standard v3. Relative to the pipeline file."""
    store_conn_id: Annotated[str, Field(min_length=1)] = "orchestration_default"
    """The Airflow connection of the store (PostgreSQL)."""
    feeds: Annotated[tuple[Feed, ...], Field(min_length=1, max_length=MAX_FEEDS)]
    sync: Sync
    merge: Merge = Merge()
    quality: Quality = Quality()
    ask_when: tuple[AskWhen, ...] = ()
    """When a person is asked before the run goes on; left out, never."""
    ask_timeout: Seconds = ASK_TIMEOUT
    """Seconds an answer is waited for; then the run goes on as the policy says."""
    publish: Publish
    capacity: Capacity = Capacity()
    conf_bounds: ConfBounds = ConfBounds()
    workflow_mode: ModeChoice = ModeChoice.AUTO
    max_rounds: Annotated[int, Field(ge=1, le=10)] = MAX_ROUNDS
    """Rounds at most (SEED 25, iteration limit)."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Airflow's retries of a task, for faults that may pass."""


def checked_uri(uri: str) -> str:
    """Return `<root>/<path>` unchanged, or raise `ValueError` when it could leave its root.

    >>> checked_uri("landing/2026/airports.csv")
    'landing/2026/airports.csv'
    """
    if any(ord(letter) < ord(" ") for letter in uri) or "\\" in uri or "\x7f" in uri:
        raise ValueError("holds a control character or a backslash")
    if "://" in uri:
        raise ValueError(
            "names a location of its own; write <root>/<path>, with a root that `roots` declares"
        )
    parts = uri.split("/")  # not `PurePosixPath`: it hides the empty part that makes the rest absolute
    if len(parts) < 2 or not {"", ".", ".."}.isdisjoint(parts):  # noqa: PLR2004  # a root and a file
        raise ValueError(
            "must be <root>/<path> with a root that `roots` declares and no empty part, no . and no .."
        )
    leftover = uri.replace(DATE_PLACEHOLDER, "")
    if "{" in leftover or "}" in leftover:
        raise ValueError("has a placeholder that is not {date}")
    return uri
