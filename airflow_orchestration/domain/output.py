"""What the output of a feed asks of the pipeline's roots, and of the feed's contract, in vain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.exceptions import Problem, ProblemCode


def output_problems(feed: Feed, path: str, roots: Mapping[str, str], contract: Contract) -> Iterator[Problem]:
    """Every problem of a feed's output, with its path; none without an output."""
    if feed.output is None:
        return
    root, columns = feed.output.uri.partition("/")[0], feed.output.partition_by
    if root not in roots:
        message = f"{root!r} is no declared root; these are: {', '.join(roots)}"
        yield Problem(code=ProblemCode.UNKNOWN_NAME, path=f"{path}.uri", message=message)
    elif "://" in roots[root]:
        message = f"{root!r} is an object store; output goes to a folder that the workers share"
        yield Problem(code=ProblemCode.UNSUPPORTED, path=f"{path}.uri", message=message)
    for index, name in enumerate(columns):
        if name not in contract.by_name:
            message = f"{name!r} is no column of the dataset contract"
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME, path=f"{path}.partition_by[{index}]", message=message
            )
        elif name in columns[:index]:
            yield Problem(
                code=ProblemCode.DUPLICATE,
                path=f"{path}.partition_by[{index}]",
                message=f"{name!r} stands here twice",
            )
    if columns and set(contract.by_name) <= set(columns):
        message = "leaves no column for the files; partition by fewer"
        yield Problem(code=ProblemCode.CONFLICT, path=f"{path}.partition_by", message=message)
