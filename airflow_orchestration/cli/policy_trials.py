"""Tries policies on the past. Exit codes: 0 done, 1 a recorded decision came out different, 2 the input was refused."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random  # noqa: TID251  # the dice that the core has not

from airflow_orchestration.cli.replay_view import trials_view, verification_view
from airflow_orchestration.cli.simulation_view import simulation_view
from airflow_orchestration.cli.terminal import (
    NO,
    at_work,
    looking,
    print_json,
    refused,
    tell,
    tracked,
    writing,
)
from airflow_orchestration.exceptions import ProblemCode
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.arrivals_file import read_arrivals
from airflow_orchestration.insights.recorded_gate import RecordedGate, gates_in, line_of, recorded_gate
from airflow_orchestration.insights.replay import Difference, differences
from airflow_orchestration.insights.simulation import Source, given_source, recorded_source
from airflow_orchestration.insights.simulation import simulate as simulate_runs
from airflow_orchestration.insights.what_if import Terms, summary, trial, trial_as_json

MAX_POLICIES = 50


@looking
def replay(args: Namespace) -> None:
    """Decide recorded gates again; without other terms, on the recorded facts and by the recorded policy."""
    started = time.perf_counter()
    gates = _gates(args)
    if args.export:
        _export(gates, Path(args.export))
    found = list(differences(tracked(gates, "Deciding again", len(gates))))
    terms = Terms(floor=args.floor, deadline=args.deadline, grace_period=args.grace_period)
    if terms == Terms():
        _show_verification(args, gates, found, started)
    else:
        _show_trials(args, gates, found, terms, started)
    if found:
        raise SystemExit(NO)


@looking
def simulate(args: Namespace) -> None:
    """Draw many runs, and print how each policy does on them."""
    started = time.perf_counter()
    policies = [
        Terms(floor=floor, deadline=deadline, grace_period=grace_period)
        for floor, deadline, grace_period in product(
            args.floor or [None], args.deadline or [None], args.grace_period or [None]
        )
    ]
    if len(policies) > MAX_POLICIES:
        raise refused(
            "options",
            f"make {len(policies)} policies; give at most {MAX_POLICIES}",
            code=ProblemCode.TOO_MANY,
        )
    source = _source(args)
    dice = Random(args.seed).random  # noqa: S311  # no secret hangs on it
    runs = tracked(range(args.runs), "Drawing", args.runs)
    try:
        results = simulate_runs(source, policies, dice, runs)
    except ValueError as error:
        raise refused("policy", str(error), code=ProblemCode.OUT_OF_RANGE) from None
    if args.output == "json":
        print_json([result.as_json() for result in results])
        return
    tell(simulation_view(results, source, time.perf_counter() - started))


def _show_verification(
    args: Namespace, gates: Sequence[RecordedGate], found: Sequence[Difference], started: float
) -> None:
    if args.output == "json":
        listed = [{"gate": one.gate.name, "differs": list(one.what)} for one in found]
        print_json({"gates": len(gates), "different": listed})
        return
    tell(verification_view(len(gates), found, time.perf_counter() - started))


def _show_trials(
    args: Namespace,
    gates: Sequence[RecordedGate],
    found: Sequence[Difference],
    terms: Terms,
    started: float,
) -> None:
    different = {id(one.gate) for one in found}
    others = [gate for gate in gates if id(gate) not in different]
    trials = [trial(gate, terms) for gate in tracked(others, "Trying", len(others))]
    if args.output == "json":
        listed = [trial_as_json(one) for one in trials if one.differs]
        told = {"summary": summary(trials), "different": [one.gate.name for one in found], "gates": listed}
        print_json(told)
        return
    if found:
        tell(verification_view(len(gates), found, None))
    tell(trials_view(trials, terms, time.perf_counter() - started))


def _source(args: Namespace) -> Source:
    if not args.arrivals:
        gates = _gates(args)
        different = {id(one.gate) for one in differences(gates)}
        return recorded_source([gate for gate in gates if id(gate) not in different])
    if args.file or args.dag_id or args.since:
        raise refused(
            "--arrivals",
            "goes without --file, --dag-id and --since; leave them out",
            code=ProblemCode.CONFLICT,
        )
    return given_source(read_arrivals(Path(args.arrivals)))


def _gates(args: Namespace) -> list[RecordedGate]:
    """Read the gates that were asked for, from the file or from the store."""
    if not args.file:
        with OrchestrationHook(args.conn_id).store() as store, at_work("Reading gates"):
            return [recorded_gate(gate) for gate in store.decided_gates(dag_id=args.dag_id, since=args.since)]
    if args.since:
        raise refused(
            "--since", "asks the store; a file is taken as it is, leave it out", code=ProblemCode.CONFLICT
        )
    path = Path(args.file)
    try:
        with path.open(encoding="utf-8") as lines:
            gates = gates_in(lines, subject=f"file {path.name}")
    except (OSError, UnicodeDecodeError) as error:
        raise refused("--file", f"{path} can't be read: {error}", code=ProblemCode.UNREADABLE) from None
    return [gate for gate in gates if args.dag_id in {None, gate.dag_id}]


def _export(gates: Sequence[RecordedGate], path: Path) -> None:
    with writing("--export", path):
        path.write_text("".join(f"{line_of(gate)}\n" for gate in gates), encoding="utf-8")
