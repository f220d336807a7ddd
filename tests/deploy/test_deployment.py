"""The commands of docker-compose.yaml work, started here without Docker, and two workers without a common disk share runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import psycopg
import pytest
from psycopg.rows import dict_row

from demo.api import AirflowApi
from demo.errors import ApiError
from demo.processes import wait_until
from tests.deploy import compose
from tests.deploy.compose import REPOSITORY
from tests.deploy.deployment import Deployment

DEMO, WIDE, KILLED = "airport_reference", "twenty_five", "killed_worker"
LANES: dict[str, dict[str, str]] = {
    "alpha": {"source_type": "streaming"},
    "beta": {},
    "gamma": {"source_type": "real_time"},
    "primary": {"type": "data_aggregation", "priority": "high"},
    "secondary": {"type": "quality_monitoring"},
}
"""What sends a feed to a lane."""
FEEDS: dict[str, dict[str, Any]] = {
    f"{lane}{number}": {**terms, "usual_rows": 15 - 3 * place}
    for place, (lane, terms) in enumerate(LANES.items())
    for number in range(5)
}
"""The largest are started first, hence each of the five branches gets a feed of every lane: a task for each feed."""
PINNED = "gamma"
HOST_OF = dict.fromkeys(LANES, "worker") | {PINNED: "worker-heavy"}


HEARTBEAT_SECONDS, LOOK_SECONDS = 12, 2
"""When Airflow gives up a task that is silent, instead of the minute of the file, and how often it looks."""
QUICKER = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_SECONDS),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": str(LOOK_SECONDS),
}
OWN_ROWS, LETTERS, PATTERNS = 20, 400_000, 25
SLOWLY = " + ".join(
    f"length(regexp_replace(text, '([a-z]|[0-9]|m)+?{number:02}+', '', 'g'))" for number in range(PATTERNS)
)
"""What keeps a core busy with a feed for two seconds."""


def killed_pipeline() -> dict[str, Any]:
    """Two feeds, the one on the queue `heavy` takes its time: patterns are looked for in its long texts."""
    slow = {"code": "code", "size": {"expression": f"size::DOUBLE + 0 * ({SLOWLY})"}}
    columns = {"quick": {"code": "code", "size": "size"}, "slow": slow}
    feeds = [
        {"id": name, "uri": f"landing/wide/{name}.csv", "format": "csv", "columns": columns[name]}
        for name in columns
    ]
    feeds[1] |= LANES[PINNED]
    return wide_pipeline() | {"id": KILLED, "feeds": feeds, "publish": {"table": "public.killed"}}


def wide_pipeline() -> dict[str, Any]:
    """Five feeds in each of the five lanes, one lane of them on the queue `heavy`."""
    columns = {"code": "code", "size": "size"}
    return {
        "id": WIDE,
        "roots": {"landing": "landing"},
        "staging": "staging",
        "contract": "five_lanes.odcs.yaml",
        "lanes": {PINNED: {"queue": "heavy"}},
        "workflow_mode": "parallel",
        "capacity": {"workers": 5, "memory_mb": 8192},
        "feeds": [
            {"id": name, "uri": f"landing/wide/{name}.csv", "format": "csv", "columns": columns} | terms
            for name, terms in FEEDS.items()
        ],
        "sync": {"deadline": 900, "floor": 1.0},
        "publish": {"table": "public.wide"},
    }


def write_dags(folder: Path) -> None:
    """The shipped pipeline of airports, and two of ours with the same four lines of Python."""
    folder.mkdir()
    for path in (REPOSITORY / "dags").glob(f"{DEMO}.*"):
        shutil.copy(path, folder)
    shutil.copy(REPOSITORY / "tests" / "dags" / "five_lanes.odcs.yaml", folder)
    for pipeline in (wide_pipeline(), killed_pipeline()):
        shutil.copy(REPOSITORY / "dags" / f"{DEMO}.py", folder / f"{pipeline['id']}.py")
        (folder / f"{pipeline['id']}.yaml").write_text(json.dumps(pipeline))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """The whole deployment, with its Dags; nothing runs yet."""
    write_dags(tmp_path / "dags")
    document = compose.read()
    made = Deployment(tmp_path, document, compose.made_up(document), instead=QUICKER)
    try:
        yield made
    finally:
        made.down()


def up(deployment: Deployment) -> list[str]:
    """Start all services in their order, and return those that last, healthy."""
    for name in TopologicalSorter(compose.dependencies(deployment.services)).static_order():
        deployment.start(name)
    lasting = [name for name, service in deployment.services.items() if compose.is_long_running(service)]
    for name in lasting:
        deployment.wait_until_healthy(name)
    return lasting


@dataclass(frozen=True)
class Bucket:
    """The bucket of the deployment, for somebody who has its key."""

    deployment: Deployment

    @property
    def client(self) -> Any:
        environment = self.deployment.services["s3"]["environment"]
        return boto3.client(
            "s3",
            endpoint_url=self.deployment.address("s3"),
            region_name="us-east-1",
            aws_access_key_id=environment["NANIO_ACCESS_KEY"],
            aws_secret_access_key=environment["NANIO_SECRET_KEY"],
        )

    @property
    def name(self) -> str:
        return str(self.deployment.services["s3"]["environment"]["BUCKET"])

    def deliver(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"landing/{key}", Body=data)

    def keys(self, prefix: str) -> list[str]:
        answer = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        assert not answer["IsTruncated"]
        return [item["Key"] for item in answer.get("Contents", [])]


def deliver_feeds(bucket: Bucket) -> None:
    """Send all lists of airports, and 25 feeds as large as they say: rows of their own, one that all have; and a bad one."""
    for path in (REPOSITORY / "demo" / "feeds").iterdir():
        bucket.deliver(path.name, path.read_bytes())
    for name, terms in FEEDS.items():
        own = [f"{name}-{number},1" for number in range(1, terms["usual_rows"])]
        rows = ["code,size", *own, "shared,2", "bad,-1"]
        bucket.deliver(f"wide/{name}.csv", "\n".join(rows).encode())
    for name in ("quick", "slow"):
        text = "" if name == "quick" else "k0" * (LETTERS // 2)
        own = [f"{name}-{number},1,{text}" for number in range(OWN_ROWS)]
        rows = ["code,size,text", *own, "shared,2,-", "bad,-1,-"]
        bucket.deliver(f"wide/{name}.csv", "\n".join(rows).encode())


@dataclass(frozen=True)
class Played:
    """A run that has ended: what Airflow and the store say of it."""

    state: str
    path: str
    tasks: list[dict[str, Any]]
    stored: dict[str, Any]

    def branches(self, lane: str) -> list[dict[str, Any]]:
        """The task instances that processed feeds of a lane."""
        return [
            task for task in self.tasks if task["task_id"] == f"round_1.{lane}" and task["map_index"] >= 0
        ]

    def total(self, name: str) -> int:
        """A number of rows, over all feeds."""
        return sum(feed[name] for feed in self.stored["manifest"]["feeds"])


def play(deployment: Deployment, api: AirflowApi) -> dict[str, Played]:
    """Run both Dags at the same time."""
    with psycopg.connect(deployment.database("warehouse")) as connection:
        connection.execute("CREATE SCHEMA reference")
    confs: dict[str, dict[str, Any]] = {WIDE: {}, DEMO: {"sync_deadline": 900}}
    runs = {dag_id: begun(api, dag_id, conf) for dag_id, conf in confs.items()}
    return {dag_id: ended(deployment, api, dag_id, run_id) for dag_id, run_id in runs.items()}


def begun(api: AirflowApi, dag_id: str, conf: dict[str, Any]) -> str:
    """Trigger a run."""
    api.wait_for_dag(dag_id)
    api.patch(f"/api/v2/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})
    return api.trigger(dag_id, conf)


def ended(deployment: Deployment, api: AirflowApi, dag_id: str, run_id: str) -> Played:
    """Wait for a run, and gather what is known of it."""
    state = api.wait_for_run(dag_id, run_id, seconds=900)
    with psycopg.connect(deployment.database("warehouse"), row_factory=dict_row) as connection:
        stored = connection.execute(
            "SELECT state, manifest FROM orchestration.run WHERE dag_id = %s", [dag_id]
        )
        row = stored.fetchone()
    assert row
    path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}"
    return Played(state=state, path=path, tasks=api.task_instances(dag_id, run_id), stored=row)


def rows_in(deployment: Deployment, table: str) -> int:
    """How many rows were published."""
    with psycopg.connect(deployment.database("warehouse")) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row
    return int(row[0])


def see_that_both_workers_published_both_runs(deployment: Deployment, played: dict[str, Played]) -> None:
    """The pinned lane ran on the worker of its queue and nothing else did; what each staged, the other one merged."""
    for run in played.values():
        assert ("success", "published") == (run.state, run.stored["state"])
    wide = played[WIDE]
    for lane, host in HOST_OF.items():
        queue = "heavy" if lane == PINNED else "default"
        assert [(host, queue)] * 5 == [(task["hostname"], task["queue"]) for task in wide.branches(lane)]
    others = [task for run in played.values() for task in run.tasks if task["task_id"] != f"round_1.{PINNED}"]
    assert {"worker"} == {task["hostname"] for task in others if task["hostname"]}

    kinds = ("in", "published", "superseded", "quarantined")
    assert (250, 201, 24, 25) == tuple(wide.total(f"rows_{kind}") for kind in kinds)
    assert 201 == rows_in(deployment, "public.wide")
    demo = played[DEMO]
    put = sum(demo.total(f"rows_{kind}") for kind in kinds[1:])
    assert demo.total("rows_in") == put
    assert 10252 == demo.stored["manifest"]["rows"] == rows_in(deployment, "reference.airport")


def see_that_a_killed_worker_loses_nothing(deployment: Deployment, api: AirflowApi) -> None:
    """A worker that is killed in the middle of a branch comes back, and the branch is worked on again: one more try of one task."""
    run_id = begun(api, KILLED, {})
    assert wait_until(partial(works_on, deployment, "slow"), 120, every=0.02)
    deployment.kill("worker-heavy")
    assert set() == registered(deployment, KILLED) & {"slow"}, "the worker had done it already"
    deployment.restart("worker-heavy")
    run = ended(deployment, api, KILLED, run_id)

    assert ("success", "published") == (run.state, run.stored["state"])
    again = [(task["task_id"], task["hostname"]) for task in run.tasks if task["try_number"] > 1]
    assert [(f"round_1.{PINNED}", "worker-heavy")] == again
    kinds = ("in", "published", "superseded", "quarantined")
    # Each feed has a row of no use, and one that the other has, too.
    assert (44, 41, 1, 2) == tuple(run.total(f"rows_{kind}") for kind in kinds)
    assert 41 == rows_in(deployment, "public.killed")


def works_on(deployment: Deployment, feed_id: str) -> bool:
    """Has the worker of the pinned lane fetched the feed, to work on it in a folder that is gone when it is done?"""
    return any(feed_id in path.name for path in (deployment.folder("worker-heavy") / "tmp").rglob("*"))


def registered(deployment: Deployment, dag_id: str) -> set[str]:
    """The feeds of which the store has an outcome."""
    with psycopg.connect(deployment.database("warehouse")) as connection:
        found = connection.execute(
            "SELECT feed_id FROM orchestration.feed_outcome WHERE dag_id = %s", [dag_id]
        )
        return {feed_id for (feed_id,) in found.fetchall()}


def see_that_nothing_travelled_by_disk(deployment: Deployment, bucket: Bucket) -> None:
    """Staged rows and logs lie in the bucket, and in no worker's folders."""
    staged = bucket.keys("staging/")
    for name in FEEDS:
        assert any(f"/{name}/" in key and key.endswith("-rows.parquet") for key in staged), name
    for name in filter(lambda name: compose.is_worker(deployment.services[name]), deployment.services):
        # A log is deleted when it is in the bucket, which may be a moment after the run has ended.
        folder = deployment.folder(name)
        assert wait_until(partial(is_clean, folder), 30), left_in(folder)


