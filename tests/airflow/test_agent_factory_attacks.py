from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.dags.agent_factory import MAX_PATH, MAX_REFUSAL, AgentFactoryHook
from airflow_orchestration.domain.yaml_file import MAX_BYTES
from tests.airflow.agent_folder import processed, write_job

JINJA = "{{ ''.__class__.__mro__ }}{% include '/etc/passwd' %}${HOME}`id`$(id)<script>alert(1)</script>"

NAMES = [
    'no"rth',
    "no'rth",
    "north\nx",
    "{{ x }}",
    "-rf",
    "a__b",
    "North",
    "n\u043erth",
    "\u202enorth",
    "\udcff",
    "n" * 200,
    "os.system",
    "%2e%2e",
]


def test_hostile_names_of_files_are_refused_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quotes, newlines, homoglyphs, endless and undecodable names: each has its import error, and the rest loads."""
    good = write_job(tmp_path, "north", "airports").read_text()
    for name in NAMES:
        (tmp_path / "agents" / "north" / f"{name}.yaml").write_text(good)
        (tmp_path / "agents" / name).mkdir()
        (tmp_path / "agents" / name / "airports.yaml").write_text(good)
    dags, errors = processed(tmp_path, monkeypatch)

    assert {"north__airports", "north__airports__reconcile"} == dags.keys()
    assert 2 * len(NAMES) == len(errors)
    assert all("is no name" in error or "at most 63" in error for error in errors.values())
    assert all(_is_storable(path) and _is_storable(error) for path, error in errors.items())


def _is_storable(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


def test_an_error_that_no_database_takes_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown fields with NUL in their names, and thousands of them, make an error that Airflow can store."""
    path = write_job(tmp_path, "north", "bad")
    path.write_text('"a\\0b": 1\n' + "".join(f"unknown_{number}: 1\n" for number in range(5_000)))
    deep = tmp_path / "agents" / ("\u00e9" * 120)
    deep.mkdir()
    (deep / ("\U0001f600" * 60 + ".yaml")).touch()
    _, errors = processed(tmp_path, monkeypatch)

    assert 2 == len(errors)
    for path_, error in errors.items():
        assert len(path_) <= MAX_PATH + 4
        assert len(error) < MAX_REFUSAL + 1_000
        assert "\0" not in error


TEXTS: list[dict[str, Any]] = [
    {"description": JINJA},
    {"owner": JINJA},
    {"tags": [JINJA]},
    {"feeds": [{"id": "x", "uri": "landing/x.csv", "format": "csv", "columns": {"iata": JINJA}}]},
    {
        "feeds": [
            {
                "id": "x",
                "uri": "landing/x.csv",
                "format": "csv",
                "columns": {"iata": "i"},
                "quality_task": JINJA,
            }
        ]
    },
]


@pytest.mark.parametrize("changes", TEXTS)
def test_jinja_in_a_free_text_stays_a_text(tmp_path: Path, changes: dict[str, Any]) -> None:
    """No task of a job's Dag has a template field that a specification reaches, so nothing renders it."""
    write_job(tmp_path, "north", "airports", **changes)
    dag = AgentFactoryHook(tmp_path / "agents", data="/data").dag("north", "airports")
    rendered = {
        str(getattr(task, name, ""))
        for task in dag.tasks
        for name in (*task.template_fields, "map_index_template")
    }

    assert not [text for text in rendered if "__class__" in text]
    assert "north__airports" == DagSerialization.to_dict(dag)["dag"]["dag_id"]


REFUSED: list[dict[str, Any]] = [
    {"pool": JINJA},
    {"schedule": JINJA},
    {"schedule": "99 99 * * *"},
    {"schedule": "a b c d e"},
    {"sync": {"deadline": 60, "reconcile_schedule": "61 * * * *"}},
    {"contract": JINJA},
    {"roots": {"landing": JINJA}},
    {"staging": JINJA},
    {"publish": {"table": JINJA, "conn_id": "north__db"}},
    {"publish": {"table": "north.x", "conn_id": f"north__{JINJA}"}},
    {"store_conn_id": JINJA},
    {"agents": {"type": "os.system"}},
    {"class": "os.system"},
    {"params": {"batches": [{"id": JINJA}]}},
    {"tags": ["a\0"]},
    {"tags": ["x" * 101]},
    {"owner": "\x1b[2J"},
    {"id": "south__airports"},
    {"tenant": "south"},
    {"publish": {"table": "south.airport", "conn_id": "south__db"}},
]


