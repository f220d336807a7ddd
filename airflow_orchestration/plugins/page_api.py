"""The data of the page: what was recorded of runs, read from the store, and nothing decided or explained anew.

Each route reads with a connection of its own, in transactions that can't write. A run belongs to its Dag: who may
read the Dag's runs in Airflow sees it here, and lists have the runs of these Dags alone. Rows of data, which are the
samples of the quarantine and the examples of what sources disagree about, need the right to read the Dag's task logs
besides: logs and rows are where data itself may be read, everything else is counts, names and times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from airflow.sdk import timezone
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.hooks.orchestration import OrchestrationHook, reader_of
from airflow_orchestration.hooks.outside import staging_area
from airflow_orchestration.insights.agents import leaderboard, run_agents
from airflow_orchestration.insights.overview import (
    MOST_RUNS,
    MOST_RUNS_OF_FEEDS,
    RUNS_OF_FEEDS,
    feeds_over_time,
    runs_over_time,
)
from airflow_orchestration.insights.quarantine import quarantine_of
from airflow_orchestration.insights.run_view import run_view, timeline_page, view_tag
from airflow_orchestration.plugins.access import (
    RUNS,
    TASK_LOGS,
    User,
    allowed,
    dags_with_readable_runs,
    reading,
)
from airflow_orchestration.plugins.answers import (
    NOT_FOUND,
    NOT_MODIFIED,
    UNAVAILABLE,
    PlainJson,
    entity_tag,
    is_known,
)
from airflow_orchestration.plugins.detail_shapes import Quarantine, RoundAgentsShown, TimelinePage
from airflow_orchestration.plugins.failures import ERRORS, NoRun
from airflow_orchestration.plugins.history_shapes import FeedsOverTime, Leaderboard, RunsOverTime
from airflow_orchestration.plugins.run_shapes import RunView
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey

MOST_SAMPLES = 5
MOST_DAYS = 3650
LARGEST_ID, LARGEST_ROUND = 2**63 - 1, 2**31 - 1
"""What the columns can hold."""

Text = Annotated[str, Query(max_length=250, pattern=r"^[^\x00]*$")]
"""PostgreSQL has no texts with NUL."""
Id = Annotated[int, Query(ge=1, le=LARGEST_ID)]
RoundNumber = Annotated[int | None, Query(alias="round", ge=0, le=LARGEST_ROUND)]
Days = Annotated[int, Query(ge=1, le=MOST_DAYS)]
RunCount = Annotated[int, Query(ge=1, le=MOST_RUNS_OF_FEEDS)]
ReadableDags = Annotated[set[str], Depends(dags_with_readable_runs)]

router = APIRouter(prefix="/api", tags=["page"], responses={**ERRORS})
OF_A_RUN: dict[int | str, dict[str, Any]] = {
    NOT_FOUND: {"model": NoRun, "description": "The store knows no such run"}
}
READ_RUNS, READ_ROWS = Depends(reading(RUNS)), Depends(reading(RUNS, TASK_LOGS))


def store() -> Iterator[PostgresStore]:
    """The store, for one request, to read from; a connection that can't be used is the deployer's to mend."""
    hook = OrchestrationHook()
    try:
        hook.provider_hook  # noqa: B018  # asks Airflow for the connection
    except InputRefusedError as error:
        raise HTTPException(UNAVAILABLE, error.to_who_looks()) from error
    with hook.store_soon(read_only=True) as opened:
        yield opened


Reading = Annotated[PostgresStore, Depends(store)]


@router.get(
    "/dags/{dag_id}/run",
    dependencies=[READ_RUNS],
    response_model=RunView,
    responses={NOT_MODIFIED: {"description": "Nothing new is known"}, **OF_A_RUN},
)
def get_run(dag_id: str, run_id: Text, request: Request, user: User, store: Reading) -> Response:
    """A run at once: rounds, gates, branches, merges, quality, questions, decisions, chart and manifest.

    Its `ETag`, sent again as `If-None-Match`, brings 304 and no body as long as nothing new is known.
    """
    key = RunKey(dag_id=dag_id, run_id=run_id)
    rows_shown = allowed("GET", dag_id, request, user, TASK_LOGS)
    tag = entity_tag(view_tag(store, key), rows_shown=rows_shown)
    if is_known(tag, request.headers.get("If-None-Match")):
        return Response(status_code=NOT_MODIFIED, headers={"ETag": tag})
    view = run_view(store, key)
    shown = {**(view if rows_shown else without_rows(view)), "rows_shown": rows_shown}
    return PlainJson(shown, headers={"ETag": tag})


@router.get(
    "/dags/{dag_id}/timeline", dependencies=[READ_RUNS], response_model=TimelinePage, responses=OF_A_RUN
)
def get_timeline(
    dag_id: str,
    run_id: Text,
    store: Reading,
    before: Id | None = None,
    round_number: RoundNumber = None,
) -> JSONResponse:
    """A page of a run's timeline, newest first, of all rounds or of one."""
    key = RunKey(dag_id=dag_id, run_id=run_id)
    return PlainJson(timeline_page(store, key, before=before, round_number=round_number))


