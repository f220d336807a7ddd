"""Laws of the Dags that are made of pipelines and jobs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.dags.pipeline_dag import build_pipeline_dag
from airflow_orchestration.domain.batch import BatchType, Priority, SourceType
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.pipeline import AskWhen, Late, Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile

LEGAL = re.compile(r"[A-Za-z0-9_.-]{1,250}")
TERMS = {"max_concurrent_batches": 2, "timeout_seconds": 60, "retry_attempts": 1}


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, Any]:
    """A pipeline file of one to five feeds, as plain data, with lanes or with agents."""
    ids = [f"feed_{number}" for number in range(draw(st.integers(1, 5)))]
    feeds = [
        {
            "id": feed_id,
            "uri": f"landing/{feed_id}.csv",
            "format": "csv",
            "columns": {"key": "key"},
            "type": draw(st.sampled_from(BatchType)).value,
            "source_type": draw(st.sampled_from(SourceType)).value,
            "priority": draw(st.sampled_from(Priority)).value,
            "depends_on": draw(st.lists(st.sampled_from(ids[:number]), unique=True)) if number else [],
        }
        for number, feed_id in enumerate(ids)
    ]
    return {
        "id": draw(st.from_regex(r"[a-z]{1,8}(__[a-z]{1,8})?", fullmatch=True)),
        "description": draw(st.text(st.characters(exclude_categories=["C"]), max_size=50)),
        "schedule": draw(st.sampled_from([None, "@daily", "0 6 * * 1"])),
        "tags": draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True)),
        "pool": draw(st.sampled_from([None, "north"])),
        "roots": {"landing": "/data"},
        "staging": "/staging",
        "contract": "/contract.odcs.yaml",
        "feeds": feeds,
        "sync": {"deadline": 60, "late": draw(st.sampled_from(Late)).value},
        "ask_when": [it.value for it in draw(st.lists(st.sampled_from(AskWhen), unique=True))],
        "publish": {"table": "north.planes"},
        "agents": draw(st.sampled_from([None, {}, TERMS])),
        "max_rounds": draw(st.integers(1, 3)),
    }


def build(document: dict[str, Any]) -> DAG:
    pipeline = validated(Pipeline, document, subject="pipeline")
    return build_pipeline_dag(PipelineFile(pipeline=pipeline, path=Path("/dags/file.yaml")))


@given(document=pipelines())
@settings(max_examples=20, deadline=None)
def test_a_dag_is_legal_acyclic_and_built_twice_the_same(document: dict[str, Any]) -> None:
    """Whatever the pipeline, its Dag has legal ids and one leaf, no circle, and one form in the database."""
    dag = build(document)
    dag.check_cycle()

    assert [] == [task_id for task_id in [dag.dag_id, *dag.task_ids] if not LEGAL.fullmatch(task_id)]
    assert ["close_out"] == [task.task_id for task in dag.leaves]
    assert ["analyze_batches"] == [task.task_id for task in dag.roots]
    assert serialized(dag) == serialized(build(document))


@given(document=pipelines())
@settings(max_examples=10, deadline=None)
def test_lanes_and_agents_are_two_bindings_of_one_dag(document: dict[str, Any]) -> None:
    """Only who processes the batches of a round differs: routes and lanes, or agents."""
    lanes, agents = (set(build({**document, "agents": terms}).task_ids) for terms in (None, TERMS))
    rounds = range(1, document["max_rounds"] + 1)

    assert {
        f"round_{number}.{name}" for number in rounds for name in ("create_agents", "agents")
    } == agents - lanes
    assert {f"round_{number}.{name}" for number in rounds for name in LANE_TASKS} == lanes - agents


LANES = ("alpha", "beta", "gamma", "primary", "secondary")
LANE_TASKS = (*LANES, *(f"route.to_{lane}" for lane in LANES))


def serialized(dag: DAG) -> str:
    return json.dumps(DagSerialization.to_dict(dag))
