"""A fork of a pipeline Dag: Airflow's BranchPythonOperator that also ends what is not needed any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk.exceptions import DownstreamTasksSkipped

if TYPE_CHECKING:
    from airflow.sdk import Context


class ForkOperator(BranchPythonOperator):
    """Skips whole later rounds at once when the run leaves the loop.

    Airflow skips only the tasks right behind a fork; further ones follow one by one with the
    scheduler's loops, and the shared exits wait for the last of them (1.4 s for two rounds).

    :param exits: task ids that leave the loop.
    :param later_groups: task groups that no one needs then.
    """

    template_fields = ()

    def __init__(self, *, exits: Collection[str], later_groups: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exits = list(exits)
        self.later_groups = list(later_groups)

    def do_branch(
        self, context: Context, branches_to_execute: str | Iterable[str] | None
    ) -> str | Iterable[str] | None:
        """Follow one branch, and skip what it leaves behind."""
        try:
            return super().do_branch(context, branches_to_execute)
        except DownstreamTasksSkipped as skipped:
            if branches_to_execute in self.exits:
                skipped.tasks = [*skipped.tasks, *((task_id, -1) for task_id in self._later(context))]
            raise

    def _later(self, context: Context) -> list[str]:
        return [
            task_id for task_id in context["dag"].task_ids if task_id.partition(".")[0] in self.later_groups
        ]
