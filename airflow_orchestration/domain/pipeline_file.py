"""Reads a pipeline file with its dataset contract, and names everything that is wrong with both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.odcs import read_contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import contract_problems, structure_problems
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFile:
    """A pipeline with absolute paths, and where its contract stands."""

    pipeline: Pipeline
    path: Path

    @property
    def contract_path(self) -> Path:
        """The dataset contract beside the pipeline file."""
        return Path(self.pipeline.contract)

    def read_contract(self) -> Contract:
        """Read the contract and check the pipeline against it; raises `InputRefusedError`."""
        contract = read_contract(self.contract_path)
        _raise_all(contract_problems(self.pipeline, contract), self.path)
        return contract


def read_pipeline_file(path: Path) -> PipelineFile:
    """Read a pipeline file alone, without its contract: cheap enough for every parse of a Dag file."""
    pipeline = validated(Pipeline, read_yaml(path), subject=_subject(path))
    _raise_all(structure_problems(pipeline), path)
    folder = path.resolve().parent
    changes = {
        "roots": {name: str((folder / root).resolve()) for name, root in pipeline.roots.items()},
        "staging": pipeline.staging
        if "://" in pipeline.staging
        else str((folder / pipeline.staging).resolve()),
        "contract": str((folder / pipeline.contract).resolve()),
    }
    return PipelineFile(pipeline=pipeline.model_copy(update=changes), path=path)


def _raise_all(found: Iterator[Problem], path: Path) -> None:
    problems = list(found)
    if problems:
        raise InputRefusedError(_subject(path), problems)


def _subject(path: Path) -> str:
    return f"pipeline file {path.name}"
