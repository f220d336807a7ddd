"""Do the folders of a tenant's run stay below its tenant's, links followed? Names are checked when a job is read."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_orchestration.domain.location import REMOTE
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode


def check_folders(spec: RunSpec) -> None:
    """Raise `InputRefusedError` when a local root or the staging folder leads out of the tenant's, by a link.

    What the deployer's folder of all tenants is a link to is not the tenant's to say, and is followed.
    """
    if spec.home is None or REMOTE in spec.home:
        return
    data, _, tenant = spec.home.rpartition("/")
    home = Path(os.path.realpath(data), tenant)
    roots = {f"roots.{name}": root for name, root in spec.pipeline.roots.items()}
    problems = [
        Problem(
            code=ProblemCode.OUTSIDE_ROOTS,
            path=path,
            message=f"leads out of {home} by a link; put the folder itself there",
        )
        for path, folder in {"staging": spec.pipeline.staging, **roots}.items()
        if not Path(os.path.realpath(folder)).is_relative_to(home)
    ]
    if problems:
        raise InputRefusedError(f"run of {spec.pipeline.id}", problems)
