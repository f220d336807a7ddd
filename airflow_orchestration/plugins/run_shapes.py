"""What a run looks like as data, for its description in OpenAPI; the data itself comes from `insights` as it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Evidence: TypeAlias = dict[str, Any]
RunStateShown: TypeAlias = Literal["running", "published", "published_degraded", "not_published"]


class Shape(BaseModel):
    """Plain data, nothing left out and nothing besides."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class DecisionShown(Shape):
    """A decision as it was recorded."""

    id: int | None
    """Its number in the audit table; null for the mode, and for one that is not among the newest."""
    round: int
    """0 outside the rounds."""
    at: datetime | None
    """When it was decided."""
    policy: str
    """The policy that decided."""
    action: str
    """What it chose."""
    reason: str
    """Why, in a word."""
    meaning: str | None
    """The same in a sentence; null for a reason of another version."""
    evidence: Evidence
    """The facts that it rests on: counts, shares and names."""


class FeedShown(Shape):
    """A feed in a round. Figures are null before it was processed, measures also where it failed."""

    feed: str
    """Its id."""
    state: Literal["pending", "waiting", "in", "below_standard", "failed", "late"]
    """How far it is."""
    in_since_version: int | None
    """The repair that brought it in after the round; null for one that was in, or that no repair brought."""
    weight: float
    """What it counts at the gate."""
    required: bool
    """Whether nothing is published without it."""
    usual_rows: int | None
    """What it brings usually: learned, or else declared."""
    rows_in: int | None
    """Rows that were read."""
    rows_staged: int | None
    """Rows that may be published."""
    rows_quarantined: int | None
    """Rows that were put aside."""
    seconds: float | None
    """How long its processing took."""
    quality_score: float | None
    """0..1, what the quality gate goes by."""
    completeness: float | None
    """0..1."""
    validity: float | None
    """0..1."""
    uniqueness: float | None
    """0..1."""
    error: str | None
    """Why it failed."""
    registered_at: datetime | None
    """When its outcome was registered."""


class BranchShown(Shape):
    """The batches of a branch in one lane."""

    branch_id: str
    """Its name in the plan."""
    lane: str
    """Ingestion, validation, transformation, aggregation or quality."""
    agent: str | None
    """The agent that has these batches; null where the lane has them."""
    state: Literal["pending", "running", "waiting", "done", "failed", "late"]
    """How far it is."""
    rows: int
    """Rows staged so far."""
    seconds: float | None
    """The sum of its feeds' seconds."""
    weight: float
    """The sum of its feeds' weights."""
    started_at: datetime | None
    """When its work began."""
    waiting_for: list[str]
    """Feeds that are not there yet."""
    feeds: list[FeedShown]
    """Its feeds."""


class RequiredShown(Shape):
    """A feed that nothing is published without."""

    feed: str
    """Its id."""
    arrived: bool
    """Whether it is in."""


class PointShown(Shape):
    """A quorum over some of the feeds."""

    name: str
    """As the pipeline file names it."""
    floor: float | None
    """The share of its weight that is enough; null where an older verdict does not say."""
    progress: float | None
    """The share that has arrived; null where an older verdict does not say."""
    deadline_at: datetime
    """When it decides at the latest."""
    floor_reached_at: datetime | None
    """When the floor was first reached."""
    members: list[str]
    """Its feeds."""


class GateShown(Shape):
    """The gate of a round: as it decided, or as it is now. Figures are null where an older verdict lacks them.

    A feed whose task Airflow gave up on is pending here until the gate looks next, and then counts as failed.
    """

    state: Literal["waiting", "decided", "abandoned"]
    """How far it is; `abandoned` when the run ended before it decided."""
    deadline_at: datetime
    """When it decides at the latest."""
    floor: float | None
    """The share of the weight that is enough."""
    progress: float | None
    """The share that has arrived."""
    arrived_weight: float | None
    """The weight that has arrived."""
    expected_weight: float | None
    """The weight of all feeds."""
    grace_period_seconds: float | None
    """How long it waits for the others at the floor; null: until the deadline."""
    floor_reached_at: datetime | None
    """When the floor was first reached."""
    required: list[RequiredShown]
    """Feeds that it does not open without."""
    arrived: int | None
    """Feeds that are in."""
    failed: int | None
    """Feeds that can't come any more."""
    pending: int | None
    """Feeds that may still come."""
    expected: int | None
    """All of them."""
    points: list[PointShown]
    """Further quorums."""
    verdict: DecisionShown | None
    """What it decided; null before."""


class SourceShown(Shape):
    """What one feed gave to a merge."""

    feed: str
    """Its id."""
    share: float
    """The share of the merged values that come from it."""
    published: int
    """Rows whose primary source it is."""
    superseded: int
    """Its rows that another feed's took the place of."""


class Example(Shape):
    """One key about which sources differ."""

    key: Evidence
    """The columns of the key with their values."""
    values: dict[str, str | None]
    """What sources with an opinion say, as text, cut after 200 characters: the chosen one and the heaviest others, at most 10."""
    more: int
    """How many others have an opinion."""
    value: str | None
    """What came of it, as text."""
    chosen: str | None
    """The source whose value was chosen; null where none is it."""


