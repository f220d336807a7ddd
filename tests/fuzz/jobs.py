"""Specifications of tenants' jobs and of agents, queues of batches: what strangers may write, and what they may name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import built_in_templates
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.domain.agent import AgentRequirement, AgentSpecification, read_queue
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.job_file import find_job
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.hooks.schedules import schedule_problems
from airflow_orchestration.storage.registry_memory import MemoryRegistry
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms, register
from tests.fuzz.appearing import lost, unbounded
from tests.fuzz.inputs import Made
from tests.fuzz.judging import require
from tests.fuzz.pipelines import EXAMPLES, REPOSITORY, lost_of_pipeline, plain
from tests.fuzz.structure import Changer
from tests.fuzz.yaml_text import keys_that_vanish, plainly_read, written

SHARED = "warehouse"
NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
OWN_JOB = (EXAMPLES / "job.yaml", "north", "job")
JOBS = (
    *(OWN_JOB,) * 3,
    *(
        (REPOSITORY / "dags/tenants" / tenant / f"{job}.yaml", tenant, job)
        for tenant, job in (
            ("north", "airports"),
            ("blue", "codes"),
            ("silver", "flights"),
            ("gold", "flights"),
        )
    ),
)
WITH_DAG = 0.15
"""The share of jobs whose Dag is built and serialized, as Airflow's dag-processor does."""
WITH_REGISTRY = 0.1
BY_PLACE = frozenset({"id", "tenant", "agents", "store_conn_id"})
"""Fields that a job's place says, or that have a default of their own there."""


@cache
def _job_changer() -> Changer:
    return Changer([plain(path) for path, _, _ in dict.fromkeys(JOBS)])


def make_job(dice: Random) -> Made:
    """A job of a tenant, changed."""
    path, tenant, job = dice.choice(JOBS)
    tree, done = _job_changer().change(dice, plain(path))
    data, more = written(dice, tree)
    contract = path.parent / plain(path)["contract"]
    files = {f"{tenant}/{job}.yaml": data, f"{tenant}/{contract.name}": contract.read_bytes()}
    terms = {
        "tenant": tenant,
        "job": job,
        "contract": contract.name,
        "dag": dice.random() < WITH_DAG,
        "registry": dice.random() < WITH_REGISTRY,
        "right": not (*done, *more),
    }
    return Made(kind="job", files=files, terms=terms, changes=(*done, *more))


def look_at_job(made: Made, folder: Path) -> None:
    """Read a job as its Dag file does; everything that it names is its tenant's."""
    tenant, job = made.terms["tenant"], made.terms["job"]
    hook = AgentFactoryHook(folder, data="/data", shared_conn_ids=[SHARED, "orchestration_default"])
    data = made.files[f"{tenant}/{job}.yaml"]
    if made.terms["registry"]:
        _registered(made, tenant, job, data)
    found = hook.read(find_job(folder, tenant, job))
    wrong = [f"key {name!a} stands twice" for name in keys_that_vanish(data)]
    wrong += lost_of_pipeline(plainly_read(data), found, dict.fromkeys(BY_PLACE))
    wrong += unbounded(found.pipeline.model_dump(mode="json"))
    wrong += _of_others(found, tenant)
    require(not wrong, "; ".join(wrong[:5]))
    found.read_contracts()
    if made.terms["dag"]:
        dag = DagSerialization.to_dict(hook.dag(tenant, job))
        require("\\u0000" not in json.dumps(dag), "a Dag holds NUL, which no database takes")


def _registered(made: Made, tenant: str, job: str, data: bytes) -> None:
    """Put a job into the registry; a refused one is not in it."""
    contract = made.files[f"{tenant}/{made.terms['contract']}"].decode()
    registry = MemoryRegistry(lambda: NOW)
    terms = RegistryTerms(data="/data", shared_conn_ids=(SHARED, "orchestration_default"))
    texts = JobTexts(specification=data.decode("utf-8", "surrogateescape"), contract=contract)
    try:
        register(registry, terms, tenant, job, texts, changed_by="fuzz", schedule_problems=schedule_problems)
    except InputRefusedError:
        require(registry.revision() == 0, "a refused job is in the registry")
        raise
    require(registry.revision() == 1, "an accepted job is not in the registry")


def _of_others(found: PipelineFile, tenant: str) -> Iterator[str]:
    """What a job names and is not its tenant's."""
    kept = found.pipeline.model_dump(mode="json")
    if kept["id"] != f"{tenant}__{found.path.stem}" or kept["tenant"] != tenant:
        yield f"the job is called {kept['id']!a} of {kept['tenant']!a}"
    for place in (kept["staging"], *kept["roots"].values()):
        if not place.startswith(f"/data/{tenant}/") or {"..", "."} & set(place.split("/")):
            yield f"names the place {place!a}"
    if kept["pool"] is not None and not (kept["pool"] == tenant or kept["pool"].startswith(f"{tenant}__")):
        yield f"names the pool {kept['pool']!a}"
    if Path(kept["contract"]).parent != found.path.parent.resolve():
        yield f"names the contract {kept['contract']!a}"
    for publish in (kept["publish"], *(terms["publish"] for terms in kept["datasets"].values())):
        if publish is not None and publish["table"].partition(".")[0] != tenant:
            yield f"publishes to {publish['table']!a}"
    yield from _strange_connections(kept, tenant)


