from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.operators.analyze_batches import AnalyzeBatchesOperator
from tests.airflow.agent_folder import load, processed, write_job

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """What Python opens and lists meanwhile; an audit hook can't be taken away, so it is made deaf."""
    opened: list[str] = []
    listening = [True]

    def note(event: str, given: tuple[object, ...]) -> None:
        if listening and event in {"open", "os.scandir", "os.listdir"}:
            opened.append(str(given[0]))

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        listening.clear()


def hook(folder: Path) -> AgentFactoryHook:
    return AgentFactoryHook(folder / "agents", data="/data", shared_conn_ids=["warehouse"])


def test_each_job_becomes_a_dag_of_its_tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`<tenant>/<job>.yaml` is the Dag `<tenant>__<job>`, with the one that repairs it beside it."""
    write_job(tmp_path, "south", "airports")
    write_job(tmp_path, "north", "airports")
    write_job(tmp_path, "north", "ports", sync={"deadline": 60, "late": "discard"})
    dags, errors = processed(tmp_path, monkeypatch)

    assert {
        "north__airports",
        "north__airports__reconcile",
        "north__ports",
        "south__airports",
        "south__airports__reconcile",
    } == dags.keys()
    assert {} == errors


def test_dag_is_as_its_specification_says(tmp_path: Path) -> None:
    """Schedule, owner, tags, params, pool, retries and docs come from the file, and a tag with the tenant's name."""
    write_job(
        tmp_path,
        "north",
        "airports",
        schedule="0 6 * * *",
        owner="north-data",
        tags=["reference"],
        params={"sync_deadline": 20, "workflow_mode": "sequential"},
        presets={},
        retries=7,
        pool="north__large",
        description="Airports of north.\n\nMore of them.",
    )
    dag = hook(tmp_path).dag("north", "airports")
    defaults = ParamsDict(dag.params).validate()

    assert "0 6 * * *" == dag.timetable.expression  # type: ignore[attr-defined]
    assert "north-data" == dag.owner
    assert {"reference", "north"} == dag.tags
    assert (20, "sequential") == (defaults["sync_deadline"], defaults["workflow_mode"])
    assert 7 == dag.get_task("analyze_batches").retries
    assert {"north__large"} == {task.pool for task in dag.tasks}
    assert "Airports of north." == dag.description
    assert "More of them." in (dag.doc_md or "")


def test_jobs_run_in_their_tenant_s_pool_where_the_deployer_says_so(tmp_path: Path) -> None:
    """With `own_pools` every task of both Dags has the pool; without, they have Airflow's."""
    write_job(tmp_path, "north", "airports")
    folder = tmp_path / "agents"
    own = AgentFactoryHook(folder, data="/data", own_pools=True).generate_dags()
    common = AgentFactoryHook(folder, data="/data").dag("north", "airports")

    assert {"north"} == {task.pool for dag in own.values() for task in dag.tasks}
    assert {"default_pool"} == {task.pool for task in common.tasks}


