"""All benchmarks: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import ingest, overhead, publish

for benchmark in (overhead, ingest, publish):
    benchmark.main()