class DisagreementShown(Shape):
    """How far sources differ in one attribute."""

    attribute: str
    """The column."""
    compared: int
    """Keys that several sources have a value for."""
    differ: int
    """Those of them where values differ by more than the tolerance."""
    examples: list[Example]
    """The first of them by key. Rows of data: empty without the right to read task logs."""


class MergeShown(Shape):
    """The merge of a dataset."""

    dataset: str
    """Its name."""
    table: str
    """The table that it is published to."""
    version: int | None
    """The version that this merge was published as; null where it was not, or another round's was."""
    versions: int
    """How many versions of the dataset there are: repairs bring further ones, and 0 is none yet."""
    rows: int
    """Merged rows."""
    sources: list[SourceShown]
    """Its feeds, the largest share first."""
    disagreements: list[DisagreementShown]
    """By attribute."""
    decision: DecisionShown
    """How the sources were weighted."""


class ScoreShown(Shape):
    """A feed before the quality gate."""

    feed: str
    """Its id."""
    score: float | None
    """0..1."""
    below: bool
    """Whether it is below standard."""


class QualityShown(Shape):
    """What the quality gate found in a round."""

    overall: float | None
    """0..1, of the whole merge."""
    approve_at: float | None
    """From here on a score is approved."""
    fail_below: float | None
    """Below this there is no other round."""
    feeds: list[ScoreShown]
    """The feeds of the merge."""
    decision: DecisionShown
    """What it decided."""


class QuestionShown(Shape):
    """What a person was asked. Before the answer `answered_at`, `by`, `chosen` and `default` are null."""

    question: str
    """What it is about: the gate, or quality."""
    task_id: str
    """The task that waits for the answer."""
    asked_at: datetime
    """When it was asked."""
    answer_by: datetime | None
    """Until when it can be answered."""
    answered_at: datetime | None
    """When it was answered."""
    by: str | None
    """Who did; null for the default."""
    chosen: str | None
    """What was chosen."""
    default: bool | None
    """Whether nobody answered in time."""
    labels: dict[str, str]
    """Each choice as the question offers it."""


class RoundShown(Shape):
    """One round of a run."""

    round: int
    """Its number, from 1."""
    opened_at: datetime
    """When it was planned."""
    decided_at: datetime | None
    """When its gate decided."""
    branches: list[BranchShown]
    """In the order of the plan."""
    gate: GateShown
    """Its gate."""
    merges: list[MergeShown]
    """By dataset; none before it merged."""
    quality: QualityShown | None
    """Null before it was judged."""
    questions: list[QuestionShown]
    """Oldest first."""


class CountShown(Shape):
    """How many rows of a feed broke a rule."""

    feed: str
    """Its id."""
    rule: str
    """The rule."""
    rows: int
    """Rows that were put aside for it."""


class Bar(Shape):
    """A bar of the chart."""

    round: int
    """0 outside the rounds."""
    label: str
    """What is drawn beside it."""
    kind: Literal["plan", "feed", "gate", "merge", "quality", "publish", "question", "version"]
    """What it stands for."""
    began: datetime = Field(alias="from")
    """When it began."""
    ended: datetime | None = Field(alias="to")
    """When it ended; null while it goes on."""
    state: str
    """How it ended, or how far it is."""


class EventCount(Shape):
    """How long the timeline is."""

    count: int
    """Its events; counting stops at 10,000."""
    more: bool
    """Whether there are more than that."""


class RunView(Shape):
    """Everything that is shown of a run at once."""

    dag_id: str
    """The Dag."""
    run_id: str
    """The Dag run."""
    pipeline_id: str
    """The pipeline's own name."""
    tenant: str | None
    """The tenant that it belongs to."""
    late: str | None
    """What becomes of feeds that come later: `reconcile`, `next_run` or `discard`; null for a refused run."""
    state: RunStateShown
    """How it ended, or `running`."""
    now: datetime
    """The store's clock, which all times here are of."""
    started_at: datetime | None
    """When it was analyzed; null for one that was refused."""
    finished_at: datetime | None
    """When it ended."""
    deadline_met: bool | None
    """Whether its last gate let it go on by the deadline, and it published; null while that is open."""
    conf: Evidence
    """The preset that it chose, and what its conf asked for besides."""
    mode: DecisionShown | None
    """How its mode was chosen."""
    left_out: list[str]
    """The feeds that its conf left out: no gate of it counts them."""
    because: DecisionShown | None
    """Of a run that was published degraded, the decision that left something out; null where rows only are short."""
    rounds: list[RoundShown]
    """In order; none for a run that was refused."""
    agents: bool
    """Whether any worked in it."""
    quarantine: list[CountShown]
    """What was put aside."""
    manifest: Evidence | None
    """As it was recorded at the end."""
    decisions: list[DecisionShown]
    """The newest 200 about rounds and 50 about single feeds, newest first, without those about single agents."""
    chart: list[Bar]
    """At most 2,000 bars, earliest first."""
    events: EventCount
    """The length of the timeline."""
    rows_shown: bool
    """Whether you may see rows of data: for that the right to read the run's task logs is needed."""
