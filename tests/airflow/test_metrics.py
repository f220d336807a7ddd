"""Metrics of runs reach whatever collects Airflow's own; page, mapping and dashboard know them all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.operators import run_metrics as telling
from airflow_orchestration.storage.store import RunKey, StoredPoint, StoredRound, StoredRun
from airflow_orchestration.workflow import agent_metrics, run_metrics
from airflow_orchestration.workflow.agent_metrics import MetricKind
from airflow_orchestration.workflow.run_metrics import Measurement
from tests.airflow.conftest import REPOSITORY, FinishedRun

METRICS = {metric.name: metric for metric in (*run_metrics.METRICS, *agent_metrics.METRICS)}
PAGE = REPOSITORY / "docs" / "metrics.md"
GRAFANA = REPOSITORY / "docs" / "grafana"
OURS = "airflow."
START = datetime(2026, 11, 22, 5, tzinfo=UTC)
RUN = StoredRun(
    key=RunKey(dag_id="north__nightly", run_id="1"),
    spec={"pipeline": {"id": "north__nightly", "tenant": "north"}},
    mode={},
    started_at=START,
)
FEEDS = ("east", "west", "north", "south")
WHO = {"dag_id": "north__nightly", "tenant": "north"}
SUFFIXES = ("_bucket", "_sum", "_count")
"""What Prometheus puts behind the name of a histogram."""


def decided(after: float, action: str = "conditional_proceed") -> StoredRound:
    """A round with a deadline of 60 s whose gate decided after so many seconds."""
    return StoredRound(
        round=1,
        plan=Plan(round=1, branches=()),
        opened_at=START,
        points={ALL_FEEDS: StoredPoint(deadline_at=START + timedelta(seconds=60))},
        verdict={"action": action, "reason": "deadline_at_floor"},
        decided_at=START + timedelta(seconds=after),
    )


def manifest(**changes: Any) -> dict[str, Any]:
    return {"state": "published", "weight_share": 1.0, "feeds": [], "version": 1, "versions": [], **changes}


def of(metric: str, measured: Sequence[Measurement]) -> list[tuple[Any, Mapping[str, str]]]:
    return [(one.value, one.tags) for one in measured if one.metric.name == f"orchestration.{metric}"]


def test_a_run_tells_its_collector_how_it_ended(finished_run: FinishedRun) -> None:
    """Each number is one datagram with its tags: of a run that did not start, one that ended early, a degraded one."""
    sent = {line.removeprefix(OURS) for line in finished_run.datagrams if ".orchestration." in line}

    assert {
        "orchestration.run.finished,dag_id=told,state=not_started:1|c",
        "orchestration.run.finished,dag_id=told,state=not_published,deadline=missed:1|c",
        "orchestration.run.completeness,dag_id=told:0.0|g",
        *(f"orchestration.feed.missing,dag_id=told,feed={feed},state=late:1|c" for feed in FEEDS),
        "orchestration.run.finished,dag_id=told,state=published_degraded,deadline=met:1|c",
        "orchestration.run.rounds,dag_id=told:1|c",
        "orchestration.run.completeness,dag_id=told:0.8333|g",
        "orchestration.gate.decided,dag_id=told,action=conditional_proceed,reason=only_failed_missing:1|c",
        "orchestration.feed.rows,dag_id=told,feed=east,fate=published:2|c",
        "orchestration.feed.rows,dag_id=told,feed=south,fate=published:1|c",
        "orchestration.feed.rows,dag_id=told,feed=west,fate=superseded:1|c",
        "orchestration.feed.rows,dag_id=told,feed=west,fate=quarantined:1|c",
        "orchestration.feed.missing,dag_id=told,feed=north,state=failed:1|c",
    } == {line for line in sent if not line.startswith(("orchestration.gate.w", "orchestration.run.q"))}


def test_what_is_sent_stands_in_the_table(finished_run: FinishedRun) -> None:
    """A run on time sends every metric of runs but those of late feeds, by name, kind and tags, and no other."""
    kinds = {MetricKind.COUNTER: "c", MetricKind.TIMER: "ms", MetricKind.GAUGE: "g"}
    sent = [line.removeprefix(OURS) for line in finished_run.datagrams if ".orchestration." in line]
    found = [re.fullmatch(r"(?P<name>[^,:]+)(?P<tags>,[^:]+)?:[^|]+\|(?P<kind>\w+)", line) for line in sent]
    for one in filter(None, found):
        metric = METRICS[one["name"]]
        assert kinds[metric.kind] == one["kind"]
        tags = {tag.partition("=")[0] for tag in one["tags"].split(",")[1:]}
        assert tags in ({*metric.tags} - {"tenant"}, {"dag_id", "state"})

    late = {run_metrics.LATE_SECONDS.name, run_metrics.RECONCILED.name}
    assert {one.name for one in run_metrics.METRICS} - late == {one["name"] for one in found if one}


@pytest.mark.parametrize(
    ("rounds", "state", "expected"),
    [
        ([decided(59)], "published", {"deadline": "met"}),
        ([decided(64)], "published", {"deadline": "met"}),
        ([decided(70)], "published", {"deadline": "missed"}),
        ([decided(59)], "not_published", {"deadline": "missed"}),
        ([decided(59, "timeout_recovery")], "published", {"deadline": "missed"}),
        ([decided(70), decided(59)], "published", {"deadline": "met"}),
        ([], "not_published", {}),
    ],
    ids=["in time", "written down later", "too late", "not published", "shut", "second round", "no gate"],
)
def test_whether_the_deadline_was_met(
    rounds: list[StoredRound], state: str, expected: dict[str, str]
) -> None:
    """The last gate must have opened by its deadline, and the run must have published."""
    told = list(run_metrics.of_run(RUN, rounds, [], manifest(state=state)))

    assert [(1, {**WHO, "state": state, **expected})] == of("run.finished", told)


def test_the_last_quality_gate_counts() -> None:
    """A run that went two rounds has the quality of the second."""
    judged = [
        (number, {"policy": "quality_gate", "evidence": {"overall": score}})
        for number, score in ((1, 0.4), (2, 0.9))
    ]

    assert [(0.9, WHO)] == of("run.quality", list(run_metrics.of_run(RUN, [decided(1)], judged, manifest())))


def test_a_gate_tells_how_long_it_waited() -> None:
    """The time runs from the opening of the round to the verdict."""
    told = list(run_metrics.of_run(RUN, [decided(40)], [], manifest()))

    assert [(timedelta(seconds=40), WHO)] == of("gate.waiting_seconds", told)


def test_feeds_beyond_the_first_are_told_together() -> None:
    """A Dag of many feeds makes no more series than a collector can hold, and loses no row."""
    lines = [
        {"feed": f"f{number}", "state": "late", "rows_quarantined": 2}
        for number in range(run_metrics.MOST_FEEDS + 50)
    ]
    told = list(run_metrics.of_run(RUN, [decided(1)], [], manifest(feeds=lines)))
    rows, missing = of("feed.rows", told), of("feed.missing", told)

    assert 2 * run_metrics.MOST_FEEDS + 100 == sum(count for count, _ in rows)
    assert run_metrics.MOST_FEEDS + 1 == len(rows) == len(missing)
    assert (50, {**WHO, "feed": "others", "state": "late"}) == missing[-1]


def test_only_new_versions_are_told() -> None:
    """A run that had version 2 tells of version 3, and how long after the gate its feed was in the table."""
    versions = [
        {"feeds": [feed], "published_at": (START + timedelta(minutes=minutes)).isoformat()}
        for feed, minutes in (("east", 1), ("west", 2), ("south", 11))
    ]
    repaired = manifest(version=3, versions=versions)
    told = list(run_metrics.of_versions(RUN, decided(60), repaired, after=2))

    assert [(1, WHO)] == of("version.reconciled", told)
    assert [(timedelta(minutes=10), {**WHO, "feed": "south"})] == of("feed.late_seconds", told)
    assert [] == list(run_metrics.of_versions(RUN, decided(60), repaired, after=3))


def test_a_refused_run_is_counted() -> None:
    """A run that did not begin has a Dag and a state, and nothing else."""
    assert [(1, {"dag_id": "told", "state": "not_started"})] == of(
        "run.finished", list(run_metrics.of_refused("told"))
    )


def test_a_number_that_cannot_be_told_stops_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """A manifest that lacks what is measured is a warning in the log."""
    telling.tell_versions(RUN, decided(1), {"version": 2}, after=1)

    assert "Metrics of this run were not sent" in caplog.text


def test_the_page_lists_every_metric_and_no_other() -> None:
    """Name, type, unit, tags, meaning and alert are those of the code."""
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| `orchestration\.", line)
    ]

    assert [
        (
            f"`{metric.name}`",
            metric.kind.value,
            metric.unit,
            ", ".join(f"`{tag}`" for tag in metric.tags),
            metric.meaning,
            metric.alert,
        )
        for metric in METRICS.values()
    ] == rows


def test_the_mapping_names_every_metric_for_prometheus() -> None:
    """Dots become underscores, and counters end with `_total`."""
    mapping = yaml.safe_load((GRAFANA / "statsd_mapping.yml").read_text())

    assert {f"{OURS}{name}": in_prometheus(name) for name in METRICS} == {
        one["match"]: one["name"] for one in mapping["mappings"]
    }


def test_the_dashboard_uses_metrics_and_labels_that_there_are() -> None:
    """Every name in a query is a metric of the table, and every label a tag of it."""
    known = {in_prometheus(name): {*metric.tags} for name, metric in METRICS.items()}
    dashboard = json.loads((GRAFANA / "orchestration.json").read_text())
    used = set()
    for query in queries(dashboard):
        for name, labels in re.findall(r"\b(orchestration_\w+)(?:\{([^}]*)\})?", query):
            metric = next((name.removesuffix(s) for s in SUFFIXES if name.removesuffix(s) in known), name)
            used.add(metric)
            assert metric in known
            assert set(re.findall(r"(\w+)=", labels)) <= known[metric]
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")} - {"le"}
        assert grouped <= set().union(*known.values())

    assert {in_prometheus(name) for name in METRICS if ".agent." not in name} <= used


def test_the_dashboard_can_be_imported() -> None:
    """It has what Grafana asks for, panels have ids of their own, and none lies upon another."""
    dashboard = json.loads((GRAFANA / "orchestration.json").read_text())
    panels = dashboard["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= dashboard.keys()
    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(cells) == len(set(cells))
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in panels if "datasource" in panel}


def in_prometheus(name: str) -> str:
    kind = METRICS[name].kind
    return name.replace(".", "_") + ("_total" if kind is MetricKind.COUNTER else "")


def queries(dashboard: Mapping[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]
