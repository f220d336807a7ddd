"""A fork of a pipeline Dag: Airflow's branching, which here also ends what is not needed any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk.bases.branch import BranchMixIn
from airflow.sdk.exceptions import DownstreamTasksSkipped

if TYPE_CHECKING:
    from airflow.sdk import Context


class LeavesTheLoop(BranchMixIn):
    """Skips the other exits, and whole later rounds at once, when the run leaves the loop.

    Airflow skips only the tasks right behind a fork. The other exit may stand behind an earlier round's
    fork that went well, and would start; later rounds would follow task by task with the scheduler's
    loops, and the exit would wait for the last of them (1.4 s for two rounds).
    """

    exits: Sequence[str]
    """Task ids that leave the loop."""
    later_groups: Collection[str]
    """Task groups that no one needs then."""

    def do_branch(
        self, context: Context, branches_to_execute: str | Iterable[str] | None
    ) -> str | Iterable[str] | None:
        """Follow one branch, and skip what it leaves behind."""
        try:
            return super().do_branch(context, branches_to_execute)
        except DownstreamTasksSkipped as skipped:
            if branches_to_execute in self.exits:
                unneeded = [
                    *self._later(context),
                    *(exit_id for exit_id in self.exits if exit_id != branches_to_execute),
                ]
                skipped.tasks = [*skipped.tasks, *((task_id, -1) for task_id in unneeded)]
            raise

    def _later(self, context: Context) -> list[str]:
        return [
            task_id for task_id in context["dag"].task_ids if task_id.partition(".")[0] in self.later_groups
        ]


class ForkOperator(LeavesTheLoop, BranchPythonOperator):
    """A fork that a recorded verdict decides.

    :param exits: task ids that leave the loop.
    :param later_groups: task groups that no one needs then.
    """

    template_fields = ()

    def __init__(self, *, exits: Collection[str], later_groups: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exits = list(exits)
        self.later_groups = list(later_groups)
