"""`airflow orchestration agents`: the job registry, and what agents may use. Exit codes: 0 done, 2 refused."""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path

from airflow_orchestration.cli.terminal import (
    REFUSED,
    looking,
    plain_table,
    print_json,
    printable,
    refused,
    refusing,
    tell,
    terminal,
)
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.domain.job_file import FoundJob, find_jobs
from airflow_orchestration.domain.tenancy import tenant_problems
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.hooks.agent_registry import (
    keep_job,
    open_store,
    other_bundle_of,
    registry_terms,
)
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.leases import EVERYBODY
from airflow_orchestration.storage.registry import JobChange, Registry, change_as_json, dag_id_of
from airflow_orchestration.workflow.registering import (
    JobTexts,
    RegistryTerms,
    no_such_job,
    removal_warning,
    unregister,
)

MILLICORES = 1000


@refusing
def put(args: Namespace) -> None:
    """Check a specification and its contract, and keep them as a revision."""
    texts = _texts(args)
    who = _who(args)
    with _registry() as (registry, terms):
        _refuse_taken(args)
        before = registry.revision()
        kept = keep_job(terms, registry, args.tenant, args.job, texts, changed_by=who)
    if args.output == "json":
        print_json(change_as_json(kept))
    elif kept.revision <= before:
        tell(f"Nothing to do: {kept.dag_id} is so since revision {kept.revision}.")
    else:
        tell(
            f"{kept.dag_id} is kept as revision {kept.revision}; its Dag follows when the bundle is refreshed and parsed."
        )


@refusing
def remove(args: Namespace) -> None:
    """Take a job away with the next revision, and warn of what that does to runs."""
    who = _who(args)
    with _registry() as (registry, _):
        gone = unregister(registry, args.tenant, args.job, changed_by=who)
    terminal(stderr=True).print(removal_warning(gone), style="yellow", soft_wrap=True)
    if args.output == "json":
        print_json(change_as_json(gone))
    else:
        tell(f"{gone.dag_id} is removed with revision {gone.revision}; its history stays.")


@looking
def list_jobs(args: Namespace) -> None:
    """Show the jobs of a revision."""
    with _registry() as (registry, _), _refusing_unknown():
        jobs = registry.listed(args.revision, args.tenant)
    _show_revisions(args, jobs, empty="There are no jobs.")


@looking
def show(args: Namespace) -> None:
    """Show the files of a job, as they are or as they were."""
    with _registry() as (registry, _), _refusing_unknown():
        found = registry.job(args.tenant, args.job, args.revision)
    if found is None:
        raise no_such_job(args.tenant, args.job)
    if args.output == "json":
        print_json({**change_as_json(found.change), "files": dict(found.files)})
        return
    for name, text in found.files:
        told = f"# {name}, revision {found.change.revision}\n{text}"
        print(printable(told) if sys.stdout.isatty() else told)  # noqa: T201  # as it is, to be put into a file


@looking
def history(args: Namespace) -> None:
    """Show who changed what and when."""
    with _registry() as (registry, _):
        changes = registry.changes(args.tenant, args.job)
    _show_revisions(args, changes, empty="Nothing was ever registered.")


@looking
def check(args: Namespace) -> None:
    """Read every job of a folder, and say what is wrong with each; nothing is kept."""
    try:
        hook = AgentFactoryHook(args.folder, data=args.data, shared_conn_ids=args.shared_conn_id or ())
    except ValueError as error:
        raise refused("--data", str(error), code=ProblemCode.BAD_FORMAT) from None
    found = find_jobs(hook.folder)
    checked = {f"{job.tenant}/{job.path.name}": _problems(hook, job) for job in found}
    by_name = {name: problems for name, problems in checked.items() if problems}
    if args.output == "json":
        plain = {name: [problem.as_json() for problem in problems] for name, problems in by_name.items()}
        print_json({"jobs": len(found), "refused": plain})
    else:
        for name, problems in by_name.items():
            tell("\n  ".join([ascii(name)[1:-1], *map(str, problems)]))
        tell(f"{len(found)} {'job' if len(found) == 1 else 'jobs'}, {len(by_name)} refused")
    if by_name:
        raise SystemExit(REFUSED)


def _problems(hook: AgentFactoryHook, job: FoundJob) -> Sequence[Problem]:
    contract = ""
    try:
        found = hook.read(job)
        contract = found.contract_path.name
        found.read_contracts()
    except InputRefusedError as error:
        if not contract or not error.subject.endswith(f" {contract}"):
            return error.problems
        return [replace(problem, path=f"{contract} {problem.path}".rstrip()) for problem in error.problems]
    return []


