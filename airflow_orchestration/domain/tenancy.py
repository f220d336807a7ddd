"""Whose is what? The names that keep the jobs of one tenant apart from those of the others.

A specification comes from a tenant, and a tenant may name only what is called after it: connections `north__...`,
the schema `north`, the pool `north`, folders below `<data>/north/`. Nothing has to be looked up to check that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import REMOTE
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.domain.source import Database, Kafka, Outbox
from airflow_orchestration.exceptions import Problem, ProblemCode

SEPARATOR = "__"
"""Between a tenant's name and what is its own; neither name has it, so no two pairs make one text."""
CONTRACT_SUFFIX = ".odcs.yaml"
"""What the name of a job's data contract ends in, so that it is no job."""
RESERVED = frozenset(
    {"public", "information_schema", "orchestration", "orchestration_scratch", "default_pool"}
)
"""Schemas and a pool that are nobody's own: a tenant of that name would have what is everybody's, or the store's."""
RESERVED_PREFIX = "pg_"
"""What PostgreSQL's own schemas begin with."""
RESERVED_JOB = "reconcile"
"""`<id>__reconcile` is the Dag that repairs the runs of the pipeline `<id>`, see `dags.reconcile_dag`."""
MAX_DAG_ID = 63
"""Ours: the length of a pipeline's id."""
MAX_TAGS = 20
"""Ours: each is a row of Airflow's that is written with the others."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_OWN = re.compile(r"[A-Za-z0-9_-]+")
CONTRACT_NAME = re.compile(rf"[A-Za-z0-9_-]+{re.escape(CONTRACT_SUFFIX)}")
_RELATIVE = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """Whose a job is, and what its deployer lends to all tenants."""

    tenant: str
    job: str
    data: str
    """A folder or an object storage URI; each tenant has the folder of its name below it."""
    shared_conn_ids: tuple[str, ...] = ()
    """Airflow connections that every tenant may use, in its own schema."""
    store_conn_id: str = "orchestration_default"
    """The connection of the store, which is the deployer's."""
    own_pools: bool = False
    """Whether a job that names no pool runs in the one that is called as its tenant."""

    @property
    def dag_id(self) -> str:
        """The id of the job's Dag."""
        return f"{self.tenant}{SEPARATOR}{self.job}"

    @property
    def home(self) -> str:
        """The folder, or object storage URI, that has everything of this tenant."""
        return f"{self.data.rstrip('/')}/{self.tenant}"

    def place(self, named: str) -> str:
        """Where a root or the staging folder of this tenant is."""
        return f"{self.home}/{named}"

    def pool(self, named: str | None) -> str | None:
        """The pool of a job that names one, or none."""
        return named or (self.tenant if self.own_pools else None)


def name_problems(tenant: str, job: str) -> Iterator[Problem]:
    """What is wrong with the names of a tenant and its job; together they are the id of a Dag.

    >>> [str(problem) for problem in name_problems("north", "Airports")]
    ["job: 'Airports' is no name; write lower case letters, digits and single underscores, as daily_airports"]
    """
    yield from tenant_problems(tenant)
    yield from _spelling_problems("job", job)
    if job == RESERVED_JOB:
        yield Problem(
            code=ProblemCode.RESERVED,
            path="job",
            message=f"{job!a} is what Dags that repair runs are called; choose another",
        )
    length = len(tenant) + len(SEPARATOR) + len(job)
    if length > MAX_DAG_ID:
        message = (
            f"the Dag's id would have {length} letters, at most {MAX_DAG_ID} are allowed; shorten a name"
        )
        yield Problem(code=ProblemCode.TOO_LARGE, path="job", message=message)


def tenant_problems(tenant: str) -> Iterator[Problem]:
    """What is wrong with the name of a tenant."""
    yield from _spelling_problems("tenant", tenant)
    if tenant in RESERVED or tenant.startswith(RESERVED_PREFIX):
        yield Problem(
            code=ProblemCode.RESERVED,
            path="tenant",
            message=f"{tenant!a} is the name of a schema or pool of others; choose another",
        )


def _spelling_problems(path: str, name: str) -> Iterator[Problem]:
    if not _NAME.fullmatch(name):
        message = "is no name; write lower case letters, digits and single underscores, as daily_airports"
        yield Problem(code=ProblemCode.BAD_NAME, path=path, message=f"{name!a} {message}")


def tenancy_problems(pipeline: Pipeline, tenancy: Tenancy) -> Iterator[Problem]:
    """Everything that a job names and that is not its tenant's, each with its path in the job's file."""
    for name, root in pipeline.roots.items():
        yield from _folder_problems(f"roots.{name}", root, tenancy)
    yield from _folder_problems("staging", pipeline.staging, tenancy)
    yield from _own_problems(pipeline, tenancy)
    if pipeline.publish is not None:
        yield from _target_problems("publish", pipeline.publish, tenancy)
    for name, terms in pipeline.datasets.items():
        yield from _target_problems(f"datasets.{name}.publish", terms.publish, tenancy)
    for index, feed in enumerate(pipeline.feeds):
        yield from _source_problems(f"feeds[{index}]", feed, tenancy)