def is_clean(folder: Path) -> bool:
    return not left_in(folder)


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in {".parquet", ".csv", ".gz", ".log"}]


def see_that_the_ui_shows_their_logs(api: AirflowApi, wide: Played) -> None:
    """The API server, which has no folder in common with them, returns what a task of each worker wrote."""
    for lane, said in (("alpha", "16 rows in, 15 staged"), (PINNED, "10 rows in, 9 staged")):
        answer = api.get(f"{wide.path}/taskInstances/round_1.{lane}/logs/1?map_index=0")
        assert f"{said}, 1 quarantined" in json.dumps(answer["content"])


@pytest.mark.integration
def test_services_work(deployment: Deployment) -> None:
    """Started in their order all become healthy, two workers without a common disk publish two runs, a killed one does its work again, and all end when told."""
    lasting = up(deployment)
    bucket = Bucket(deployment)
    deliver_feeds(bucket)
    url = deployment.address("api-server")
    with pytest.raises(ApiError):
        AirflowApi(url, "admin", "admin").get("/api/v2/dags")
    api = AirflowApi(url, "admin", deployment.services["api-server"]["environment"]["ADMIN_PASSWORD"])
    played = play(deployment, api)
    see_that_both_workers_published_both_runs(deployment, played)
    see_that_nothing_travelled_by_disk(deployment, bucket)
    see_that_the_ui_shows_their_logs(api, played[WIDE])
    see_that_a_killed_worker_loses_nothing(deployment, api)
    assert {"healthy"} == {part["status"] for part in api.health().values()}

    of_airflow = [name for name in lasting if compose.is_of_airflow(deployment.services[name])]
    first = [name for name in of_airflow if name != "api-server"]  # the others have waited for it
    ended_with = {**deployment.stop(first), **deployment.stop(["api-server"])}
    assert dict.fromkeys(of_airflow, 0) == ended_with
    assert [] == [process for name in of_airflow for process in deployment.session(name)]
    assert [True] * 3 == [deployment.is_healthy(name) for name in ("postgres", "redis", "s3")]
