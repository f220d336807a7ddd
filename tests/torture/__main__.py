"""`python -m tests.torture path|stack|load|mutants ...`: are the promises kept whatever fails?

Each part has a `main(arguments)` that tells its progress on stderr, closes with one JSON line for each figure, and
returns 0 when nothing was violated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

PARTS = {
    "path": "the publish path alone: tasks, store and target on a PostgreSQL of its own",
    "stack": "the real scheduler, triggerer, workers and PostgreSQL",
    "load": "many runs at a time for long, with faults",
    "mutants": "mistakes made on purpose in the publish path: the harness must notice each",
}


def main(arguments: Sequence[str]) -> int:
    """Play one part."""
    if not arguments or arguments[0] not in PARTS:
        told = "\n".join(f"  {name:8} {what}" for name, what in PARTS.items())
        print(f"usage: python -m tests.torture PART [--help]\n{told}", file=sys.stderr)
        return 2
    part = import_module(f"tests.torture.{arguments[0]}")
    code: int = part.main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