def test_hostile_fields_are_refused_and_nobody_else_suffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is an import error of its own file, what Airflow would only find in the built Dag included."""
    for number, changes in enumerate(REFUSED):
        write_job(tmp_path, "north", f"bad{number}", **changes)
    write_job(tmp_path, "south", "airports")
    dags, errors = processed(tmp_path, monkeypatch)

    assert {"south__airports", "south__airports__reconcile"} == dags.keys()
    assert {f"agents/north/bad{number}.yaml" for number in range(len(REFUSED))} == errors.keys()


def test_a_description_names_no_file(tmp_path: Path) -> None:
    """Airflow reads a `doc_md` that ends in `.md` from the disk of the dag-processor; a job's is never read."""
    secret = tmp_path / "secret.md"
    secret.write_text("the deployer's")
    write_job(tmp_path, "north", "airports", description=str(secret))
    dag = AgentFactoryHook(tmp_path / "agents", data="/data").dag("north", "airports")

    assert "deployer" not in json.dumps(DagSerialization.to_dict(dag))
    assert f"```text\n{secret}\n```\n" in (dag.doc_md or "")


def test_a_description_is_text_and_no_markup(tmp_path: Path) -> None:
    """What a tenant writes stands in the docs of the Dag as it was written, and ends no block of text."""
    hostile = "[press](https://north.example)\n```\n![x](y) <img src=x>"
    write_job(tmp_path, "north", "airports", description=hostile)
    dag = AgentFactoryHook(tmp_path / "agents", data="/data").dag("north", "airports")
    block = (dag.doc_md or "").split("```")[1]

    assert f"text\n{hostile.replace('`', chr(39))}\n" == block


def test_ten_thousand_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant's flood costs as many errors as it may have jobs, and one more; the others load."""
    monkeypatch.setattr("airflow_orchestration.domain.job_file.MAX_JOBS_OF_TENANT", 20)
    write_job(tmp_path, "south", "airports")
    flood = tmp_path / "agents" / "north"
    flood.mkdir()
    for number in range(10_000):
        (flood / f"job{number}.yaml").touch()
    dags, errors = processed(tmp_path, monkeypatch)

    assert {"south__airports", "south__airports__reconcile"} == dags.keys()
    assert 21 == len(errors)
    assert "10000 files of 0 KiB; at most 20 files" in errors["agents/north"]


@pytest.mark.parametrize("part", ["1,", "{a,b,c,d},", "[],"])
def test_full_files_of_one_tenant_take_no_time_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Sixty files of the largest size, with as many parts as fit: the rest loads long before Airflow's 30 seconds."""
    write_job(tmp_path, "south", "airports")
    (tmp_path / "agents" / "north").mkdir()
    for number in range(60):
        path = tmp_path / "agents" / "north" / f"job{number:02}.yaml"
        path.write_text(f"feeds: [{part * (MAX_BYTES // len(part) - 6)}]")
    began = time.process_time()
    dags, errors = processed(tmp_path, monkeypatch)

    assert time.process_time() - began < 5
    assert {"south__airports", "south__airports__reconcile"} == dags.keys()
    assert "at most 500 files and 1536 KiB are loaded" in errors["agents/north"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_closed_folder_is_its_tenant_s_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant's folder that can't be read is one error, and the others load."""
    write_job(tmp_path, "south", "airports")
    write_job(tmp_path, "north", "airports")
    (tmp_path / "agents" / "north").chmod(0)
    dags, errors = processed(tmp_path, monkeypatch)
    (tmp_path / "agents" / "north").chmod(0o755)

    assert "south__airports" in dags
    assert ["agents/north"] == list(errors)
