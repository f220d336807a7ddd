"""Plays a scenario: triggers the demo's Dag, shows live what happens, and ends with what was published."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import psycopg
from rich.console import Console

from airflow_orchestration.cli.manifest_view import manifest_view
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.storage.gate_facts import evaluate_sync_points
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey, RunState
from airflow_orchestration.workflow.reconcile import POLICY as RECONCILING
from airflow_orchestration.workflow.step import read_spec
from demo import agents, airports, flights
from demo.api import FINAL_STATES
from demo.scenarios import FEED_FILES, FLIGHT_FILES, PIPELINES, Landing, Scenario
from demo.stack import Stack

DAG_ID = "airport_reference"
POLL_SECONDS = 0.3
RUN_SECONDS = 600.0
BAR = 24
EXIT_NOT_PUBLISHED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One pipeline to play: what has to be there before its run, and what is worth looking at afterwards."""

    dag_id: str
    files: Mapping[str, str]
    prepare: Callable[[Stack], None]
    show: Callable[[str, Console], None]


DEMOS: Mapping[str, Demo] = MappingProxyType(
    {
        "airports": Demo(dag_id=DAG_ID, files=FEED_FILES, prepare=airports.prepare, show=airports.show),
        "flights": Demo(dag_id="flights", files=FLIGHT_FILES, prepare=flights.prepare, show=flights.show),
    }
)


def play(stack: Stack, scenario_name: str, out: Console, pipeline: str = "airports") -> int:
    """Play a demo in a scenario; return the exit code."""
    if pipeline == "agents":
        return agents.play(stack, scenario_name, out)
    return _play_once(stack, scenario_name, out, pipeline)


def _play_once(stack: Stack, scenario_name: str, out: Console, pipeline: str) -> int:
    """Run a pipeline's Dag once, and once more to repair it where the scenario says so."""
    demo = DEMOS[pipeline]
    scenario = PIPELINES[pipeline][scenario_name](Landing(stack.home / "landing", demo.files))
    out.print(f"\n[bold]Scenario {scenario_name}[/]: {scenario.about}")
    scenario.before()
    demo.prepare(stack)
    stack.api.wait_for_dag(demo.dag_id)
    key = RunKey(dag_id=demo.dag_id, run_id=stack.api.trigger(demo.dag_id))
    with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
        watcher = Watcher(stack, store, key, scenario, out)
        run_state = watcher.watch()
        manifest = store.manifest(key)
        _show_weights(store, key, out)
        if manifest is None:
            out.print(f"[bold red]The run ended {run_state} before it was closed: see {stack.url}[/]")
            return EXIT_NOT_PUBLISHED
        out.print()
        out.print(manifest_view(manifest))
        if delivered := scenario.afterwards():
            out.print(f"\n[bold]{delivered}[/]")
            manifest = _repaired(stack, watcher) or manifest
            out.print(manifest_view(manifest))
    published = manifest["state"] != RunState.NOT_PUBLISHED
    if published:
        demo.show(stack.warehouse_dsn, out)
    out.print(f"\nWhy it ended so, on the run's page: {_page(stack, key)}", soft_wrap=True)
    return 0 if published else EXIT_NOT_PUBLISHED


def _page(stack: Stack, key: RunKey) -> str:
    return f"{stack.url}/dags/{key.dag_id}/runs/{quote(key.run_id, safe='')}/plugin/orchestration"


def _repaired(stack: Stack, watcher: Watcher) -> Mapping[str, Any] | None:
    """Press the button that brings in what came late, and return the run's new manifest."""
    reconcile_dag_id = f"{watcher.key.dag_id}__reconcile"
    stack.api.wait_for_dag(reconcile_dag_id)
    repair = stack.api.trigger(reconcile_dag_id, {"run_id": watcher.key.run_id})
    stack.api.wait_for_run(reconcile_dag_id, repair)
    watcher.show_new_events()
    return watcher.store.manifest(watcher.key)


class Watcher:
    """Prints the timeline as it grows, lets the scenario react, and stops when the run does."""

    def __init__(
        self, stack: Stack, store: PostgresStore, key: RunKey, scenario: Scenario, out: Console
    ) -> None:
        self.stack, self.store, self.key = stack, store, key
        self.scenario, self.out = scenario, out
        self.begun = time.monotonic()
        self.shown = 0

    def watch(self) -> str:
        """Return Airflow's final state of the run."""
        while time.monotonic() - self.begun < RUN_SECONDS:
            self.show_new_events()
            state = self.stack.api.run_state(self.key.dag_id, self.key.run_id)
            if state in FINAL_STATES:
                self.show_new_events()
                return state
            time.sleep(POLL_SECONDS)
        return f"nowhere within {RUN_SECONDS:g} s"

    def show_new_events(self) -> None:
        """Print what was added to the timeline since the last look."""
        timeline = self.store.timeline(self.key)
        for event in timeline[self.shown :]:
            word, story = sentence(event)
            gate = self._gate(event.round) if word in {"arrived", "failed"} else ""
            self._line(event.round, word, story, gate)
            reaction = self.scenario.on_event(event.event, event.detail)
            if reaction:
                self._line(event.round, "meanwhile", reaction)
        self.shown = len(timeline)

    def _line(self, number: int, word: str, story: str, more: str = "") -> None:
        shown_round = f"round {number}" if number else ""
        self.out.print(
            f"{time.monotonic() - self.begun:5.1f} s  {shown_round:8} {word:10} {story}{more}",
            soft_wrap=True,
            markup=False,
        )

    def _gate(self, number: int) -> str:
        """Draw how far the gate is: arrived weight, and the mark of the floor."""
        snapshot = self.store.gate_snapshot(self.key, number)
        decisions = evaluate_sync_points(read_spec(self.store.run(self.key)), snapshot)
        evidence: Mapping[str, Any] = decisions[ALL_FEEDS].evidence
        filled, floor = round(evidence["progress"] * BAR), round(evidence["floor"] * BAR)
        bar = "".join("█" if i < filled else "│" if i == floor else "░" for i in range(BAR))
        return f"\n{'':28}gate {bar} {evidence['progress'] * 100:.0f} %"


def _show_weights(store: PostgresStore, key: RunKey, out: Console) -> None:
    """Print what each source counted in the merge (SEED 16, scaled by the author's weight)."""
    for _, decision in reversed(store.decisions(key)):
        if decision["policy"] in {"merging", RECONCILING}:
            shares = sorted(decision["evidence"]["source_attribution"].items(), key=lambda pair: -pair[1])
            if len(shares) > 1:
                out.print("Weights: " + ", ".join(f"{feed} {share * 100:.0f} %" for feed, share in shares))
            return