def _strange_connections(kept: Any, tenant: str) -> Iterator[str]:
    waiting = [kept]
    while waiting:
        inside = waiting.pop()
        if isinstance(inside, dict):
            named = inside.get("conn_id")
            own = not isinstance(named, str) or named.startswith(f"{tenant}__")
            if not own and named not in {SHARED, "orchestration_default"}:
                yield f"names the connection {named!a}"
            waiting += inside.values()
        elif isinstance(inside, list):
            waiting += inside


# --- agents ---

CAPABILITIES = (
    "data_ingestion",
    "data_validation",
    "data_transformation",
    "data_aggregation",
    "quality_monitoring",
)
QUEUE: list[dict[str, Any]] = [
    {
        "id": "clicks",
        "type": "streaming",
        "complexity": "high",
        "source": "kafka",
        "size": 1000,
        "deadline": 60,
    },
    {"type": "validation", "validation_type": "schema", "quality": 0.9, "description": "check it"},
    {"id": "plain", "capabilities": ["data_transformation", "data_aggregation"], "size": 10**6},
    {},
]
REQUIREMENT: dict[str, Any] = {
    "batch": "clicks",
    "task_description": "take it in",
    "capabilities_needed": ["data_ingestion", "data_validation"],
    "data_source": "kafka",
    "batch_size": 1000,
    "format": ["parquet", "json"],
    "validate_schema": True,
    "rules": "comprehensive",
    "quality_required": {"overall": 0.9},
    "detect_anomalies": True,
    "confidence_level": 0.95,
    "output_format": "parquet",
    "schema_mapping": {"a": "b"},
    "aggregations": ["sum"],
    "partitioning": "date",
    "quality_requirement": 0.8,
    "sla_seconds": 300,
    "max_iterations": 3,
    "connections": 2,
    "agent_count": 3,
    "coordination_complexity": "low",
}


@cache
def _factory() -> AgentFactory:
    return AgentFactory(templates=built_in_templates(), new_id=lambda: "1")


@cache
def _specification() -> dict[str, Any]:
    wanted = AgentRequirement.model_validate({"capabilities_needed": ["data_ingestion"], "batch_size": 2000})
    return _factory().generate(wanted, now=NOW).model_dump(mode="json")


@cache
def _agent_changer() -> Changer:
    return Changer([QUEUE, REQUIREMENT, _specification()])


def make_agent(dice: Random) -> Made:
    """A queue of batches, a requirement, or the specification of an agent, changed."""
    what = dice.choice(("queue", "requirement", "specification"))
    example = {"queue": QUEUE, "requirement": REQUIREMENT, "specification": _specification()}[what]
    tree, done = _agent_changer().change(dice, example)
    return Made(
        kind="agent",
        files={"it.json": json.dumps(tree).encode()},
        terms={"what": what, "right": not done},
        changes=done,
    )


def look_at_agent(made: Made, folder: Path) -> None:
    """Read what is said of agents; a requirement becomes a specification, and that an agent."""
    document = json.loads((folder / "it.json").read_text())
    match made.terms["what"]:
        case "queue":
            queue = read_queue(document if isinstance(document, list) else [document], subject="queue")
            kept: Any = [batch.model_dump(mode="json") for batch in queue.batches]
            wrong = list(
                lost(
                    _without_order(document if isinstance(document, list) else [document]),
                    _without_order(kept),
                )
            )
        case "requirement":
            requirement = validated(AgentRequirement, document, subject="requirement")
            kept = requirement.model_dump(mode="json")
            wrong = list(lost(_as_kept(document), _without_order(kept)))
            _factory().create(_factory().generate(requirement, now=NOW))
        case _:
            specification = validated(AgentSpecification, document, subject="specification")
            kept = specification.model_dump(mode="json")
            wrong = list(lost(_without_order(document), _without_order(kept)))
            _factory().create(specification)
    wrong += unbounded(kept)
    require(not wrong, "; ".join(wrong[:5]))


def _as_kept(document: Mapping[str, Any]) -> Any:
    """Short forms, written out."""
    made = dict(document)
    if isinstance(made.get("format"), str):
        made["format"] = [made["format"]]
    if isinstance(made.get("quality_required"), int | float):
        made["quality_required"] = {"overall": made["quality_required"]}
    return _without_order(made)


def _without_order(tree: Any) -> Any:
    """Capabilities are kept once each, in an order of their own; what says nothing may be left out."""
    if isinstance(tree, dict):
        return {
            key: sorted(set(value))
            if key.startswith("capabilities") and isinstance(value, list)
            else _without_order(value)
            for key, value in tree.items()
            if value is not None
        }
    return [_without_order(one) for one in tree] if isinstance(tree, list) else tree
