"""Lanes, and operators used alone, on queues, pools and executors of their own."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.operators.create_agents import CreateAgentsOperator
from airflow_orchestration.operators.process_branch import LANE_OPERATORS
from airflow_orchestration.operators.run_agent import RunAgentOperator
from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor
from tests.airflow.agent_folder import write_job

DEMO = Path(__file__).parents[2] / "dags" / "airport_reference.yaml"
PINNED = {"queue": "heavy", "pool": "big", "executor": "LocalExecutor"}
DAG_FILE = """
from pathlib import Path
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
dag = pipeline_dag(Path(__file__).with_suffix(".yaml"))
"""


def written(folder: Path, **changes: Any) -> Path:
    """Write the demo's pipeline file with changes, its contract beside it."""
    document = yaml.safe_load(DEMO.read_text()) | changes
    shutil.copy(DEMO.with_suffix(".odcs.yaml"), folder)
    path = folder / DEMO.name
    path.write_text(yaml.safe_dump(document))
    return path


def places(dag: DAG) -> dict[str, dict[str, Any]]:
    """Where each task of a Dag runs, as the scheduler reads it."""
    data = DagSerialization.to_dict(dag)
    scheduled = DagSerialization.from_dict(data)
    return {task.task_id: {name: getattr(task, name) for name in PINNED} for task in scheduled.tasks}


def test_a_pinned_lane_runs_there_in_every_round(tmp_path: Path) -> None:
    """Its branches have the lane's queue, pool and executor; every other task has what it had."""
    usual = {"queue": "default", "pool": "nightly", "executor": None}
    found = places(pipeline_dag(written(tmp_path, lanes={"alpha": PINNED}, pool="nightly")))
    rounds = {f"round_{number}.alpha" for number in (1, 2, 3)}

    assert dict.fromkeys(rounds, PINNED) == {task_id: found[task_id] for task_id in rounds}
    assert [usual] == [dict(pairs) for pairs in {tuple(found[one].items()) for one in set(found) - rounds}]


@pytest.mark.parametrize("name", PINNED)
def test_what_a_lane_does_not_say_is_as_for_the_others(tmp_path: Path, name: str) -> None:
    """Queue, pool and executor may each be said alone; the pool of the file stays the default."""
    usual = {"queue": "default", "pool": "nightly", "executor": None}
    dag = pipeline_dag(written(tmp_path, lanes={"beta": {name: PINNED[name]}}, pool="nightly"))

    assert usual | {name: PINNED[name]} == places(dag)["round_1.beta"]


BAD_LANES: list[tuple[Any, list[str]]] = [
    (
        {"alfa": {"queue": "heavy"}},
        ["lanes.alfa: must be 'alpha', 'beta', 'gamma', 'primary' or 'secondary'"],
    ),
    (
        {"alpha": {}},
        ["lanes.alpha: says nothing; name a queue, a pool or an executor, or leave it out"],
    ),
    ({"alpha": {"que": "heavy"}}, ["lanes.alpha.que: is not a known field; did you mean queue?"]),
    (
        {"alpha": {"queue": "heavy,default"}, "beta": {"executor": "A B"}},
        [
            "lanes.alpha.queue: must be one name, without commas and spaces",
            "lanes.beta.executor: must be one name, without commas and spaces",
        ],
    ),
    ({"beta": {"pool": ""}}, ["lanes.beta.pool: must have at least 1 character"]),
    ({"beta": {"queue": 7}}, ["lanes.beta.queue: must be a valid string"]),
    ({"beta": {"pool": "p" * 257}}, ["lanes.beta.pool: must have at most 256 characters"]),
    (["alpha"], ["lanes: must be an object"]),
]


@pytest.mark.parametrize(("lanes", "told"), BAD_LANES, ids=[told[0] for _, told in BAD_LANES])
def test_bad_lanes_are_refused_with_what_is_known(tmp_path: Path, lanes: Any, told: list[str]) -> None:
    """A lane that is none is told the five; what a lane says of itself is checked like all else."""
    with pytest.raises(InputRefusedError) as refused:
        pipeline_dag(written(tmp_path, lanes=lanes))

    assert told == [str(problem) for problem in refused.value.problems]


def test_lanes_and_agents_exclude_each_other(tmp_path: Path) -> None:
    """Agents have one task for all lanes, so a pinned lane would be pinned to nothing."""
    with pytest.raises(InputRefusedError) as refused:
        pipeline_dag(written(tmp_path, lanes={"alpha": PINNED}, agents={}))

    assert ["lanes"] == [problem.path for problem in refused.value.problems]


def test_a_tenant_pins_nothing(tmp_path: Path) -> None:
    """A job always has agents and agents have no lanes, so no job gets out of its tenant's pool by way of one."""
    write_job(tmp_path, "north", "airports", lanes={"alpha": {"pool": "default_pool"}})
    factory = AgentFactoryHook(tmp_path / "agents", data="/data")
    with pytest.raises(InputRefusedError) as refused:
        factory.dag("north", "airports")

    assert ["lanes"] == [problem.path for problem in refused.value.problems]


def test_an_executor_that_airflow_lacks_is_an_import_error(tmp_path: Path) -> None:
    """Airflow itself looks: the error names the task, the executor and the remedy."""
    path = written(tmp_path, lanes={"gamma": {"executor": "CeleryExecutor"}}).with_suffix(".py")
    path.write_text(DAG_FILE)
    bag = BundleDagBag(path, bundle_path=tmp_path, bundle_name="pinned")

    assert DEMO.stem not in bag.dags
    [told] = bag.import_errors.values()
    assert "Task 'round_1.gamma' specifies executor 'CeleryExecutor', which is not available" in told
    assert "[core] executors" in told


@pytest.mark.parametrize("lane", Lane)
def test_a_lane_operator_alone_is_pinned_like_any_operator(lane: Lane) -> None:
    """Mapped over branches in a Dag of one's own, it takes Airflow's arguments."""
    with DAG(dag_id="own", schedule=None) as dag:
        LANE_OPERATORS[lane].partial(task_id="work", round_number=1, **PINNED).expand(branch_id=["b1"])

    assert {"work": PINNED} == places(dag)


def test_agents_and_gates_alone_are_pinned_like_any_operator() -> None:
    """Whoever binds agents or a gate in a Dag says with Airflow's own arguments where they run."""
    with DAG(dag_id="own", schedule=None) as dag:
        create = CreateAgentsOperator(task_id="create", round_number=1, **PINNED)
        RunAgentOperator.partial(task_id="work", round_number=1, **PINNED).expand(agent_id=create.output)
        QuorumGateSensor(task_id="gate", watch=[create], deadline=timedelta(minutes=1), **PINNED)

    assert dict.fromkeys(("create", "work", "gate"), PINNED) == places(dag)
