"""The pipeline file: what an author declares about feeds, waiting, merging, quality and publishing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from airflow_orchestration.domain.batch import Lane, ModeChoice
from airflow_orchestration.domain.conf import Preset, RunTerms
from airflow_orchestration.domain.deadline import Deadline
from airflow_orchestration.domain.defaults import (
    APPROVE_AT,
    ASK_TIMEOUT,
    FAIL_BELOW,
    FLOOR,
    LEASE_WAIT_SECONDS,
    MAX_CONCURRENT_BATCHES,
    MAX_FEEDS,
    MAX_ROUNDS,
    RETRY_ATTEMPTS,
    TIMEOUT_SECONDS,
)
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.lane_terms import LaneTerms, PoolName
from airflow_orchestration.domain.location import without_login
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.domain.strict import (
    MAX_COUNT,
    ConnectionId,
    Floor,
    GracePeriod,
    Identifier,
    Seconds,
    Share,
    Strict,
    WholeSeconds,
)
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

MAX_SYNC_POINTS = 20
MAX_DATASETS = 100
MAX_PRESETS = 50
"""Ours: what a list in the trigger form can show."""
ALL_FEEDS = "feeds"
"""The sync point over all feeds, which every run has."""


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
    points: Annotated[dict[Identifier, SyncPoint], Field(max_length=MAX_SYNC_POINTS)] = {}
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


class DriftChoice(StrEnum):
    """What becomes of a feed whose rows are not as they usually are."""

    WARN = "warn"
    """The run's manifest says what is unusual, and nothing else happens."""
    LOWER_WEIGHT = "lower_weight"
    """It also counts half when feeds disagree."""


class Quality(Strict):
    """What is good enough to publish."""

    approve_at: Share = APPROVE_AT
    """A feed, and the merged table, below this score need a revision (SEED 25)."""
    fail_below: Share = FAIL_BELOW
    """A merged table below this score is a critical failure: nothing is published, nothing tried again."""
    drift: DriftChoice = DriftChoice.WARN
    """What becomes of a feed whose volume, empty cells, means or variety are not as in its earlier runs."""

    @model_validator(mode="after")
    def _in_order(self) -> Quality:
        if self.fail_below > self.approve_at:
            raise RefusedValueError(
                f"fail_below {self.fail_below} is above approve_at {self.approve_at}",
                code=ProblemCode.CONFLICT,
            )
        return self


class DatasetTerms(Strict):
    """What becomes of one dataset's rows."""

    merge: Merge = Merge()
    publish: Publish


class Capacity(Strict):
    """What the machines offer; anything left out is measured where the analysis runs."""

    workers: Annotated[int, Field(ge=1, le=1000)] | None = None
    cpu_available: Share | None = None
    memory_mb: Annotated[int, Field(ge=256, le=MAX_COUNT)] | None = None


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


class Agents(Strict):
    """How the agents work that process the batches; they are chosen when the run knows what it has to do.

    Left out of a pipeline file, its lanes are bound in the Dag file instead: a task for each of the five.
    """

    max_concurrent_batches: Annotated[int, Field(ge=1, le=1000)] = MAX_CONCURRENT_BATCHES
    """Agents of a run that work at a time (SEED 20): Airflow's `max_active_tis_per_dagrun`."""
    timeout_seconds: WholeSeconds = TIMEOUT_SECONDS
    """How long an agent may work without a pause (SEED 20): Airflow's `execution_timeout`."""
    retry_attempts: Annotated[int, Field(ge=0, le=10)] = RETRY_ATTEMPTS
    """How often an agent's task is tried again (SEED 20): Airflow's `retries`."""
    wait_seconds: WholeSeconds = LEASE_WAIT_SECONDS
    """How long an agent waits for the CPU, memory and connections that it needs."""
    monitoring: bool = True
    """Whether its work is told in the timeline and as metrics (SEED 22)."""


class Pipeline(Strict):
    """One pipeline file."""

    id: Identifier
    """The Dag's id."""
    tenant: Identifier | None = None
    """Whose it is: set by the agent factory, which names Dags `<tenant>__<job>`. A file does not say it."""
    description: Annotated[str, Field(max_length=10_000)] = ""
    schedule: str | None = None
    """Airflow's: a cron expression or a preset such as @daily; left out, runs are triggered."""
    owner: Annotated[str, Field(min_length=1, max_length=200)] = "airflow"
    tags: tuple[Annotated[str, Field(max_length=100)], ...] = ()
    params: RunTerms = RunTerms()
    """What a run does whose conf doesn't say: the defaults of the trigger form."""
    presets: Annotated[dict[Identifier, Preset], Field(max_length=MAX_PRESETS)] = {}
    """Terms that a run may choose by their name, over `params`; what its conf says itself wins."""
    pool: PoolName | None = None
    """The Airflow pool of all tasks of the pipeline, which must be there; left out, Airflow's default."""
    lanes: dict[Lane, LaneTerms] = {}
    """Name of a lane -> the queue, pool or executor of its branches, where that is another one."""
    roots: dict[Identifier, Annotated[str, AfterValidator(without_login)]] = {}
    """Name -> folder, or an object storage URI as `s3://my_connection@bucket/folder`. Feeds are read below these
    only. Relative to the pipeline file."""
    staging: Annotated[str, Field(min_length=1), AfterValidator(without_login)]
    """Folder for checked rows between tasks, a path or an object storage URI. Relative to the pipeline file."""
    contract: Annotated[str, Field(min_length=1)]
    """The data contract, a file in the Open Data Contract Standard v3. Relative to the pipeline file."""
    store_conn_id: ConnectionId = "orchestration_default"
    """The Airflow connection of the store (PostgreSQL)."""
    feeds: Annotated[tuple[Feed, ...], Field(min_length=1, max_length=MAX_FEEDS)]
    sync: Sync
    quality: Quality = Quality()
    ask_when: tuple[AskWhen, ...] = ()
    """When a person is asked before the run goes on; left out, never."""
    ask_timeout: Seconds = ASK_TIMEOUT
    """Seconds an answer is waited for; then the run goes on as the policy says."""
    merge: Merge = Merge()
    publish: Publish | None = None
    """Where the rows go, when the contract has one schema object. One that has several needs `datasets`."""
    datasets: Annotated[dict[str, DatasetTerms], Field(max_length=MAX_DATASETS)] = {}
    """Name of a schema object of the contract -> how its feeds are merged, and where its rows go."""
    agents: Agents | None = None
    """Left out, batches go through the lanes that the Dag file binds."""
    capacity: Capacity = Capacity()
    conf_bounds: ConfBounds = ConfBounds()
    workflow_mode: ModeChoice = ModeChoice.AUTO
    max_rounds: Annotated[int, Field(ge=1, le=10)] = MAX_ROUNDS
    """Rounds at most (SEED 25, iteration limit)."""
    retries: Annotated[int, Field(ge=0, le=10)] = 4
    """Airflow's retries of a task, for faults that may pass: four span more than a minute."""

    @property
    def targets(self) -> tuple[Publish, ...]:
        """Every table that the pipeline publishes to."""
        return (self.publish,) if self.publish else tuple(terms.publish for terms in self.datasets.values())

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Pipeline:
        if (self.publish is None) == (not self.datasets):
            raise RefusedValueError(
                "needs publish, or datasets with a publish each, and not both", code=ProblemCode.CONFLICT
            )
        if self.datasets and self.merge != Merge():
            raise RefusedValueError(
                "with datasets each has a merge of its own; move merge there", code=ProblemCode.CONFLICT
            )
        return self
