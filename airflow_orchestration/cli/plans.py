"""`plan`: what would a run do now? Nothing is executed, and nothing is written."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.sdk import timezone
from rich.console import Group
from rich.text import Text

from airflow_orchestration.cli.terminal import looking, plain_table, print_json, refused, tell
from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.run_spec import RunSpec, resolve
from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.exceptions import InputRefusedError, ProblemCode
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.outside import AirflowOutside, staging_area
from airflow_orchestration.hooks.pipeline_files import deployed_pipeline_file
from airflow_orchestration.storage.faults import MENDABLE
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, RunKey, Store, StoredRound, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.fetching import is_there
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step

NOBODY = Attempt(try_number=1, ti_id="plan", process="plan")


class Rehearsal(MemoryStore):
    """Keeps a run in memory that is not going to happen; what earlier runs have shown is read from the real store."""

    def __init__(self, past: Store | None) -> None:
        super().__init__(timezone.utcnow)
        self._past = past
        if past is not None:
            self.agents = past.agents  # type: ignore[assignment]  # read alone

    def observed_seconds(self, dag_id: str, feeds: Sequence[str]) -> Mapping[str, float]:
        """See `Store`."""
        return {} if self._past is None else self._past.observed_seconds(dag_id, feeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The first round of a run that would begin now."""

    spec: RunSpec
    mode: Mapping[str, Any]
    allocation: Mapping[str, Any]
    opened: StoredRound
    absent: Sequence[str]
    """Feeds of which nothing is there yet."""
    no_history: str | None
    """Why costs are guessed alone."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "pipeline_id": self.spec.pipeline.id,
            "mode": self.mode,
            "branches": [
                {
                    "branch_id": branch.branch_id,
                    "cost_seconds": branch.cost,
                    "feeds": [
                        {
                            "feed": batch.feed_id,
                            "lane": batch.lane.value,
                            "route": _route(self.spec.feeds[batch.feed_id]),
                            "cost_seconds": batch.cost,
                            "weight": self.spec.feeds[batch.feed_id].weight,
                            "waits": batch.feed_id in self.absent,
                            "location": _place(self.spec, batch.feed_id),
                            "depends_on": list(self.spec.feeds[batch.feed_id].depends_on),
                        }
                        for batch in branch.batches
                    ],
                }
                for branch in self.opened.plan.branches
            ],
            "allocation": self.allocation,
            "gate": self._gate(),
            "waiting_for": list(self.absent),
            "left_out": [feed.id for feed in self.spec.left_out],
            "no_history": self.no_history,
        }

    def _gate(self) -> dict[str, Any]:
        sync = self.spec.pipeline.sync
        return {
            "deadline_seconds": (self.opened.deadline_at - self.opened.opened_at).total_seconds(),
            "deadline_at": self.opened.deadline_at.isoformat(),
            "floor": sync.floor,
            "grace_period_seconds": sync.grace_period,
            "required": [feed.id for feed in self.spec.feeds.values() if feed.required],
            "expected_weight": sum(feed.weight for feed in self.spec.feeds.values()),
            "points": [
                {
                    "name": name,
                    "feeds": list(point.feeds),
                    "floor": point.floor,
                    "deadline_at": self.opened.points[name].deadline_at.isoformat(),
                }
                for name, point in sync.points.items()
            ],
        }


@looking
def plan(args: Namespace) -> None:
    """Say how a run with this conf would be done if it began now."""
    spec = spec_of(args.pipeline, args.conf, timezone.utcnow().date())
    with _past_of(spec) as (past, no_history):
        planned = rehearse(spec, past, no_history)
    if args.output == "json":
        print_json(planned.as_json())
    else:
        tell(plan_view(planned.as_json()))


def spec_of(pipeline: str, conf: str, run_date: date) -> RunSpec:
    """Read a pipeline file with its contract and a run's conf; raises `InputRefusedError`."""
    found = deployed_pipeline_file(pipeline)
    try:
        said = json.loads(conf, object_pairs_hook=_without_doubles)
    except ValueError as error:
        raise refused("--conf", f"is not JSON: {error}", code=ProblemCode.BAD_SYNTAX) from None
    return resolve(found.pipeline, found.read_contracts(), read_conf(said), run_date)


