"""Where the tasks of a lane run, when not where all others do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from airflow_orchestration.domain.strict import Strict
from airflow_orchestration.exceptions import Problem, ProblemCode, RefusedValueError


def _one_name(text: str) -> str:
    if "," in text or any(letter.isspace() for letter in text):
        raise RefusedValueError("must be one name, without commas and spaces", code=ProblemCode.BAD_NAME)
    return text


PoolName = Annotated[str, Field(min_length=1, max_length=256)]
"""An Airflow pool; the length is Airflow's."""
QueueName = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_one_name)]
"""A queue of an executor. Workers are told theirs with commas between them; the length is Airflow's."""
ExecutorName = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_one_name)]
"""One of Airflow's `[core] executor`, by its name, alias or path; the length is Airflow's."""


class LaneTerms(Strict):
    """Where the tasks of one lane run. All of them: mapped tasks of Airflow share queue, pool and executor."""

    queue: QueueName | None = None
    """The queue that workers of the Celery executor must serve to take a branch of this lane."""
    pool: PoolName | None = None
    """The Airflow pool of this lane's branches, which must be there; left out, that of the pipeline."""
    executor: ExecutorName | None = None
    """One of the executors that Airflow is configured with, such as `KubernetesExecutor`."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self == LaneTerms.model_construct():
            raise RefusedValueError(
                "says nothing; name a queue, a pool or an executor, or leave it out", code=ProblemCode.EMPTY
            )
        return self

    def arguments(self) -> dict[str, str]:
        """Return what the lane's operator is made with."""
        return self.model_dump(exclude_none=True)


def lane_problems(lanes: object, agents: object) -> Iterator[Problem]:
    """Refuse lanes beside agents: then there are no tasks of lanes."""
    if lanes and agents is not None:
        message = "are of no use with agents, which do the work of all lanes in one task; leave them out"
        yield Problem(code=ProblemCode.CONFLICT, path="lanes", message=message)
