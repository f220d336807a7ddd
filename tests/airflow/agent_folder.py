"""Writes a folder of jobs with the Dag file that loads them, and reads it as Airflow's dag-processor does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.dag_processing.processor import _serialize_dags

DEMO = Path(__file__).parents[2] / "dags"
DAG_FILE = """
from pathlib import Path
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
AgentFactoryHook(Path(__file__).parent / "agents", data="/data").generate_dags()
"""


def write_job(folder: Path, tenant: str, job: str, /, **changes: Any) -> Path:
    """Write the demo's pipeline as a job below `folder/agents`, changed; a change to None leaves a field out."""
    document = yaml.safe_load((DEMO / "airport_reference.yaml").read_text())
    own = {
        "id": None,
        "roots": {"landing": "landing"},
        "staging": "staging",
        "contract": "airports.odcs.yaml",
        "publish": {"table": f"{tenant}.airport", "conn_id": f"{tenant}__db"},
    }
    chosen = {name: value for name, value in (document | own | changes).items() if value is not None}
    place = folder / "agents" / tenant
    place.mkdir(parents=True, exist_ok=True)
    (place / "airports.odcs.yaml").write_text((DEMO / "airport_reference.odcs.yaml").read_text())
    path = place / f"{job}.yaml"
    path.write_text(yaml.safe_dump(chosen))
    return path


def load(folder: Path) -> BundleDagBag:
    """Load the Dag file of a bundle `folder`, which has the jobs below it."""
    path = folder / "agent_dags.py"
    path.write_text(DAG_FILE)
    return BundleDagBag(path, bundle_path=folder, bundle_name="agents")


def processed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, str]]:
    """The serialized Dags by id, and the import errors by file, that the dag-processor would store."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    bag = load(folder)
    dags, errors = _serialize_dags(bag, logging.getLogger(__name__))  # type: ignore[arg-type]
    return {dag.dag_id: dag.data for dag in dags}, {**bag.import_errors, **errors}
