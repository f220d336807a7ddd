"""The tasks of a job's Dag made by others: by dag-factory, and by a plain loop. Runs in dag-factory's environment.

`python agents_graph.py LIBRARY FOLDER`: the folder has `graph.json`, task -> what comes before it, and for dag-factory
a YAML file for each Dag. Prints CPU seconds of the second building; the first one warms up.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EMPTY = "airflow.providers.standard.operators.empty.EmptyOperator"
PLAIN, FACTORY = "a plain Python loop", "dag-factory"


def plain(folder: Path, dag_ids: list[str]) -> int:
    """Make the Dags in a loop."""
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    graph: dict[str, list[str]] = json.loads((folder / "graph.json").read_text())
    dags = {}
    for dag_id in dag_ids:
        with DAG(
            dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args={"retries": 2}
        ) as dag:
            tasks = {task_id: EmptyOperator(task_id=task_id) for task_id in graph}
            for task_id, before in graph.items():
                for other in before:
                    tasks[other] >> tasks[task_id]
        dags[dag_id] = dag
    return len(dags)


def dag_factory(folder: Path, dag_ids: list[str]) -> int:
    """Let dag-factory read a folder of YAML files."""
    from dagfactory import load_yaml_dags

    found: dict[str, Any] = {}
    load_yaml_dags(globals_dict=found, dags_folder=str(folder / "dag_factory"))
    return len(set(dag_ids) & set(found))


MAKERS: dict[str, Callable[[Path, list[str]], int]] = {PLAIN: plain, FACTORY: dag_factory}


def main(library: str, folder: Path) -> None:
    """Print the seconds; every Dag must be there."""
    logging.disable(logging.CRITICAL)
    dag_ids: list[str] = json.loads((folder / "dag_ids.json").read_text())
    MAKERS[library](folder, dag_ids)
    began = time.process_time()
    made = MAKERS[library](folder, dag_ids)
    print(json.dumps({"seconds": time.process_time() - began, "dags": made}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
