"""All benchmarks: `python -m benchmarks`. One of them: `python -m benchmarks gates-latency [ARGUMENTS]`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import (
    agents_choice,
    agents_parse,
    batches,
    batches_stack,
    fusion,
    gates_immediate,
    gates_latency,
    gates_rounds,
    gates_thousand,
    gates_verdict,
    ingest,
    late,
    overhead,
    page,
    publish,
    trust,
    validation,
)

BENCHMARKS: dict[str, Callable[..., None]] = {
    "overhead": overhead.main,
    "ingest": ingest.main,
    "validation": validation.main,
    "publish": publish.main,
    "fusion": fusion.main,
    "trust": trust.main,
    "late": late.main,
    "gates-verdict": gates_verdict.main,
    "gates-latency": gates_latency.main,
    "gates-immediate": gates_immediate.main,
    "gates-rounds": gates_rounds.main,
    "gates-thousand": gates_thousand.main,
    "agents-parse": agents_parse.main,
    "agents-choice": agents_choice.main,
    "page": page.main,
    "batches": batches.main,
    "batches-stack": batches_stack.main,
}

name, *arguments = sys.argv[1:] or [""]
if not name:
    for benchmark in BENCHMARKS.values():
        benchmark()
elif name in BENCHMARKS:
    BENCHMARKS[name](*map(int, arguments))  # each knows how many it takes
else:
    sys.exit(f"There is no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