PRESETS = ["once", "continuous", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly"]


@pytest.mark.parametrize("schedule", [*(f"@{name}" for name in PRESETS), "0 0 29 2 *", "*/5 1-3 * * MON"])
def test_every_preset_makes_a_dag_that_can_be_scheduled(tmp_path: Path, schedule: str) -> None:
    """What is accepted, Airflow can serialize, and find the first run of."""
    write_job(tmp_path, "north", "airports", schedule=schedule)
    dag = hook(tmp_path).dag("north", "airports")
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    assert serialized.next_dagrun_info(last_automated_run_info=None)


@pytest.mark.parametrize(
    ("schedule", "told"),
    [("0 0 31 2 *", "never comes"), ("* * * * * *", "has a sixth field"), ("@never", "must be a preset")],
)
def test_a_schedule_that_airflow_stumbles_over_is_refused(tmp_path: Path, schedule: str, told: str) -> None:
    """A date that there is not would fail where all Dags get their runs, and seconds would fill it with them."""
    write_job(tmp_path, "north", "airports", schedule=schedule)
    with pytest.raises(InputRefusedError, match=f"schedule: {told}"):
        hook(tmp_path).dag("north", "airports")


def test_a_tenant_s_folders_are_no_links_to_others(tmp_path: Path) -> None:
    """The first task refuses a root, or a staging folder, that leads to another tenant's data, now or later."""
    write_job(tmp_path, "north", "airports")
    data = tmp_path / "data"
    (data / "south" / "landing").mkdir(parents=True)
    (data / "north").mkdir()
    (data / "north" / "landing").symlink_to(data / "south" / "landing")
    (data / "north" / "staging").symlink_to(data / "north")
    task = (
        AgentFactoryHook(tmp_path / "agents", data=data).dag("north", "airports").get_task("analyze_batches")
    )
    run = SimpleNamespace(conf=None, logical_date=None, run_after=datetime(2026, 11, 23, tzinfo=UTC))

    assert isinstance(task, AnalyzeBatchesOperator)
    with pytest.raises(
        AirflowFailException, match=r"1 problem.*\n.*roots\.landing: leads out of .*data/north"
    ):
        task.execute({"dag_run": run, "ti": SimpleNamespace(xcom_push=lambda **_: None)})  # type: ignore[typeddict-item,arg-type]


def test_first_task_reads_the_job_as_the_dag_did(tmp_path: Path) -> None:
    """At run time the file is read again, with the same tenancy."""
    path = write_job(tmp_path, "north", "airports")
    task = hook(tmp_path).dag("north", "airports").get_task("analyze_batches")

    assert isinstance(task, AnalyzeBatchesOperator)
    assert str(path) == task.pipeline_file
    assert task.tenancy is not None
    assert ("north", "airports", "/data", ("warehouse",)) == (
        task.tenancy.tenant,
        task.tenancy.job,
        task.tenancy.data,
        task.tenancy.shared_conn_ids,
    )


def test_bad_job_is_one_import_error_and_the_others_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of the job's file and names field and reason; the Dag file has none, so its Dags go on."""
    write_job(tmp_path, "north", "airports")
    write_job(tmp_path, "north", "bad", retries=99, max_rounds=0)
    write_job(tmp_path, "south", "foreign", pool="north")
    dags, errors = processed(tmp_path, monkeypatch)

    assert {"north__airports", "north__airports__reconcile"} == dags.keys()
    assert {"agents/north/bad.yaml", "agents/south/foreign.yaml"} == errors.keys()
    assert "job 'north/bad.yaml': 2 problems" in errors["agents/north/bad.yaml"]
    assert "max_rounds: must be greater than" in errors["agents/north/bad.yaml"]
    assert "pool: must be south, or begin with south__" in errors["agents/south/foreign.yaml"]
    assert {"agent_dags.py"} == {dag["dag"]["relative_fileloc"] for dag in dags.values()}


def test_bad_job_is_told_where_nothing_is_serialized(tmp_path: Path) -> None:
    """A `DagBag` of a user's own test, or of a command, has the error too, and the others."""
    write_job(tmp_path, "north", "airports")
    write_job(tmp_path, "north", "bad", max_rounds=0)
    bag = load(tmp_path)

    assert {"north__airports", "north__airports__reconcile"} == bag.dags.keys()
    assert ["agent_dags.py"] == list(bag.import_errors)
    assert "max_rounds" in bag.import_errors["agent_dags.py"]


@pytest.mark.parametrize("dag_id", ["north__airports", "north__airports__reconcile"])
def test_a_task_opens_its_own_job_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dag_id: str) -> None:
    """In a worker the one Dag is made from its path: a thousand others cost nothing, and can't stand in the way."""
    write_job(tmp_path, "north", "airports")
    write_job(tmp_path, "south", "airports")
    write_job(tmp_path, "south", "bad").write_text("{")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
    with opened_files() as opened:
        bag = load(tmp_path)
    own = {path for path in opened if path.startswith(str(tmp_path / "agents"))}

    assert {"north__airports", "north__airports__reconcile"} == bag.dags.keys()
    assert {str(tmp_path / "agents" / "north" / "airports.yaml")} == own


