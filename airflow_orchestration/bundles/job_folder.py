"""The jobs of a revision as files: for each a small Dag file, and a folder with what its author wrote.

Each job has a folder of its own, `<tenant>__<job>/<tenant>/<job>.yaml`: two jobs of a tenant may have contracts of
one name and different content.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from airflow_orchestration.domain.control_characters import CONTROL
from airflow_orchestration.domain.tenancy import CONTRACT_NAME, name_problems
from airflow_orchestration.domain.yaml_file import MAX_BYTES
from airflow_orchestration.storage.registry import JobChange, JobRevision
from airflow_orchestration.workflow.registering import RegistryTerms

LOADER = '''\
"""The Dag of a job of the job registry, written by its bundle: change the job there, and not this file."""

from pathlib import Path

from airflow_orchestration.dags.agent_factory import AgentFactoryHook

dag = AgentFactoryHook(
    Path(__file__).with_suffix(""),
    data={data!r},
    shared_conn_ids={shared!r},
    orchestration_conn_id={conn_id!r},
    own_pools={own_pools!r},
).dag({tenant!r}, {job!r})
'''

log = logging.getLogger(__name__)


def write_jobs(folder: Path, jobs: Sequence[JobRevision], terms: RegistryTerms) -> None:
    """Make a folder hold these jobs and no other files, beside what Python compiled; right ones are not touched.

    One process at a time may do so. A Dag file is written after what it reads, and again whenever that changes: by its time the dag-processor
    sees that there is something to read again.
    """
    wanted: set[Path] = set()
    for job in filter(_is_usable, jobs):
        dag_id, tenant = job.change.dag_id, job.change.tenant
        texts = {folder / dag_id / tenant / name: text.encode() for name, text in job.files}
        loader = {folder / f"{dag_id}.py": _loader(job.change, terms).encode()}
        wanted |= texts.keys() | loader.keys()
        changed = [write_whole(path, content) for path, content in _differing(texts)]
        for path, content in loader.items() if changed else _differing(loader):
            write_whole(path, content)
    _remove_others(folder, wanted)


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file so that whoever reads meanwhile reads the old one or the new one; one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    return draft.replace(path)


def _is_usable(job: JobRevision) -> bool:
    """Refuse what was never let in: whoever writes to the database's table must not write any file anywhere.

    A file of another name could be run as a Dag file, or hide Dag files; one with control characters could be an
    archive, in which Airflow looks for Dag files.
    """
    change = job.change
    if any(name_problems(change.tenant, change.job)):
        wrong = "names"
    elif not all(name == f"{change.job}.yaml" or CONTRACT_NAME.fullmatch(name) for name, _ in job.files):
        wrong = "names of files"
    elif any(CONTROL.search(text) or len(text.encode()) > MAX_BYTES for _, text in job.files):
        wrong = "texts"
    else:
        return True
    log.error("Revision %d of the job registry has %s that can't be; left out", change.revision, wrong)
    return False


def _loader(change: JobChange, terms: RegistryTerms) -> str:
    return LOADER.format(
        data=terms.data,
        shared=terms.shared_conn_ids,
        conn_id=terms.orchestration_conn_id,
        own_pools=terms.own_pools,
        tenant=change.tenant,
        job=change.job,
    )


def _differing(files: Mapping[Path, bytes]) -> Iterator[tuple[Path, bytes]]:
    for path, content in files.items():
        if not path.is_file() or path.read_bytes() != content:
            yield path, content


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
