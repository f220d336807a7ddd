"""Which run is meant: `RUN` on the command line is dag_id/run_id."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_orchestration.cli.terminal import refused
from airflow_orchestration.exceptions import InputRefusedError, ProblemCode
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey

MOST_NAMED = 5
"""Ours: runs that are named instead of one that is not there."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)


def named_run(text: str) -> RunKey:
    """Read a run's name; raises `InputRefusedError` for what is none."""
    dag_id, _, run_id = text.partition("/")
    if not dag_id or not run_id:
        raise refused("RUN", f"{text!r} names no run; write it as dag_id/run_id", code=ProblemCode.BAD_FORMAT)
    return RunKey(dag_id=dag_id, run_id=run_id)


def known_run(store: PostgresStore, text: str) -> RunKey:
    """Read the name of a run that the store knows; else the refusal names the newest ones that it does know."""
    key = named_run(text)
    if not store.readings.knows(key):
        raise unknown_run(store, key)
    return key


def unknown_run(store: PostgresStore, key: RunKey) -> InputRefusedError:
    """Return the refusal of a run that the store does not know, or knows no more."""
    pruned_at = store.pruning.pruned_at(key)
    if pruned_at is not None:
        message = (
            f"run {key.run_id!r} of {key.dag_id} was pruned on {pruned_at:%Y-%m-%d}; of it there are the rows that it "
            "published, and their ledger"
        )
        return refused("RUN", message, code=ProblemCode.NOT_FOUND)
    newest = store.overview.runs([key.dag_id], since=EVER, limit=MOST_NAMED)
    known = ", ".join(ascii(one.run_id)[1:-1] for one in newest)
    instead = f"the newest of this Dag are: {known}" if known else "it knows none of this Dag"
    return refused(
        "RUN", f"the store knows no run {key.run_id!r} of {key.dag_id}; {instead}", code=ProblemCode.NOT_FOUND
    )
