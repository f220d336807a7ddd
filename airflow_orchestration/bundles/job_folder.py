"""The jobs of a revision as files: for each a Dag file of six lines, and a folder with what its author wrote.

Each job has a folder of its own, `<tenant>__<job>/<tenant>/<job>.yaml`: two jobs of a tenant may have contracts of
one name and different content.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from airflow_orchestration.domain.tenancy import CONTRACT_SUFFIX, name_problems
from airflow_orchestration.storage.registry import JobRevision
from airflow_orchestration.workflow.registering import RegistryTerms

LOADER = '''\
"""The Dag of a job of the registry, written by its bundle: change the job there, and not this file."""

from pathlib import Path

from airflow_orchestration.dags.agent_factory import AgentFactoryHook

dag = AgentFactoryHook(
    Path(__file__).with_suffix(""), data={data!r}, shared_conn_ids={shared!r}, orchestration_conn_id={conn_id!r}
).dag({tenant!r}, {job!r})
'''

_CONTRACT = re.compile(rf"[A-Za-z0-9_-]+{re.escape(CONTRACT_SUFFIX)}")
"""What else stands in a Dag bundle's folder could be run as a Dag file, or hide Dag files."""

log = logging.getLogger(__name__)


def write_jobs(folder: Path, jobs: Sequence[JobRevision], terms: RegistryTerms) -> None:
    """Make a folder hold these jobs and nothing else; files that are right already are not touched.

    A Dag file is written after what it reads, and again whenever that changes: by its time the dag-processor
    sees that there is something to read again.
    """
    wanted: dict[str, bytes] = {}
    for job in jobs:
        if not _is_usable(job):
            continue
        texts = {f"{job.dag_id}/{job.tenant}/{name}": text.encode() for name, text in job.files}
        loader = {f"{job.dag_id}.py": _loader(job, terms).encode()}
        wanted |= texts | loader
        changed = [_write(folder / name, content) for name, content in _differing(folder, texts)]
        for name, content in loader.items() if changed else _differing(folder, loader):
            _write(folder / name, content)
    _remove_others(folder, {folder / name for name in wanted})


def _is_usable(job: JobRevision) -> bool:
    """Refuse names that were never let in: whoever writes to the database's table must not write files anywhere."""
    named = not any(name_problems(job.tenant, job.job))
    if not named or not all(name == f"{job.job}.yaml" or _CONTRACT.fullmatch(name) for name, _ in job.files):
        log.error("Revision %d of the registry has names that can't be files; left out", job.revision)
        return False
    return True


def _loader(job: JobRevision, terms: RegistryTerms) -> str:
    return LOADER.format(
        data=terms.data,
        shared=terms.shared_conn_ids,
        conn_id=terms.orchestration_conn_id,
        tenant=job.tenant,
        job=job.job,
    )


def _differing(folder: Path, files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            yield name, content


def _write(path: Path, content: bytes) -> Path:
    """Whoever reads meanwhile reads the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    return draft.replace(path)


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    """Dag files go before what they read."""
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(folder.rglob("*"), key=lambda path: (path.suffix != ".py", -len(path.parts)))
    for path in there:
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in wanted and path.parent.name != "__pycache__":
            path.unlink()
