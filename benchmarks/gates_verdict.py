"""How long does a verdict take? (targets: 50 us with 100 members, 1 ms with 10,000)

`python -m benchmarks gates-verdict`: the pure decision over facts that are there, two thirds of them arrived.
"""

from __future__ import annotations

import time
from datetime import timedelta

from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate
from benchmarks.gates_stack import p95
from benchmarks.table import show

TARGETS = {100: 50e-6, 10_000: 1e-3}
ROUNDS = 200
STATES = (MemberState.ARRIVED, MemberState.ARRIVED, MemberState.PENDING)


def main() -> None:
    """Print the median and the 95th percentile for each number of members."""
    rows = []
    for members, target in TARGETS.items():
        seconds = sorted(verdicts(members))
        shown = f"{seconds[len(seconds) // 2] * 1e6:,.0f} / {p95(seconds) * 1e6:,.0f}"
        rows.append((f"{members:,} members, median / p95 us", shown, f"<= {target * 1e6:,.0f}"))
    show("One verdict of the quorum gate", rows)


def verdicts(members: int, rounds: int = ROUNDS) -> list[float]:
    """Seconds of each of some verdicts over the same facts."""
    gate = QuorumGate(deadline=timedelta(hours=1))
    facts = GateFacts(
        members=tuple(
            Member(id=f"load[{number}]", weight=1.0 + number % 5, state=STATES[number % 3])
            for number in range(members)
        ),
        elapsed=timedelta(minutes=1),
    )
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        gate.evaluate(facts)
        found.append(time.perf_counter() - began)
    return found
