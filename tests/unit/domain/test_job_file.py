from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_orchestration.domain import job_file, yaml_file
from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.job_file import find_job, find_jobs, read_job
from airflow_orchestration.domain.pipeline_file import PipelineFile, read_pipeline_file
from airflow_orchestration.domain.run_spec import resolve
from airflow_orchestration.domain.tenancy import Tenancy
from airflow_orchestration.exceptions import InputRefusedError

DEMO = Path(__file__).parents[3] / "dags"
SECONDS = 5.0
"""Of CPU; a quarter of one alone, and more beside the objects of other tests. What grows with the square takes minutes."""
NORTH = Tenancy(tenant="north", job="airports", data="/data")


def specification(**changes: Any) -> dict[str, Any]:
    """The demo's pipeline file as a job of north, changed; a change to None leaves the field out."""
    document = yaml.safe_load((DEMO / "airport_reference.yaml").read_text())
    own = {
        "id": None,
        "roots": {"landing": "landing"},
        "staging": "staging",
        "contract": "airports.odcs.yaml",
        "publish": {"table": "north.airport", "conn_id": "north__db"},
    }
    return {name: value for name, value in (document | own | changes).items() if value is not None}


def written(folder: Path, text: str | None = None, **changes: Any) -> Path:
    """Write the job `north/airports` with its contract; returns the path of the job."""
    (folder / "north").mkdir(exist_ok=True)
    contract = (DEMO / "airport_reference.odcs.yaml").read_text()
    (folder / "north" / "airports.odcs.yaml").write_text(contract)
    path = folder / "north" / "airports.yaml"
    path.write_text(yaml.safe_dump(specification(**changes)) if text is None else text)
    return path


def read(folder: Path, text: str | None = None, **changes: Any) -> PipelineFile:
    return read_job(written(folder, text, **changes), NORTH)


def paths_of(folder: Path, text: str | None = None, **changes: Any) -> list[str]:
    """Where the problems of a job are."""
    with pytest.raises(InputRefusedError) as refused:
        read(folder, text, **changes)
    return [problem.path for problem in refused.value.problems]


def test_place_says_who_and_what_a_job_is(tmp_path: Path) -> None:
    """Tenant, Dag id, folders and the store come from outside; agents work on it."""
    pipeline = read(tmp_path).pipeline

    assert "north__airports" == pipeline.id
    assert "north" == pipeline.tenant
    assert pipeline.agents is not None
    assert {"landing": "/data/north/landing"} == pipeline.roots
    assert "/data/north/staging" == pipeline.staging
    assert str(tmp_path / "north" / "airports.odcs.yaml") == pipeline.contract


def test_contract_beside_the_job_is_read(tmp_path: Path) -> None:
    """A job's contract is read as that of any pipeline."""
    assert ["airport"] == [contract.name for contract in read(tmp_path).read_contracts()]


def test_a_missing_contract_is_told_as_that(tmp_path: Path) -> None:
    """It is the contract that is not there, and not the file of the job."""
    found = read(tmp_path, contract="nowhere.odcs.yaml")

    with pytest.raises(InputRefusedError) as refused:
        found.read_contracts()

    assert ["contract: nowhere.odcs.yaml is not beside the job's file"] == [
        str(problem) for problem in refused.value.problems
    ]


def test_id_and_tenant_are_not_the_author_s_to_say(tmp_path: Path) -> None:
    """A file that names them is refused, beside everything else that is wrong with it."""
    assert ["id", "tenant", "max_rounds"] == paths_of(tmp_path, id="x", tenant="south", max_rounds=0)


def test_a_pipeline_file_names_no_tenant(tmp_path: Path) -> None:
    """Only the agent factory says whose a pipeline is."""
    with pytest.raises(InputRefusedError, match="tenant: is for the agent factory"):
        read_pipeline_file(written(tmp_path, id="airports", tenant="south"))