def test_a_task_of_a_job_that_became_bad_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run had begun before: the worker's import error has the problems."""
    write_job(tmp_path, "north", "airports", max_rounds=0)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "north__airports")

    assert "max_rounds" in load(tmp_path).import_errors["agent_dags.py"]


@pytest.mark.parametrize("dag_id", ["other", "north__gone", "../x", "north__..__x", "a/b__c"])
def test_tasks_of_other_dags_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dag_id: str
) -> None:
    """A Dag that somebody else makes in the same Dag file needs none of these."""
    write_job(tmp_path, "north", "airports")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)

    assert {} == hook(tmp_path).generate_dags()


def test_one_job_is_built_or_refused(tmp_path: Path) -> None:
    """`dag` raises what `generate_dags` reports."""
    write_job(tmp_path, "north", "airports", max_rounds=0)
    with pytest.raises(InputRefusedError, match="max_rounds"):
        hook(tmp_path).dag("north", "airports")
    with pytest.raises(InputRefusedError, match="can't be read"):
        hook(tmp_path).dag("north", "gone")


def test_nonsense_is_refused_when_the_hook_is_made(tmp_path: Path) -> None:
    """A relative folder of data would depend on the working directory, and a text is no list of connections."""
    with pytest.raises(ValueError, match="depends on where Airflow was started"):
        AgentFactoryHook(tmp_path, data="data")
    with pytest.raises(TypeError, match="must be a list"):
        AgentFactoryHook(tmp_path, data="/data", shared_conn_ids="warehouse")


SERIALIZE = """
import json, sys
from pathlib import Path
from airflow.serialization.serialized_objects import DagSerialization
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
made = AgentFactoryHook(Path(sys.argv[1]) / "agents", data="/data").generate_dags()
dags = {dag_id: DagSerialization.to_dict(dag) for dag_id, dag in made.items()}
for dag in dags.values():
    dag["dag"].pop("fileloc")  # where this script is; Airflow leaves it out of the hash as well
print(json.dumps(dags, sort_keys=True))  # as Airflow does for the hash
"""


def test_unchanged_jobs_make_no_new_dag_version(tmp_path: Path) -> None:
    """Serialized by two processes, with other hash seeds, from other folders filled in another order: the same bytes."""
    folders = (tmp_path / "a", tmp_path / "elsewhere" / "b")
    tenants = ["north", "south", "east"]
    running = []
    for seed, (folder, order) in enumerate(zip(folders, (tenants, tenants[::-1]), strict=True), start=1):
        for tenant in order:
            write_job(
                folder,
                tenant,
                "airports",
                tags=["one", "two", "three"],
                ask_when=["below_floor", "near_miss"],
            )
        arguments = [sys.executable, "-c", SERIALIZE, str(folder)]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        running.append(
            subprocess.Popen(arguments, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
        )
    first, second = (process.communicate(timeout=60)[0].splitlines()[-1] for process in running)

    assert first == second
    assert ["east__airports", "north__airports", "south__airports"] == list(json.loads(first))
    assert 3 == len({SerializedDagModel.hash(dag) for dag in json.loads(first).values()})


def test_no_path_is_in_a_serialized_dag(tmp_path: Path) -> None:
    """Moving the folder, or the tenants' data, changes no Dag: each version of a bundle has a folder of its own."""
    write_job(tmp_path, "north", "airports")
    dag: DAG = hook(tmp_path).dag("north", "airports")
    serialized = DagSerialization.to_dict(dag)
    serialized["dag"].pop("fileloc")

    assert str(tmp_path) not in json.dumps(serialized)
    assert '"/data' not in json.dumps(serialized)
