"""What does an Airflow that is too old get to read? `python -m tests.airflow.too_old`, in an environment with one.

It imports what that Airflow would import: the plugin, what Dag files import, and the commands. Exits with 1 unless each
says by name that it needs a newer one.
"""

from __future__ import annotations

import importlib
import sys
import traceback

ENTRIES = (
    "bundles.agent_registry",
    "cli.commands",
    "dags.pipeline_dag",
    "hooks.orchestration",
    "operators.fork",
    "plugins.orchestration",
    "sensors.quorum_gate",
    "triggers.quorum_gate",
)


def told(module: str) -> str:
    """Return the last line of what the import of a module says."""
    try:
        importlib.import_module(f"airflow_orchestration.{module}")
    except Exception:  # noqa: BLE001  # what comes is what a person reads
        return traceback.format_exc().strip().splitlines()[-1]
    return "nothing"


def main() -> int:
    """Ask every entry."""
    said = {module: told(module) for module in ENTRIES}
    for module, line in said.items():
        print(f"{module}: {line}")
    return int(any("AirflowTooOldError" not in line for line in said.values()))


if __name__ == "__main__":
    sys.exit(main())