def test_what_is_another_tenant_s_is_refused(tmp_path: Path) -> None:
    """The convention is part of reading a job."""
    publish = {"table": "south.airport", "conn_id": "south__db"}

    assert ["pool", "publish.conn_id", "publish.table"] == paths_of(tmp_path, pool="south", publish=publish)


def test_store_of_the_deployer_is_taken(tmp_path: Path) -> None:
    """A job that says nothing of the store gets the one that the factory has."""
    tenancy = Tenancy(tenant="north", job="airports", data="/data", store_conn_id="the_store")

    assert "the_store" == read_job(written(tmp_path), tenancy).pipeline.store_conn_id


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"description": "a\0b"}, "description"),
        ({"tags": ["a", "b\x1b"]}, "tags[1]"),
        ({"schedule": "@never"}, "schedule"),
        ({"schedule": "0 6 * * " + ",".join("1" * 60)}, "schedule"),
        ({"schedule": "*/5 * * * * *"}, "schedule"),
        ({"sync": {"deadline": 60, "reconcile_schedule": "{{ x }}"}}, "sync.reconcile_schedule"),
        ({"class": "os.system"}, "class"),
        ({"agents": {"class_path": "os.system"}}, "agents.class_path"),
    ],
)
def test_what_would_break_the_others_is_refused(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    """A text that no database takes, or that Airflow can't read, would take the whole Dag file down."""
    assert [path] == paths_of(tmp_path, **changes)


def test_a_pool_of_the_tenant_s_own_may_be_the_default(tmp_path: Path) -> None:
    """Where the deployer says so, a job that names no pool has the one of its tenant's name."""
    tenancy = Tenancy(tenant="north", job="airports", data="/data", own_pools=True)

    assert read(tmp_path).pipeline.pool is None
    assert "north" == read_job(written(tmp_path), tenancy).pipeline.pool
    assert "north__x" == read_job(written(tmp_path, pool="north__x"), tenancy).pipeline.pool


def test_a_contract_in_the_wrong_place_is_told_apart(tmp_path: Path) -> None:
    """A data contract that is named like a job is no job with many problems, but misnamed."""
    text = (DEMO / "airport_reference.odcs.yaml").read_text()
    with pytest.raises(
        InputRefusedError, match=r"kind: a data contract is no job; name the file <name>\.odcs"
    ):
        read(tmp_path, text)


BOMB = "a: &a [x,x]\n" + "".join(f"b{n}: &b{n} [*a,*a]\n" for n in range(20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 2: aliases are not allowed"),
        ("a: " + "[" * 100_000, "nested deeper than 50"),
        ("a: " + "1:" * 100_000 + "1", "has 200001 letters"),
        ("a: !!timestamp x", "line 1: is no timestamp; put a text in quotes"),
        ("a: 1\nb: 2026-99-99", "line 2: is no timestamp"),
        ("a: !!int x", "line 1: is no int"),
        ("a: !!bool x", "line 1: is no bool"),
        ("a: !!python/name:os.system", "line 1: could not determine a constructor"),
        ("a: " + "x" * 300_000, "at most 262144 are allowed"),
        ("a: [" + "{a,b}," * 40_000 + "]", "line 1: is more than 60000 words, lists and mappings"),
        ("a: [" + "{a,b,c,d}," * 100 + "]", "is more than 702 words"),
        ("x" * 1_001 + ": 1", "has 1001 letters, at most 1000"),
    ],
)
@pytest.mark.parametrize("parser", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_hostile_yaml_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parser: Any, text: str, message: str
) -> None:
    """Bombs, depth, endless numbers and tags are refused with their line, by both parsers, within a second."""
    monkeypatch.setattr(yaml_file, "PARSER", parser)
    monkeypatch.setattr(yaml_file, "_StrictLoader", yaml_file.strict_loader(parser))
    began = time.process_time()
    with pytest.raises(InputRefusedError, match=message):
        read(tmp_path, text)

    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"a{number:05}: 1\n" for number in range(26_000)),
        "feeds:\n" + "- {z:  1}\n" * 11_000,
        "feeds: [" + "{zz: 1}," * 14_000 + "]",
        "datasets:\n  " + "k" * 1_000 + ":\n" + "".join(f"    a{number:04}: 1\n" for number in range(9_000)),
        "description: [" + '"\\0",' * 43_000 + "]",
    ],
    ids=["keys", "items", "flow", "long key", "control characters"],
)
def test_a_full_file_of_problems_is_refused_at_once(tmp_path: Path, text: str) -> None:
    """Whatever is wrong in each line of the largest file, its error is short, and there within seconds."""
    began = time.process_time()
    with pytest.raises(InputRefusedError) as refused:
        read(tmp_path, text)

    assert time.process_time() - began < SECONDS
    assert len(str(refused.value)) < 1_500_000


