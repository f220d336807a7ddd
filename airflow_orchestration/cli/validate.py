"""`validate`: is anything wrong with pipeline files, their contracts and the SQL in them, as far as it shows without data?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from airflow_orchestration.cli.terminal import REFUSED, looking, plain_table, print_json, tell
from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline_file import TIMES_AS_LARGE, PipelineFile
from airflow_orchestration.domain.run_spec import resolve
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.engine.expression_problems import expression_problems
from airflow_orchestration.engine.query_problems import query_problems
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.hooks.pipeline_files import deployed_pipeline_file

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A pipeline file and everything that is wrong with it, each with the file that it stands in."""

    file: str
    dag_id: str = ""
    """Empty where it can't be told."""
    problems: list[tuple[str, Problem]] = field(default_factory=list)

    def attempt(self, read: Callable[[], Found]) -> Found | None:
        """Return what is read, or keep what is wrong with it."""
        try:
            return read()
        except InputRefusedError as refused:
            self.add(refused.subject, refused.problems)
            return None

    def add(self, subject: str, problems: Sequence[Problem]) -> None:
        """Keep problems, each once."""
        self.problems.extend((subject, one) for one in problems if (subject, one) not in self.problems)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        told = [{"subject": subject, **one.as_json()} for subject, one in self.problems]
        return {"file": self.file, "problems": told}


@looking
def validate(args: Namespace) -> None:
    """Check each file with its contract, and print every problem with its path."""
    checked = [check(file) for file in args.pipelines]
    _tell_one_id_of_two(checked)
    if args.output == "json":
        print_json([one.as_json() for one in checked])
    else:
        _show(checked)
    if any(one.problems for one in checked):
        raise SystemExit(REFUSED)


def check(file: str) -> Checked:
    """Read a pipeline file, its contract, their SQL, and what each says of the other."""
    checked = Checked(file=file)
    found = checked.attempt(lambda: deployed_pipeline_file(file))
    contract = found.contract_path if found else _named_contract(Path(file))
    contracts = checked.attempt(lambda: read_contracts(contract)) if contract else None
    if contract and contracts:
        checked.add(f"dataset contract {contract.name}", query_problems(contracts))
    if found and contracts:
        _check_together(checked, found, contracts)
    return replace(checked, dag_id=found.pipeline.id if found else "")


def _tell_one_id_of_two(checked: Sequence[Checked]) -> None:
    """Airflow would show the one of them that it read last."""
    first: dict[str, Checked] = {}
    for one in checked:
        before = first.setdefault(one.dag_id, one)
        if one.dag_id and Path(before.file).resolve() != Path(one.file).resolve():
            message = f"{one.dag_id!r} is the id of {before.file} too; choose another"
            problem = Problem(code=ProblemCode.DUPLICATE, path="id", message=message)
            one.add(f"pipeline file {Path(one.file).name}", [problem])


def _check_together(checked: Checked, found: PipelineFile, contracts: tuple[Contract, ...]) -> None:
    if checked.attempt(found.read_contracts) is None:
        return
    spec = checked.attempt(lambda: resolve(found.pipeline, contracts, RunConf(), date.min))
    if spec is not None:
        checked.add(f"pipeline file {found.path.name}", expression_problems(spec))


def _named_contract(file: Path) -> Path | None:
    """The contract of a file that is refused: what is wrong with it is told as well."""
    try:
        named = read_yaml(file, times=TIMES_AS_LARGE).get("contract")
    except InputRefusedError:
        return None
    return file.resolve().parent / named if isinstance(named, str) and named else None


def _show(checked: Sequence[Checked]) -> None:
    if not any(one.problems for one in checked):
        tell(f"{len(checked)} file{'s' if checked[1:] else ''}, nothing is wrong")
        return
    table = plain_table("file", "in", "path", "problem")
    for one in checked:
        for subject, problem in one.problems:
            table.add_row(one.file, subject, problem.path, problem.message, style="red")
        if not one.problems:
            table.add_row(one.file, "", "", "nothing is wrong")
    tell(table)
