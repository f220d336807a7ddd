"""Makes Dags of a folder of jobs: `<folder>/<tenant>/<job>.yaml` becomes the Dag `<tenant>__<job>`.

Airflow takes a Dag file's Dags out of service when the file has an import error. So a job that is refused
must not be an error of the Dag file: it stands in for a Dag of its own (`_RefusedJob`), which Airflow can't
serialize, and which says that it comes from the job's file. That file gets the import error, and all other
Dags load.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow.exceptions import SerializationError
from airflow.sdk import DAG, BaseHook, get_parsing_context

from airflow_orchestration.dags.pipeline_dag import build_pipeline_dag
from airflow_orchestration.domain.job_file import FoundJob, find_job, find_jobs, read_job
from airflow_orchestration.domain.location import REMOTE
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.tenancy import SEPARATOR, Tenancy, name_problems
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.schedules import schedule_problems

REFUSED = "refused"
"""What the ids of Dags begin with that stand in for refused jobs; they have a number where a job has a letter."""

MAX_PATH = 1_000
"""Ours: letters of a path; Airflow keeps 1024."""
MAX_REFUSAL = 10_000
"""Ours: letters of an import error, about a hundred problems."""


class AgentFactoryHook(BaseHook):
    """Reads the jobs of many tenants, and makes a Dag of each.

    In a file of the Dags folder:

        from airflow_orchestration.dags.agent_factory import AgentFactoryHook
        AgentFactoryHook(Path(__file__).parent / "agents", data="/data").generate_dags()

    :param folder: holds a folder for each tenant, with its jobs and their data contracts.
    :param data: a folder or an object storage URI of the deployer's; the files of a tenant are in the folder
        of its name below it.
    :param shared_conn_ids: Airflow connections that every tenant may use, beside those that begin with its name.
    :param orchestration_conn_id: the Airflow connection of the store.
    :param own_pools: whether a job that names no pool runs in the pool that is named as its tenant, which must be
        there: `airflow pools set north 8 ""`.
    """

    conn_name_attr = "orchestration_conn_id"
    default_conn_name = OrchestrationHook.default_conn_name
    hook_name = "Agent factory"

    def __init__(
        self,
        folder: Path | str,
        *,
        data: Path | str,
        shared_conn_ids: Iterable[str] = (),
        orchestration_conn_id: str = default_conn_name,
        own_pools: bool = False,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.data = str(data)
        if REMOTE not in self.data and not Path(self.data).is_absolute():
            raise ValueError(
                f"data {self.data!r} depends on where Airflow was started; give a full path, or a URI"
            )
        if isinstance(shared_conn_ids, str):
            raise TypeError(f"shared_conn_ids must be a list of connections, not {shared_conn_ids!r}")
        self.shared_conn_ids = tuple(shared_conn_ids)
        self.orchestration_conn_id = orchestration_conn_id
        self.own_pools = own_pools

    def generate_dags(self) -> dict[str, DAG]:
        """Return the Dags of the folder by id; for a task the one that it belongs to, and no other file is opened.

        Airflow finds them by itself, those with the suffix `__reconcile` too. A job that is refused gives an
        import error of its file, with every problem. Raises `InputRefusedError` when the folder can't be read.
        """
        dag_id = get_parsing_context().dag_id
        if dag_id is not None:
            return self._only(dag_id)
        dags: dict[str, DAG] = {}
        for number, found in enumerate(find_jobs(self.folder)):
            try:
                dag = self._dag(found)
            except InputRefusedError as error:
                _refuse(number, found.path, error)
            else:
                dags[dag.dag_id] = dag
        return dags

    def dag(self, tenant: str, job: str) -> DAG:
        """Return the Dag of one job; raises `InputRefusedError` with every problem of it."""
        return self._dag(find_job(self.folder, tenant, job))

    def read(self, found: FoundJob) -> PipelineFile:
        """Read a job as its Dag will; raises `InputRefusedError` with every problem of it."""
        if found.problem is not None:
            raise found.refusal()
        tenancy = Tenancy(
            tenant=found.tenant,
            job=found.job,
            data=self.data,
            shared_conn_ids=self.shared_conn_ids,
            store_conn_id=self.orchestration_conn_id,
            own_pools=self.own_pools,
        )
        job = read_job(found.path, tenancy)
        problems = list(schedule_problems(job.pipeline))
        if problems:
            raise InputRefusedError(found.subject, problems)
        return job

    def _dag(self, found: FoundJob) -> DAG:
        return build_pipeline_dag(self.read(found))

    def _only(self, dag_id: str) -> dict[str, DAG]:
        """The Dag of a task, from its file's path. A Dag that is none of these is made elsewhere in the Dag file."""
        tenant, _, rest = dag_id.partition(SEPARATOR)
        job = rest.partition(SEPARATOR)[0]
        is_job = next(name_problems(tenant, job), None) is None
        if not is_job or not find_job(self.folder, tenant, job).path.exists():
            self.log.warning("no job of %s makes the Dag %s", self.folder, dag_id)
            return {}
        dag = self.dag(tenant, job)
        return {dag.dag_id: dag}


class _RefusedJob(DAG):
    """A job that can't be loaded: Airflow reports why, under the path of the job's file."""

    refusal = ""
    job_file = Path()

    @property  # type: ignore[override]  # Airflow sets it to the path of the Dag file
    def relative_fileloc(self) -> str:
        """The path of the job's file as Airflow writes paths: from the root of the bundle."""
        bundle = str(self.fileloc).removesuffix(self._dag_file)
        below = os.path.relpath(self.job_file, bundle)
        return _printable(str(self.job_file if below.startswith("..") else below), MAX_PATH)

    @relative_fileloc.setter
    def relative_fileloc(self, dag_file: str | None) -> None:
        self._dag_file = dag_file or ""

    def get_serialized_fields(self) -> Any:  # type: ignore[override]  # a class method; Airflow asks the Dag
        """Refuse, in the dag-processor: each Dag that can't be serialized has an error of its own there."""
        raise SerializationError(self.refusal)

    def validate(self) -> None:
        """Refuse, elsewhere: `airflow dags reserialize` would end at a Dag that it can't serialize."""
        if os.environ.get("_AIRFLOW_PROCESS_CONTEXT") != "client":
            raise SerializationError(self.refusal)


def _refuse(number: int, job_file: Path, error: InputRefusedError) -> None:
    with _RefusedJob(dag_id=f"{REFUSED}{SEPARATOR}{number}") as dag:
        dag.refusal, dag.job_file = _printable(str(error), MAX_REFUSAL), job_file.absolute()


def _printable(text: str, longest: int) -> str:
    """What a stranger named, as a database takes it: an error that can't be stored would hide all others."""
    plain = "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1]
        for letter in text[: longest + 1]
    )
    return plain if len(plain) <= longest else f"{plain[:longest]} ..."