@refusing
def capacity(args: Namespace) -> None:
    """Set what may be lent to a tenant or to all together, and show it; of a tenant what it could be lent at all."""
    asked = (args.cpu, args.memory_mb, args.connections)
    _refuse_half(args, asked)
    if args.tenant is not None and (problems := list(tenant_problems(args.tenant))):
        raise InputRefusedError("agents capacity", problems)
    with OrchestrationHook(args.conn_id).store() as store:
        if args.none or None not in asked:
            store.leases.set_capacity(args.tenant or EVERYBODY, None if args.none else _requirements(*asked))
        shown = (
            store.leases.capacities()
            if args.tenant is None
            else {args.tenant: store.leases.limit_of(args.tenant)}
        )
    if args.output == "json":
        print_json({name: limit.model_dump() for name, limit in shown.items()})
    else:
        _show_capacities(shown)


def _refuse_half(args: Namespace, asked: Sequence[float | None]) -> None:
    given = sum(one is not None for one in asked)
    if given not in {0, len(asked)} or (given and args.none):
        message = "give --cpu, --memory-mb and --connections together, or --none alone"
        raise refused("agents capacity", message, code=ProblemCode.CONFLICT)


def _requirements(cpu: float, memory_mb: int, connections: int) -> ResourceRequirements:
    return ResourceRequirements(
        cpu_millicores=max(1, round(cpu * MILLICORES)), memory_mb=memory_mb, connections=connections
    )


@contextmanager
def _registry() -> Iterator[tuple[Registry, RegistryTerms]]:
    terms = registry_terms()
    with open_store(terms) as store:
        yield store.registry, terms


@contextmanager
def _refusing_unknown() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise refused("--revision", str(error.args[0]), code=ProblemCode.NOT_FOUND) from None


def _refuse_taken(args: Namespace) -> None:
    """Keep a job from taking the place of a Dag that is somebody else's."""
    dag_id = dag_id_of(args.tenant, args.job)
    if (bundle := other_bundle_of(dag_id)) is not None:
        message = f"Airflow has this Dag from the bundle {bundle}; choose another name, or remove it there"
        raise refused(f"Dag {dag_id}", message, code=ProblemCode.DUPLICATE)


def _who(args: Namespace) -> str:
    if args.by is not None:
        return str(args.by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name; newer Pythons raise the latter
        problem = Problem(
            code=ProblemCode.REQUIRED,
            path="--by",
            message="must say who changes the job: this user has no name here",
        )
        raise InputRefusedError("the command", [problem]) from None


def _texts(args: Namespace) -> JobTexts:
    specification = Path(args.file)
    contract = Path(args.contract) if args.contract else _named_contract(specification)
    return JobTexts(specification=_text(specification), contract=_text(contract))


def _named_contract(specification: Path) -> Path:
    """The contract beside the specification; a name that leads elsewhere is refused when the job is checked."""
    named = read_yaml(specification).get("contract")
    if not isinstance(named, str) or not named or "/" in named:
        message = "names no contract file beside it; correct it, or give --contract"
        raise InputRefusedError(
            f"file {specification.name}",
            [Problem(code=ProblemCode.REQUIRED, path="contract", message=message)],
        )
    contract = specification.parent / named
    if not contract.exists():
        message = f"{named} is not beside the job's file; put it there, or give --contract"
        raise InputRefusedError(
            f"file {specification.name}",
            [Problem(code=ProblemCode.NOT_FOUND, path="contract", message=message)],
        )
    return contract


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        code, message = ProblemCode.UNREADABLE, f"can't be read ({error.strerror}); check the path"
    except UnicodeDecodeError:
        code, message = ProblemCode.BAD_SYNTAX, "is not UTF-8"
    raise refused(f"file {path.name}", message, code=code)


def _show_revisions(args: Namespace, found: Sequence[JobChange], *, empty: str) -> None:
    if args.output == "json":
        print_json([change_as_json(one) for one in found])
        return
    if not found:
        tell(empty)
        return
    table = plain_table("revision", "Dag", "what", "by", "at (UTC)")
    for one in found:
        what = "removed" if one.is_removed else "kept"
        at = f"{one.changed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(str(one.revision), one.dag_id, what, one.changed_by, at)
    tell(table)


def _show_capacities(capacities: Mapping[str, ResourceRequirements]) -> None:
    table = plain_table("tenant", "CPUs", "memory MB", "connections")
    for name, limit in sorted(capacities.items()):
        cpus = f"{limit.cpu_millicores / MILLICORES:g}"
        table.add_row(name or "all together", cpus, f"{limit.memory_mb:,}", f"{limit.connections:,}")
    tell(table)
