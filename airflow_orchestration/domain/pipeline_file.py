"""Reads a pipeline file with its dataset contract, and names everything that is wrong with both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.control_characters import control_problems
from airflow_orchestration.domain.locations import STAGING, Locations, location_problems
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import contract_problems, structure_problems
from airflow_orchestration.domain.tenancy import Tenancy
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

AS_WRITTEN: Locations = MappingProxyType({})
"""Every folder is where the file says."""


TIMES_AS_LARGE = 4
"""Ours: what an author's own file may be, so that `MAX_FEEDS` fit; a stranger's job may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFile:
    """A pipeline with absolute paths, and where its contract stands."""

    pipeline: Pipeline
    path: Path
    tenancy: Tenancy | None = None
    """Whose job it is; None for the pipeline of an author who may name anything."""

    @property
    def contract_path(self) -> Path:
        """The dataset contract beside the pipeline file."""
        return Path(self.pipeline.contract)

    def read_contracts(self) -> tuple[Contract, ...]:
        """Read the contract's schema objects and check the pipeline against them; raises `InputRefusedError`."""
        if self.tenancy is not None and not self.contract_path.exists():
            message = f"{self.contract_path.name} is not beside the job's file"
            raise InputRefusedError(
                _subject(self.path), [Problem(code=ProblemCode.NOT_FOUND, path="contract", message=message)]
            )
        contracts = read_contracts(self.contract_path)
        _raise_all(contract_problems(self.pipeline, contracts), self.path)
        return contracts


def read_pipeline_file(path: Path, locations: Locations = AS_WRITTEN) -> PipelineFile:
    """Read a pipeline file alone, without its contract: cheap enough for every parse of a Dag file.

    :param locations: where a deployment keeps what the file names; they win over what it says.
    """
    document = read_yaml(path, times=TIMES_AS_LARGE)
    problems = list(control_problems(document))
    try:
        pipeline = validated(Pipeline, document, subject=_subject(path))
    except InputRefusedError as error:
        raise InputRefusedError(_subject(path), list(dict.fromkeys([*problems, *error.problems]))) from None
    _raise_all(chain(problems, _problems(pipeline, locations)), path)
    folder = path.resolve().parent
    changes = {
        "roots": {name: _place(folder, locations.get(name, root)) for name, root in pipeline.roots.items()},
        "staging": _place(folder, locations.get(STAGING, pipeline.staging)),
        "contract": str((folder / pipeline.contract).resolve()),
    }
    return PipelineFile(pipeline=pipeline.model_copy(update=changes), path=path)


def _problems(pipeline: Pipeline, locations: Locations) -> Iterator[Problem]:
    if pipeline.tenant is not None:
        yield Problem(
            code=ProblemCode.NOT_ALLOWED, path="tenant", message="is for the agent factory to say; remove it"
        )
    yield from location_problems(pipeline, locations)
    yield from structure_problems(pipeline)


def _place(folder: Path, named: str) -> str:
    """An object storage URI as it is, a folder as an absolute path."""
    return named if "://" in named else str((folder / named).resolve())


def _raise_all(found: Iterator[Problem], path: Path) -> None:
    problems = list(found)
    if problems:
        raise InputRefusedError(_subject(path), problems)


def _subject(path: Path) -> str:
    return f"pipeline file {path.name}"
