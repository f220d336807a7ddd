"""What is let into the job registry: what passes the checks that the bundle's Dag files make, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from airflow_orchestration.domain.job_file import MAX_JOBS_OF_TENANT, read_job
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import contract_problems
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.registry import JobChange, Registry
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms, register, unregister
from tests.registered_jobs import CONTRACT, TERMS, specification, texts


def no_problems(_: Pipeline) -> Iterator[Problem]:
    yield from ()


@pytest.fixture
def registry() -> Registry:
    """An empty registry."""
    return MemoryStore(lambda: datetime(2026, 11, 23, tzinfo=UTC)).registry


def put(
    registry: Registry, given: JobTexts, tenant: str = "north", job: str = "sales", **changes: Any
) -> JobChange:
    known: dict[str, Any] = {"changed_by": "a", "schedule_problems": no_problems, **changes}
    return register(registry, TERMS, tenant, job, given, **known)


def files_of(registry: Registry) -> tuple[tuple[str, str], ...]:
    (found,) = registry.jobs()
    return found.files


def refusal(registry: Registry, given: JobTexts, *names: str, **changes: Any) -> str:
    with pytest.raises(InputRefusedError) as refused:
        put(registry, given, *names, **changes)
    assert 0 == registry.revision()
    return str(refused.value)


def test_a_job_is_kept_as_it_was_written(registry: Registry) -> None:
    """The texts are kept to the letter, under the names that they are read by."""
    given = JobTexts(specification=f"# mine\r\n{specification()}", contract=CONTRACT)
    kept = put(registry, given)
    assert (("sales.yaml", given.specification), ("sales.odcs.yaml", CONTRACT)) == files_of(registry)
    assert ("north__sales", "a", 1) == (kept.dag_id, kept.changed_by, kept.revision)


def test_all_problems_are_told_at_once(registry: Registry) -> None:
    """Of the specification with those of its tenancy, and of a contract whose specification is refused."""
    told = refusal(
        registry,
        JobTexts(
            specification=specification(publish={"table": "south.sales"}, staging="../south"),
            contract="kind: DataContract\nname: [",
        ),
    )
    assert "3 problems; nothing was changed" in told
    assert all(part in told for part in ("sales.yaml publish.table", "sales.yaml staging", "contract"))


def test_specification_and_contract_must_agree(registry: Registry) -> None:
    """A contract that is fine by itself, but not this job's, is refused as it would be in a folder."""
    told = refusal(registry, texts(merge={"strategy": "vote", "tolerance": {"weight": 1}}))
    assert "weight" in told


@pytest.mark.parametrize(
    ("tenant", "job"),
    [("north", "a__b"), ("..", "sales"), ("north", "../sales"), ("North", "sales"), ("north", "s" * 60)],
)
def test_names_are_checked_before_anything_is_written(registry: Registry, tenant: str, job: str) -> None:
    """A name that is no part of a Dag's id is refused with what to write instead."""
    assert "letters" in refusal(registry, texts(), tenant, job)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("a: &a [x]\nb: *a\n", "aliases are not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", "python/object"),
        ("staging: s\nstaging: t\n", "stands twice"),
        ("\x00", "sales.yaml"),
        ("\x1b]0;x\x07", "sales.yaml"),
        ("\udc80", "sales.yaml"),
        ("x: " + "y" * 300_000, "at most 262144"),
        ("agents: {type: os.system}\n", "agents.type: is not a known field"),
        ("class: os.system\n", "class: is not a known field"),
        ('owner: "a\\u0007"\n', "owner"),
        ('"\\e[2J": 1\n', r"\x1b[2J: is not a known field"),
        ("tenant: south\n", "tenant"),
    ],
)
def test_hostile_texts_are_refused(registry: Registry, bad: str, told: str) -> None:
    """Bombs, tags, class paths, control characters and unfit text never come in."""
    assert told in refusal(registry, JobTexts(specification=specification() + bad, contract=CONTRACT))


def test_a_hostile_contract_is_refused(registry: Registry) -> None:
    """The contract is read by the same strict reader, and is named when it is at fault."""
    given = JobTexts(specification=specification(), contract=CONTRACT + "x: &a [1]\ny: *a\n")
    assert "sales.odcs.yaml: line 13: aliases" in refusal(registry, given)


