"""Names a mapped task instance while it runs: Airflow names it when it ends, and not while it is deferred."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import SetRenderedMapIndex

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST_NAME = 250
"""Letters that Airflow keeps; it refuses more."""
log = logging.getLogger(__name__)


def cut(name: str) -> str:
    """Return as much of a name as Airflow keeps."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def show_now(context: Context, name: str) -> None:
    """Tell Airflow what its list of mapped tasks shows for this one, by the message that it sends itself at the end.

    A name that can't be sent ends no task.
    """
    ti = context["ti"]
    if ti.map_index is None or ti.map_index < 0 or not hasattr(task_runner, "SUPERVISOR_COMMS"):
        return
    try:
        task_runner.SUPERVISOR_COMMS.send(SetRenderedMapIndex(rendered_map_index=name))
    except AirflowRuntimeError:
        log.warning("The name %s could not be shown yet; it is when the task ends", name)
    else:
        ti.rendered_map_index = name  # type: ignore[attr-defined]  # what is sent along when the task is deferred
