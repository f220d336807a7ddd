"""What people write: confs, pipeline files, folders of jobs, queues of batches."""

from __future__ import annotations

import copy
import json
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

from airflow_orchestration.cli.plans import spec_of
from airflow_orchestration.cli.validate import validate
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.domain.conf import read_conf, validated
from airflow_orchestration.domain.job_file import find_jobs
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.domain.run_spec import resolve
from tests.bad_input.rows import answer_of
from tests.registered_jobs import CONTRACT, specification

TODAY = date(2026, 11, 22)


def feed(feed_id: str, **changes: Any) -> dict[str, Any]:
    """A feed of a CSV file."""
    columns = {"code": "code", "size": "size"}
    return {"id": feed_id, "uri": f"landing/{feed_id}.csv", "format": "csv", "columns": columns, **changes}


PIPELINE: dict[str, Any] = {
    "id": "sales",
    "roots": {"landing": "/data/landing"},
    "staging": "/data/staging",
    "contract": "sales.odcs.yaml",
    "feeds": [feed("shop"), feed("web")],
    "sync": {"deadline": 60},
    "publish": {"table": "north.sales"},
    "conf_bounds": {"min_sync_floor": 0.01, "max_sync_deadline": 604800, "min_quality": 0},
    "quality": {"fail_below": 0},
}


def changed(document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with other values at places such as `feeds.0.weight`; what becomes "absent" is left out."""
    made = copy.deepcopy(document)
    for place, value in changes.items():
        *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        within: Any = made
        for part in path:
            within = within.setdefault(part, {}) if isinstance(within, dict) else within[part]
        if value == "absent":
            del within[last]
        else:
            within[last] = MADE[value[1:]]() if isinstance(value, str) and value[:1] == "@" else value
    return made


def many_batches() -> Any:
    return [{"id": f"batch_{number}"} for number in range(100_000)]


def deep() -> Any:
    made: Any = 1
    for _ in range(25):
        made = {"a": made}
    return made


def chain(length: int) -> list[dict[str, Any]]:
    """Feeds each of which depends on the one before it."""
    return [
        feed(f"feed_{number}", depends_on=[f"feed_{number - 1}"] if number else [])
        for number in range(length)
    ]


MADE: Mapping[str, Callable[[], Any]] = {
    "many batches": many_batches,
    "deep": deep,
    "a megabyte": lambda: "x" * 1_100_000,
    "an endless number": lambda: float("inf"),
    "no number": lambda: float("nan"),
    "a long number": lambda: 10**5000,
    "a long chain": lambda: chain(1_000),
    "a chain too long": lambda: chain(10_001),
    "two names of one look": lambda: [feed("é"), feed(unicodedata.normalize("NFD", "é"))],
    "65 letters": lambda: "x" * 65,
    "250 letters": lambda: "x" * 250,
}
"""What is too large or too strange to be written down."""


def conf(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read a run's conf as its first task does; `text` is JSON, `fields` are made."""
    document = changed(PIPELINE, given.get("pipeline", {}))
    pipeline = validated(Pipeline, document, subject="pipeline")
    said = json.loads(given["text"]) if "text" in given else changed({}, given["fields"])
    spec = resolve(pipeline, (), read_conf(said), TODAY)
    return {
        "feeds": list(spec.feeds),
        "uris": [one.uri for one in spec.pipeline.feeds],
        "deadline": spec.pipeline.sync.deadline,
        "floor": spec.pipeline.sync.floor,
    }


def pipeline(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read a pipeline file with its contract; `changes` are to a good one, `text` stands for the whole file."""
    path = folder / "sales.yaml"
    (folder / "sales.odcs.yaml").write_text(CONTRACT)
    text = given["text"] if "text" in given else json.dumps(changed(PIPELINE, given["changes"]))
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = read_pipeline_file(path)
    found.read_contracts()
    declared = found.pipeline
    return {
        "feeds": len(declared.feeds),
        "description": declared.description,
        "deadline": declared.sync.deadline,
        "points": {name: list(point.feeds) for name, point in declared.sync.points.items()},
    }


def jobs(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read a folder of 20 jobs, one of which has `changes`, as the agent factory does."""
    place = folder / "agents" / given.get("tenant", "north")
    place.mkdir(parents=True)
    (place / "sales.odcs.yaml").write_text(CONTRACT)
    for number in range(20):
        (place / f"job_{number:02}.yaml").write_text(specification())
    (place / f"{given.get('job', 'job_07')}.yaml").write_text(specification(**given["changes"]))
    hook = AgentFactoryHook(folder / "agents", data="/data", shared_conn_ids=["orchestration_default"])
    told = [answer_of(lambda job=job: {"dag": hook.read(job).pipeline.id}) for job in find_jobs(hook.folder)]
    loaded = [name for name in hook.generate_dags() if not name.endswith("__reconcile")]
    return {
        "good": len(loaded),
        "refused": [problem for one in told for problem in one.refused],
    }


def command(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Check pipeline files at the command line; `files` have the ids of their pipelines."""
    (folder / "sales.odcs.yaml").write_text(CONTRACT)
    paths = [folder / name for name in given["files"]]
    for path, dag_id in zip(paths, given["files"].values(), strict=True):
        path.write_text(json.dumps(changed(PIPELINE, {"id": dag_id})))
    if "conf" in given:
        spec_of(str(paths[0]), given["conf"], TODAY)
        return {}
    shown = StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        validate(Namespace(pipelines=[str(path) for path in paths], output="json"))
    found = [problem for file in json.loads(shown.getvalue()) for problem in file["problems"]]
    return {"told": [f"{one['code']} {one['path']}: {one['message']}" for one in found]}
