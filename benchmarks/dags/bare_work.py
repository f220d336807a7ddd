"""The same work as a bare Dag: five mapped tasks read, check and write five feeds each, one merges, one publishes.

What is left out is what a provider adds: no store, no gate, no second round, no ledger, no page, no profile of the feeds, no
checksums, a process for each task and none for each feed.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import dag, task

HERE = Path(__file__).parent
STAGED = HERE.parent / "data" / "bare"
BRANCHES = 5


@dag(schedule=None, tags=["benchmark"])
def bare_work() -> None:
    """Build the Dag."""

    @task
    def plan() -> list[list[str]]:
        from benchmarks.bare_steps import feeds_of

        feeds = list(feeds_of(HERE / "work_pipeline.yaml"))
        return [feeds[number::BRANCHES] for number in range(BRANCHES)]

    @task
    def branch(feeds: list[str]) -> list[str]:
        from benchmarks.bare_steps import staged

        return [staged(HERE / "work_pipeline.yaml", feed, STAGED) for feed in feeds]

    @task
    def join(staged: list[list[str]]) -> str:
        from benchmarks.bare_steps import merged

        return merged(HERE / "work_pipeline.yaml", [Path(file) for files in staged for file in files], STAGED)

    @task
    def publish(file: str) -> None:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        from benchmarks.bare_steps import published

        with PostgresHook("orchestration_default").get_conn() as connection:
            published(connection, Path(file))

    publish(join(branch.expand(feeds=plan())))


bare_work()
