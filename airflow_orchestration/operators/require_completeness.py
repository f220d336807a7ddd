"""Takes or refuses what triggered the run, by the completeness manifest in the `extra` of the asset events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.defaults import MAX_FEEDS
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.insights.completeness import DAG_RUN_NOTE, percent
from airflow_orchestration.insights.evidence import quoted
from airflow_orchestration.policies.acceptance import Acceptance, AcceptanceDecision, AcceptanceFacts
from airflow_orchestration.storage.store import RunState

if TYPE_CHECKING:
    from airflow.sdk import Context

Word = Annotated[str, Field(max_length=1000)]
NAMES_IN_A_LINE = 12
LONGEST_TEXT = 120
"""Letters that are shown of each text that whoever created the event chose."""
WHOLE = "in"


class _Feed(BaseModel):
    model_config = ConfigDict(frozen=True)
    feed: Word
    state: Word
    why: str | None = None


class _Manifest(BaseModel):
    """The part of a manifest that is judged; whoever may create asset events could have written it."""

    model_config = ConfigDict(frozen=True)
    state: RunState
    weight_share: Annotated[float, Field(ge=0, le=1)]
    missing: Annotated[tuple[_Feed, ...], Field(max_length=MAX_FEEDS)]
    feeds: Annotated[tuple[_Feed, ...], Field(max_length=MAX_FEEDS)]

    @model_validator(mode="after")
    def _consistent(self) -> _Manifest:
        names = Counter(line.feed for line in self.feeds)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"feeds names {_shown(twice[0])} more than once")
        said, shown = (
            Counter((line.feed, line.state) for line in lines)
            for lines in (self.missing, [line for line in self.feeds if line.state != WHOLE])
        )
        if wrong := [*(said - shown), *(shown - said)]:
            feed, state = map(_shown, wrong[0])
            raise ValueError(f"missing and feeds contradict each other about {feed} ({state})")
        return self


class RequireCompleteness(BaseOperator):
    """Goes on when every asset that triggered the run was published completely enough, and fails otherwise.

    Put it first in a Dag that is scheduled on assets whose events carry a completeness manifest: those
    of a pipeline Dag, or of a task that sent `insights.completeness.completeness(decision)` of a gate.
    Of several events of one asset, or of one partition of it, the latest counts: it describes what is there
    now. Returns the decision for each asset.

    :param min_share: the least share of the weight, 0 to 1; left out, nothing may be missing.
    :param require: feeds that must be in, whatever the share. A short feed is not in.
    :param assets: judge these alone; left out, every asset that triggered the run.
    :param soft_fail: skip what comes after instead of failing.
    """

    template_fields = ()

    def __init__(
        self,
        *,
        min_share: float | None = None,
        require: Sequence[str] = (),
        assets: Sequence[Asset] | None = None,
        soft_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(require, str):
            raise TypeError(f"require is the text {require!r}; write a list: [{require!r}]")
        self.acceptance = Acceptance(min_share=min_share, require=tuple(require))
        self.assets = None if assets is None else [(asset.name, asset.uri) for asset in assets]
        self.soft_fail = soft_fail

    def execute(self, context: Context) -> dict[str, Any]:
        """Return asset -> decision, or fail with everything that is wrong."""
        latest = dict(self._events(context))
        if not latest:
            self._refuse(["no asset that is judged here triggered this run; let its event trigger a run"])
        judged = {name: self._judge(event) for name, event in latest.items()}
        refused = [line for decision, line in judged.values() if decision is None or not decision.is_accepted]
        if refused:
            self._refuse(refused)
        degraded = [line for decision, line in judged.values() if decision and decision.evidence["missing"]]
        if degraded:
            context["ti"].xcom_push(key=DAG_RUN_NOTE, value=f"Made from degraded data: {' '.join(degraded)}")
        return {name: decision.as_json() for name, (decision, _) in judged.items() if decision}

    def _judge(self, event: Any) -> tuple[AcceptanceDecision | None, str]:
        """Return the decision over one event and a line about it; no decision over what is no manifest."""
        described = _described(event)
        try:
            manifest = validated(_Manifest, event.extra, subject=f"the extra of {described}")
        except InputRefusedError as error:
            hint = "It must be a completeness manifest: let the pipeline publish the asset, not a person."
            return None, f"{error}\n  {hint}"
        decision = self.acceptance.evaluate(_facts(manifest))
        self.log.info("%s: %s", described, decision)
        return decision, f"{described} {_told(decision, manifest)}"

    def _events(self, context: Context) -> Iterator[tuple[str, Any]]:
        """Give the events from the first to the last, each with the name of what it updated."""
        of_assets = context["triggering_asset_events"]
        events = [event for key in of_assets if isinstance(key, Asset) for event in of_assets[key]]
        for event in sorted(events, key=lambda event: event.timestamp):
            if self.assets is None or (event.asset.name, event.asset.uri) in self.assets:
                partition = f"[{event.partition_key}]" if event.partition_key else ""
                yield f"{event.asset.name}{partition}", event

    def _refuse(self, refusals: Sequence[str]) -> None:
        message = "Not complete enough:\n" + "\n".join(f"- {refusal}" for refusal in refusals)
        raise (AirflowSkipException if self.soft_fail else AirflowFailException)(message)


def _facts(manifest: _Manifest) -> AcceptanceFacts:
    return AcceptanceFacts(
        published=manifest.state is not RunState.NOT_PUBLISHED,
        weight_share=manifest.weight_share,
        present=frozenset(line.feed for line in manifest.feeds if line.state == WHOLE),
        missing=tuple(line.feed for line in manifest.missing),
    )


def _described(event: Any) -> str:
    partition = f"[{_shown(event.partition_key)}]" if event.partition_key else ""
    source = f"{event.source_dag_id}, run {event.source_run_id}" if event.source_dag_id else "no task"
    return f"asset {event.asset.name}{partition} from {source}"


def _told(decision: AcceptanceDecision, manifest: _Manifest) -> str:
    """Say what the decision is about, with what is missing and why."""
    least = decision.evidence["min_share"]
    asked = (
        "nothing may be missing" if least is None else f"at least {percent(float(str(least)))} is asked for"
    )
    missing = [
        f"{_shown(line.feed)} ({_shown(line.state)}: {_shown(line.why or 'no reason given')})"
        for line in manifest.missing
    ]
    more = f" and {len(missing) - NAMES_IN_A_LINE} more" if len(missing) > NAMES_IN_A_LINE else ""
    required = decision.evidence["required_missing"]
    return (
        f"has {percent(manifest.weight_share)} of the weight; {asked}. "
        f"Missing: {', '.join(missing[:NAMES_IN_A_LINE]) or 'nothing'}{more}."
        + (f" Required: {', '.join(map(str, required))}." if isinstance(required, list) and required else "")
    )


def _shown(text: str) -> str:
    """Quote a stranger's text, in one line: it goes into a Markdown note and into the log."""
    return quoted(text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…")