@router.get(
    "/dags/{dag_id}/agents",
    dependencies=[READ_RUNS],
    response_model=list[RoundAgentsShown],
    responses=OF_A_RUN,
)
def get_agents(dag_id: str, run_id: Text, store: Reading) -> JSONResponse:
    """The agents of a run by round, with everybody who was compared for their work."""
    found = run_agents(store, RunKey(dag_id=dag_id, run_id=run_id))
    return PlainJson([one.as_json() for one in found])


@router.get(
    "/dags/{dag_id}/quarantine", dependencies=[READ_ROWS], response_model=Quarantine, responses=OF_A_RUN
)
def get_quarantine(
    dag_id: str, run_id: Text, store: Reading, feed: Text | None = None, rule: Text | None = None
) -> JSONResponse:
    """What a run put aside, with sample rows. It needs the right to read the run's task logs."""
    key = RunKey(dag_id=dag_id, run_id=run_id)
    found = quarantine_of(store, reader_of, staging_area, key, feed=feed, rule=rule, samples=MOST_SAMPLES)
    return PlainJson(found)


@router.get(
    "/dags/{dag_id}/feeds", dependencies=[READ_RUNS], response_model=FeedsOverTime, responses=OF_A_RUN
)
def get_feeds(dag_id: str, store: Reading, runs: RunCount = RUNS_OF_FEEDS) -> JSONResponse:
    """How each feed of a Dag did in its newest runs."""
    return PlainJson(feeds_over_time(store, dag_id, runs=runs))


@router.get("/runs", response_model=RunsOverTime)
def get_runs(
    dag_ids: ReadableDags, store: Reading, days: Days = 30, dag_id: Text | None = None
) -> JSONResponse:
    """The runs of the last days, of the Dags that you may read or of one of them."""
    asked = dag_ids if dag_id is None else dag_ids & {dag_id}
    since = timezone.utcnow() - timedelta(days=days)
    return PlainJson(runs_over_time(store, sorted(asked), since=since, limit=MOST_RUNS))


@router.get("/leaderboard", response_model=Leaderboard)
def get_leaderboard(dag_ids: ReadableDags, store: Reading, tenant: Text = "") -> JSONResponse:
    """What agents of a tenant have shown, counting only what they did in Dags that you may read."""
    standings = leaderboard(store, tenant, dag_ids=sorted(dag_ids))
    return PlainJson({"tenant": tenant, "standings": [one.as_json() for one in standings]})


def without_rows(view: Mapping[str, Any]) -> dict[str, Any]:
    """A run view without examples of disagreements, for somebody who may not see rows of data."""
    return {
        **view,
        "rounds": [
            {**shown, "merges": [_without_examples(merge) for merge in shown["merges"]]}
            for shown in view["rounds"]
        ],
    }


def _without_examples(merge: Mapping[str, Any]) -> dict[str, Any]:
    return {**merge, "disagreements": [{**one, "examples": []} for one in merge["disagreements"]]}