def _without_doubles(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON, unless a name stands in it twice: readers of JSON take the last one without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise refused("--conf", f"names {some_of(twice)} more than once", code=ProblemCode.DUPLICATE)
    return found


def rehearse(spec: RunSpec, past: Store | None, no_history: str | None = None) -> Planned:
    """Analyze and plan as a run does, and forget it; raises `InputRefusedError`."""
    store, outside = Rehearsal(past), AirflowOutside()
    key = RunKey(dag_id=spec.pipeline.id, run_id="plan")
    fence = store.claim(WorkUnit(run=key, round=1, unit="plan"), NOBODY)
    analyze_batches(store, fence, spec, outside)
    with TemporaryDirectory(prefix="plan-") as scratch:
        step = Step(
            store=store, fence=fence, scratch=Path(scratch), open_staging=staging_area, outside=outside
        )
        opened = plan_round(step)
        absent = [feed_id for feed_id in spec.feeds if not is_there(step, feed_id)]
    [allocation] = [told for _, told in store.decisions(key) if told["policy"] == "allocation"]
    return Planned(
        spec=spec,
        mode=store.run(key).mode,
        allocation=allocation,
        opened=opened,
        absent=absent,
        no_history=no_history,
    )


@contextmanager
def _past_of(spec: RunSpec) -> Iterator[tuple[Store | None, str | None]]:
    """The store with what earlier runs took; a plan is possible without."""
    with OrchestrationHook(spec.pipeline.store_conn_id).store() as store:
        try:
            store.observed_seconds(spec.pipeline.id, [])
        except MENDABLE as error:
            yield None, _in_a_line(error)
        else:
            yield store, None


def _in_a_line(error: Exception) -> str:
    if isinstance(error, InputRefusedError):
        return f"{error.subject}: {'; '.join(map(str, error.problems))}"
    return str(error).splitlines()[0]


def plan_view(told: Mapping[str, Any]) -> Group:
    """Return a plan as a person reads it in a terminal."""
    mode, allocation, evidence = told["mode"], told["allocation"], told["mode"]["evidence"]
    title = (
        f"{told['pipeline_id']}: mode {mode['action']} because {mode['reason']}: "
        f"complexity {evidence['complexity_score']:.2f}, dependency {evidence['data_dependency_score']:.2f}, "
        f"{evidence['cpu_available']:.0%} of the CPUs free, at most {evidence['max_branches']} branches"
    )
    made = allocation["evidence"]
    work = (
        f"{allocation['action']} because {allocation['reason']}: {made['total_cost']:.1f} s of work, "
        f"done in {made['estimated_makespan']:.1f} s on {made['allocated_branches']} branches (estimated)"
    )
    notes = [*_gate_lines(told["gate"])]
    if told["waiting_for"]:
        notes.append(f"Not there yet, would be waited for: {', '.join(told['waiting_for'])}")
    if told["left_out"]:
        notes.append(f"Left out by conf: {', '.join(told['left_out'])}")
    if told["no_history"]:
        notes.append(f"Costs are guessed, earlier runs can't be read: {told['no_history']}")
    notes.append("A plan: nothing was executed, and nothing was written.")
    return Group(Text(title, style="bold"), Text(work), _branches(told), *map(Text, notes))


def _branches(told: Mapping[str, Any]) -> Any:
    table = plain_table("branch", "lane", "by", "feed", " weight", " seconds", "is read from", "after", "")
    for branch in told["branches"]:
        for batch in branch["feeds"]:
            table.add_row(
                branch["branch_id"],
                batch["lane"],
                ", ".join(batch["route"].values()),
                batch["feed"],
                f"{batch['weight']:g}",
                f"{batch['cost_seconds']:.2f}",
                batch["location"],
                ", ".join(batch["depends_on"]),
                "waits" if batch["waits"] else "",
                style="yellow" if batch["waits"] else None,
            )
    return table


def _gate_lines(gate: Mapping[str, Any]) -> Iterator[str]:
    grace = gate["grace_period_seconds"]
    seconds = timedelta(seconds=gate["deadline_seconds"]).total_seconds()
    terms = [
        f"decides within {seconds:g} s",
        f"needs {gate['floor']:.0%} of weight {gate['expected_weight']:g}",
        "holds to its deadline" if grace is None else f"opens {grace:g} s after its floor",
        f"never without {', '.join(gate['required'])}" if gate["required"] else "requires no feed",
    ]
    yield f"The gate {', '.join(terms)}"
    for point in gate["points"]:
        yield (
            f"Sync point {point['name']}: {point['floor']:.0%} of {', '.join(point['feeds'])} "
            f"by {point['deadline_at']}"
        )


def _route(feed: Feed) -> dict[str, str]:
    """What a batch is put into its lane by."""
    return {
        "type": feed.type.value,
        "source_type": feed.source_type.value,
        "priority": feed.priority.value,
    }


def _place(spec: RunSpec, feed_id: str) -> str:
    location, feed = spec.location(feed_id), spec.feeds[feed_id]
    if location is not None:
        return str(location)
    if feed.aggregate is not None:
        return f"rows of {', '.join(feed.aggregate.feeds)}"
    named = {"database": feed.database, "outbox": feed.outbox, "Kafka": feed.kafka}
    return ", ".join(f"{what} {source.conn_id}" for what, source in named.items() if source is not None)