@pytest.mark.parametrize("character", [r"\0", r"\e"])
def test_a_contract_holds_no_control_characters(registry: Registry, character: str) -> None:
    """They would come as far as the database of the target, or somebody's terminal."""
    given = JobTexts(
        specification=specification(), contract=CONTRACT.replace("id: sales", f'id: "s{character}"')
    )
    assert "sales.odcs.yaml id: holds a control character" in refusal(registry, given)


def test_a_large_job_is_checked_in_no_time(tmp_path: Path) -> None:
    """Feeds are looked up, and not looked for: as many as fit into a file cost as little as they are."""
    feed = {"uri": "landing/a.csv", "format": "csv", "columns": {"code": "code"}}
    feeds = [{"id": f"s{number}", **feed} for number in range(2500)]
    (tmp_path / "sales.yaml").write_text(specification(feeds=feeds))
    (tmp_path / "sales.odcs.yaml").write_text(CONTRACT)
    found = read_job(tmp_path / "sales.yaml", TERMS.of_job("north", "sales"))
    contracts = read_contracts(found.contract_path)
    begun = process_time()
    assert [] == list(contract_problems(found.pipeline, contracts))
    assert 0.3 > process_time() - begun


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"data": "data"}, "data: must be the full path"),
        ({"data": None}, "data: must be the full path"),
        ({"shared_conn_ids": "orchestration_default"}, "shared_conn_ids: must be a list"),
        ({"shared_conn_ids": [1]}, "shared_conn_ids: must be a list"),
    ],
)
def test_terms_that_can_not_be_meant_are_refused(terms: dict[str, Any], told: str) -> None:
    """A text's letters are no connections, and a path must not depend on where Airflow was started."""
    with pytest.raises(InputRefusedError, match=told):
        RegistryTerms(**{"data": "/data", **terms})
    assert ("a", "b") == RegistryTerms(data="s3://b", shared_conn_ids=["a", "b"]).shared_conn_ids


@pytest.mark.parametrize(
    "name", ["../sales.odcs.yaml", "evil.py", ".airflowignore", "sales.yaml", "/etc/passwd"]
)
def test_a_contract_is_nothing_but_a_contract(registry: Registry, name: str) -> None:
    """Its name can't lead elsewhere, and can't be that of a file that Airflow runs or obeys."""
    assert "sales.yaml contract: must be a file beside" in refusal(registry, texts(contract=name))


def test_templates_stay_texts(registry: Registry) -> None:
    """Jinja in a text is kept as it is; nobody renders it here."""
    put(registry, texts(description="{{ 7*191 }}"))
    assert "{{ 7*191 }}" in dict(files_of(registry))["sales.yaml"]


def test_airflow_has_a_word_on_schedules(registry: Registry) -> None:
    """A schedule that no Dag can be built with is refused at the door."""
    found = [Problem(code=ProblemCode.BAD_FORMAT, path="schedule", message="Airflow can't read it")]
    told = refusal(registry, texts(), schedule_problems=lambda _: found)
    assert "sales.yaml schedule: Airflow can't read it" in told


@pytest.mark.parametrize("who", ["", "a" * 201, "a\nb", "\x1b[31m"])
def test_who_changes_it_is_a_name(registry: Registry, who: str) -> None:
    """History is not made unreadable by a name."""
    assert "changed_by" in refusal(registry, texts(), changed_by=who)


def test_one_tenant_has_no_room_for_any_number(registry: Registry) -> None:
    """At the limit a tenant can change its jobs, and bring a new one only for another; others are not concerned."""
    for number in range(MAX_JOBS_OF_TENANT):
        registry.put("north", f"job{number}", [("x.yaml", "")], changed_by="a")
    with pytest.raises(InputRefusedError, match="has 500 jobs, at most 500 are kept"):
        put(registry, texts())
    assert 501 == put(registry, texts(), job="job7").revision
    assert 502 == put(registry, texts("south"), "south").revision
    unregister(registry, "north", "job1", changed_by="a")
    assert 504 == put(registry, texts()).revision


def test_an_unknown_job_can_not_be_removed(registry: Registry) -> None:
    """The message says how to see what is there."""
    put(registry, texts())
    assert unregister(registry, "north", "sales", changed_by="a").is_removed
    with pytest.raises(InputRefusedError, match="agents list"):
        unregister(registry, "north", "sales", changed_by="a")