def _own_problems(pipeline: Pipeline, tenancy: Tenancy) -> Iterator[Problem]:
    """What the job as a whole names."""
    if not CONTRACT_NAME.fullmatch(pipeline.contract):
        message = f"must be a file beside the job's own, named <name>{CONTRACT_SUFFIX}"
        yield Problem(code=ProblemCode.NOT_ALLOWED, path="contract", message=message)
    if len(pipeline.tags) > MAX_TAGS:
        yield Problem(
            code=ProblemCode.TOO_MANY,
            path="tags",
            message=f"are {len(pipeline.tags)}, at most {MAX_TAGS} are allowed",
        )
    # A job has agents, and so no lanes with pools of their own.
    yield from _pool_problems("pool", pipeline.pool, tenancy.tenant)
    if pipeline.store_conn_id != tenancy.store_conn_id:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED,
            path="store_conn_id",
            message="the store is the same for all tenants; leave it out",
        )


def _pool_problems(path: str, pool: str | None, tenant: str) -> Iterator[Problem]:
    if pool is not None and pool != tenant and not _is_own(pool, tenant):
        message = f"must be {tenant}, or begin with {tenant}{SEPARATOR}"
        yield Problem(code=ProblemCode.NOT_ALLOWED, path=path, message=message)


def _folder_problems(path: str, named: str, tenancy: Tenancy) -> Iterator[Problem]:
    """Letters that mean something in a URI or a pattern are refused: the data may be in an object store."""
    if not _RELATIVE.fullmatch(named) or ".." in named.split("/") or REMOTE in named:
        message = (
            f"must be a folder below {tenancy.tenant}'s own, as landing/daily: letters, digits, dots, dashes and "
            "underscores, without .."
        )
        yield Problem(code=ProblemCode.OUTSIDE_ROOTS, path=path, message=message)


def _target_problems(path: str, publish: Publish, tenancy: Tenancy) -> Iterator[Problem]:
    yield from _connection_problems(f"{path}.conn_id", publish, tenancy)
    yield from _table_problems(f"{path}.table", publish.table, tenancy)


def _source_problems(path: str, feed: Feed, tenancy: Tenancy) -> Iterator[Problem]:
    """What a tenant's own connection shows it is the database's to say; in a shared one only its own is."""
    shared = tenancy.shared_conn_ids
    for name, source in (("database", feed.database), ("outbox", feed.outbox)):
        if source is not None:
            yield from _connection_problems(f"{path}.{name}.conn_id", source, tenancy)
            if source.table is not None and source.conn_id in shared:
                yield from _table_problems(f"{path}.{name}.table", source.table, tenancy)
    if feed.database is not None and feed.database.query is not None and feed.database.conn_id in shared:
        message = "a query may read what is another tenant's; name a table, or use a connection of your own"
        yield Problem(code=ProblemCode.NOT_ALLOWED, path=f"{path}.database.query", message=message)
    if feed.kafka is not None:
        yield from _connection_problems(f"{path}.kafka.conn_id", feed.kafka, tenancy)
        own = (f"{tenancy.tenant}.", f"{tenancy.tenant}{SEPARATOR}")
        if feed.kafka.conn_id in shared and not feed.kafka.topic.startswith(own):
            message = f"must begin with {' or '.join(own)}: the connection is shared with other tenants"
            yield Problem(code=ProblemCode.NOT_ALLOWED, path=f"{path}.kafka.topic", message=message)


def _connection_problems(
    path: str, named: Publish | Database | Outbox | Kafka, tenancy: Tenancy
) -> Iterator[Problem]:
    """A connection that the job did not write is told with the deployer's remedy too: the author meant none."""
    conn_id = named.conn_id
    if _is_own(conn_id, tenancy.tenant) or conn_id in tenancy.shared_conn_ids:
        return
    shared = f", or one of {', '.join(tenancy.shared_conn_ids)}" if tenancy.shared_conn_ids else ""
    message = f"must be a connection that begins with {tenancy.tenant}{SEPARATOR}{shared}"
    if "conn_id" not in named.model_fields_set:
        message += (
            f"; none is written, so it is {conn_id}: name one, or have it shared with all tenants, by "
            f"shared_conn_ids=[{conn_id!a}] where the jobs are read (for `agents check`: --shared-conn-id {conn_id})"
        )
    yield Problem(code=ProblemCode.NOT_ALLOWED, path=path, message=message)


def _table_problems(path: str, table: str, tenancy: Tenancy) -> Iterator[Problem]:
    schema, _, name = table.partition(".")
    if schema != tenancy.tenant:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED,
            path=path,
            message=f"must be in the schema {tenancy.tenant}: {tenancy.tenant}.{name}",
        )


def _is_own(name: str, tenant: str) -> bool:
    """Whether a name begins with the tenant's. A secrets backend may make a path of it: no dots, no slashes."""
    own = name.removeprefix(f"{tenant}{SEPARATOR}")
    return own != name and _OWN.fullmatch(own) is not None