def test_thousands_of_feeds_with_an_unknown_root_make_a_short_error(tmp_path: Path) -> None:
    """What the fields get wrong among themselves is told as shortly, and not with thousands of names each."""
    feed = {"uri": "x/y.csv", "format": "csv"}
    with pytest.raises(InputRefusedError) as refused:
        read(
            tmp_path,
            roots={f"{'r' * 30}{number}": "a" for number in range(2_000)},
            feeds=[{"id": f"f{number}", "columns": {"iata": "a"}, **feed} for number in range(1_500)],
        )

    assert "'x' is no declared root; these are: rrrr" in str(refused.value)
    assert "1400 more problems are not shown" in str(refused.value)
    assert len(str(refused.value)) < 100_000


def test_links_that_leave_are_refused(tmp_path: Path) -> None:
    """A job, a contract or a tenant's folder that is a link to somewhere else is not followed."""
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(yaml.safe_dump(specification()))
    path = written(tmp_path)
    contract = path.with_name("airports.odcs.yaml")
    contract.rename(tmp_path / "elsewhere.odcs.yaml")
    contract.symlink_to(tmp_path / "elsewhere.odcs.yaml")
    (tmp_path / "north" / "linked.yaml").symlink_to(elsewhere)
    (tmp_path / "south").symlink_to(tmp_path / "north")

    assert "is a link to a folder elsewhere" in (find_job(tmp_path, "south", "airports").problem or "")
    with pytest.raises(InputRefusedError, match="contract: is a link to a file elsewhere"):
        read_job(path, NORTH)
    with pytest.raises(InputRefusedError, match="is a link to a file elsewhere"):
        read_job(tmp_path / "north" / "linked.yaml", NORTH)


def test_links_of_a_mounted_config_map_are_followed(tmp_path: Path) -> None:
    """A file that is a link to one beside it is read: Kubernetes mounts a ConfigMap so."""
    path = written(tmp_path)
    (tmp_path / "north" / "..data").mkdir()
    path.rename(tmp_path / "north" / "..data" / "airports.yaml")
    path.symlink_to(tmp_path / "north" / "..data" / "airports.yaml")

    assert "north__airports" == read_job(path, NORTH).pipeline.id


def test_a_pipe_does_not_hold_the_parse(tmp_path: Path) -> None:
    """A place that is no file is refused without being opened."""
    path = written(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputRefusedError, match="is no file"):
        read_job(path, NORTH)


def test_folder_is_read_as_users_expect(tmp_path: Path) -> None:
    """Jobs by tenant and name; what was meant to be one is told; contracts, notes and hidden files are left alone."""
    written(tmp_path)
    for name in (
        "outside.yaml",
        "README.md",
        ".hidden.yaml",
        "north/b.yml",
        "north/.c.yaml",
        "north/notes.txt",
    ):
        (tmp_path / name).write_text("")
    for folder in ("north/deep", "__pycache__", ".git"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("")
    (tmp_path / "north" / "deep" / "d.yaml").write_text("")

    assert [
        ("north", "airports", None),
        ("north", "b", "must end in .yaml; rename it"),
        ("", "outside", "stands in no tenant's folder; move it to <tenant>/<job>.yaml"),
    ] == [(found.tenant, found.job, found.problem) for found in find_jobs(tmp_path)]


def test_one_tenant_can_t_take_the_places_of_the_others(tmp_path: Path) -> None:
    """Of 10,000 files of one tenant the first are named and one problem for the rest; the others are all there."""
    (tmp_path / "big").mkdir()
    for number in range(10_000):
        (tmp_path / "big" / f"job{number:05}.yaml").touch()
    written(tmp_path)
    found = find_jobs(tmp_path)

    assert job_file.MAX_JOBS_OF_TENANT + 2 == len(found)
    assert ("north", "airports") == (found[-2].tenant, found[-2].job)
    assert "tenant 'big' has 10000 files of 0 KiB; at most 500 files" in (found[-1].problem or "")
    assert "from 'job00500.yaml' on" in (found[-1].problem or "")


def test_a_folder_has_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more jobs than a Dag file has time for, the first of each tenant are loaded, and one problem names the rest."""
    monkeypatch.setattr(job_file, "MAX_JOBS", 6)
    for tenant, jobs in {"a": 9, "b": 9, "c": 1, "d": 9}.items():
        (tmp_path / tenant).mkdir()
        for number in range(jobs):
            (tmp_path / tenant / f"job{number}.yaml").touch()
    found = find_jobs(tmp_path)

    assert ["a/job0", "a/job1", "b/job0", "b/job1", "c/job0", "d/job0", "/"] == [
        f"{job.tenant}/{job.job}" for job in found
    ]
    assert "the folder has 28 files of 0 KiB; at most 6 files" in (found[-1].problem or "")
    assert "from 'a/job2.yaml', 'b/job2.yaml', 'd/job1.yaml' on" in (found[-1].problem or "")


def test_no_more_is_read_than_there_is_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are counted before any is read, for a tenant and for the folder; what can't be read counts nothing."""
    monkeypatch.setattr(job_file, "MAX_YAML", 1_000)
    monkeypatch.setattr(job_file, "MAX_YAML_OF_TENANT", 500)
    sizes = {"a": [100, 300_000, 300, 200, 1], "b": [460], "c": [90] * 5, "d": []}
    for tenant, each in sizes.items():
        (tmp_path / tenant).mkdir()
        for number, size in enumerate(each):
            (tmp_path / tenant / f"job{number}.yaml").write_bytes(b"#" * size)
    found = find_jobs(tmp_path)

    assert ["a/job0", "a/job1", "b/job0", "c/job0", "c/job1", "c/job2", "c/job3", "a/", "/"] == [
        f"{job.tenant}/{job.job}" for job in found
    ]
    assert "left out are those from 'job3.yaml' on" in (found[-2].problem or "")
    assert "left out are those from 'a/job2.yaml', 'c/job4.yaml' on" in (found[-1].problem or "")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong path is no empty folder."""
    with pytest.raises(InputRefusedError, match="nowhere: 1 problem"):
        find_jobs(tmp_path / "nowhere")


def test_params_hold_for_a_run_that_says_nothing(tmp_path: Path) -> None:
    """A scheduled run takes the file's params; what a run's conf says comes first."""
    found = read(tmp_path, params={"sync_deadline": 20, "batches": [{"id": "airportsdata"}]})
    contracts = found.read_contracts()
    scheduled = resolve(found.pipeline, contracts, read_conf(None), date(2026, 1, 1))
    triggered = resolve(found.pipeline, contracts, read_conf({"sync_deadline": 10}), date(2026, 1, 1))

    assert 20 == scheduled.pipeline.sync.deadline
    assert ["airportsdata"] == list(scheduled.feeds)
    assert 10 == triggered.pipeline.sync.deadline
    assert ["airportsdata"] == list(triggered.feeds)


def test_params_stay_inside_the_bounds_of_the_file(tmp_path: Path) -> None:
    """What conf may not ask for, params may not either."""
    assert ["params.batches[0].id", "params.batches", "params.sync_floor"] == paths_of(
        tmp_path, params={"batches": [{"id": "nobody"}], "sync_floor": 0.01}
    )
