"""The bundle that turns revisions of the job registry into Dag files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from airflow.dag_processing.bundles.base import BundleVersion
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.bundles.agent_registry import AgentRegistryBundle
from airflow_orchestration.bundles.version import RegistryVersion
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.domain.job_file import find_job
from airflow_orchestration.domain.yaml_file import MAX_BYTES
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.hooks.agent_registry import keep_job, registry_terms
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.workflow.registering import JobTexts
from tests.registered_jobs import (
    CONTRACT,
    TERMS,
    bundle_setting,
    connect_airflow,
    only_in_airflows_database,
    store_of,
    texts,
)

SALES = {"north__sales/north/sales.yaml", "north__sales/north/sales.odcs.yaml", "north__sales.py"}
STOCK = {"east__stock/east/stock.yaml", "east__stock/east/sales.odcs.yaml", "east__stock.py"}


@pytest.fixture
def store(migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """The store that Airflow knows as `orchestration_default`; bundles are kept in a folder of the test."""
    connect_airflow(migrated, monkeypatch)
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    with store_of(migrated) as opened:
        yield opened


def bundle(version: str | None = None) -> AgentRegistryBundle:
    """The bundle as Airflow makes it from its setting."""
    made = DagBundlesManager().get_bundle("registry", version)
    assert isinstance(made, AgentRegistryBundle)
    made.initialize()
    return made


def version(store: PostgresStore, revision: int) -> str:
    """What Airflow keeps with a run that began with a revision."""
    return str(RegistryVersion.of(store.registry, registry_terms(), revision))


def of_revision(store: PostgresStore, revision: int) -> AgentRegistryBundle:
    return bundle(version(store, revision))


def keep(store: PostgresStore, tenant: str, job: str, **changes: Any) -> int:
    return keep_job(TERMS, store.registry, tenant, job, texts(tenant, **changes), changed_by="a").revision


def files(of: AgentRegistryBundle) -> set[str]:
    return {str(path.relative_to(of.path)) for path in of.path.rglob("*") if path.is_file()}


def times(of: AgentRegistryBundle) -> dict[str, int]:
    return {name: (of.path / name).stat().st_mtime_ns for name in files(of)}


def dags(of: AgentRegistryBundle) -> DagBag:
    return DagBag(dag_folder=str(of.path), bundle_path=of.path, bundle_name=of.name)


def test_a_revision_is_a_folder_of_dag_files(store: PostgresStore) -> None:
    """Each job has its specification, its contract and a loader; Airflow finds the Dags, and runs nothing else."""
    keep(store, "north", "sales")
    keep(store, "east", "stock", description='{{ 7*191 }} {data!r} %s \'"""')
    found = of_revision(store, 2)
    assert SALES | STOCK == files(found)
    bag = dags(found)
    assert ({}, {"north__sales", "east__stock"}) == (bag.import_errors, set(bag.dags))
    assert all("{{" not in (found.path / name).read_text() for name in files(found) if name.endswith(".py"))


def test_the_deployer_s_pools_reach_the_dags(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bundle is told of pools holds for each job that names none."""
    keep(store, "north", "sales")
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", bundle_setting(own_pools=True))
    found = of_revision(store, 1)

    assert {"north"} == {task.pool for task in dags(found).dags["north__sales"].tasks}


def test_a_version_stays_what_it_was(store: PostgresStore) -> None:
    """Later changes reach the folder that follows the registry, and no version that was there before."""
    keep(store, "north", "sales", description="old")
    old, followed = of_revision(store, 1), bundle()
    keep(store, "north", "sales", description="new")
    keep(store, "east", "stock")
    followed.refresh()
    old.initialize()

    assert [version(store, 1), version(store, 3)] == [
        known.version for known in (old.get_current_version(), followed.get_current_version()) if known
    ]
    assert (SALES, SALES | STOCK) == (files(old), files(followed))
    assert "old" in (old.path / "north__sales/north/sales.yaml").read_text()
    assert "new" in (followed.path / "north__sales/north/sales.yaml").read_text()
    assert files(of_revision(store, 3)) == files(followed)
    assert SALES == files(of_revision(store, 2))


def test_what_did_not_change_is_not_read_again(store: PostgresStore) -> None:
    """A change gives its own loader a new time, for the dag-processor to see, and touches no other job's file."""
    keep(store, "north", "sales")
    keep(store, "east", "stock")
    followed = bundle()
    before = times(followed)
    keep(store, "north", "sales", description="new")
    followed.refresh()
    after = times(followed)
    changed = {name for name in after if after[name] != before[name]}
    assert {"north__sales/north/sales.yaml", "north__sales.py"} == changed


def test_contracts_of_one_name_stay_apart(store: PostgresStore) -> None:
    """Two jobs of a tenant may call different contracts by one name: each is read with its own."""
    given = texts()
    for job, name in (("sales", "Sales"), ("stock", "Stock")):
        own = JobTexts(specification=given.specification, contract=CONTRACT.replace("Sales", name))
        keep_job(TERMS, store.registry, "north", job, own, changed_by="a")
    hooks = {
        job: AgentFactoryHook(
            bundle().path / f"north__{job}", data="/data", shared_conn_ids=TERMS.shared_conn_ids
        )
        for job in ("sales", "stock")
    }
    found = {
        job: hook.read(find_job(hook.folder, "north", job)).contract_path.read_text()
        for job, hook in hooks.items()
    }
    assert [CONTRACT, CONTRACT.replace("Sales", "Stock")] == list(found.values())


def test_a_removed_job_leaves_nothing(store: PostgresStore) -> None:
    """Its files go, and its folder with the last of them; a version that had it has it still."""
    keep(store, "north", "sales")
    keep(store, "east", "stock")
    followed = bundle()
    store.registry.remove("north", "sales", changed_by="a")
    followed.refresh()
    assert STOCK == files(followed)
    assert not (followed.path / "north__sales").exists()
    assert SALES | STOCK == files(of_revision(store, 2))


def test_another_tenants_change_makes_no_new_dag_version(store: PostgresStore) -> None:
    """What Airflow compares to see whether a Dag has changed is the same in every folder that has the job."""
    keep(store, "north", "sales")
    of_revision(store, 1)
    keep(store, "east", "stock")
    folders = [of_revision(store, 1), of_revision(store, 2), bundle()]
    found = [
        SerializedDagModel.hash(DagSerialization.to_dict(dags(folder).dags["north__sales"]))
        for folder in folders
    ]
    assert 1 == len(set(found))


def test_many_may_write_a_version_at_once(store: PostgresStore) -> None:
    """Whoever comes second finds the folder whole; no drafts are left."""
    for number in range(10):
        keep(store, "north", f"sales{number}")
    start = Barrier(6, timeout=30)

    def work(make: Callable[[], AgentRegistryBundle]) -> set[str]:
        start.wait()
        return files(make())

    asked = version(store, 10)
    makers: list[Callable[[], AgentRegistryBundle]] = [lambda: bundle(asked)] * 3 + [bundle] * 3
    with ThreadPoolExecutor(len(makers)) as pool:
        assert [30] * 6 == [len(found) for found in pool.map(work, makers)]
    assert [asked] == [path.name for path in bundle(asked).versions_dir.iterdir()]


def test_what_killed_processes_left_is_removed(store: PostgresStore) -> None:
    """A version that is written takes old drafts away, and none that somebody may be writing at this moment."""
    keep(store, "north", "sales")
    asked = version(store, 1)
    folder = bundle(asked).versions_dir
    old, new = (folder / f".{asked}-{name}" for name in ("old", "new"))
    for draft in (old, new):
        (draft / "north__sales").mkdir(parents=True)
    os.utime(old, (0, 0))
    keep(store, "north", "stock")
    of_revision(store, 2)
    assert (False, True) == (old.exists(), new.exists())


def test_a_connection_of_airflows_database_is_found(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dag-processor, which is one of Airflow's servers, finds what was added under Admin, Connections."""
    keep(store, "north", "sales")
    with only_in_airflows_database(monkeypatch):
        assert SALES == files(bundle())


def test_a_worker_that_has_the_version_asks_nobody(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first task of a revision on a machine needs the store."""
    keep(store, "north", "sales")
    old, empty = version(store, 1), version(store, 0)
    bundle(old)
    monkeypatch.delenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT")
    assert SALES == files(bundle(old))
    with pytest.raises(InputRefusedError, match="orchestration_default"):
        bundle(empty)


def test_what_was_never_let_in_is_left_out(store: PostgresStore, tmp_path: Path) -> None:
    """Rows that somebody wrote past the checks become no files, and keep nobody else from theirs."""
    evil = "raise SystemExit"
    for tenant, job, name, text in (
        ("../..", "sales", "sales.yaml", evil),
        ("north", "../x", "../x.yaml", evil),
        ("north", "stock", "evil.py", evil),
        ("north", "prices", ".airflowignore", evil),
        ("north", "costs", "../../evil.odcs.yaml", evil),
        ("north'); import os #", "sales", "sales.yaml", evil),
        ("north", "archive", "archive.yaml", "PK\x05\x06"),
        ("north", "large", "large.yaml", "é" * (MAX_BYTES // 2 + 1)),
    ):
        store.registry.put(tenant, job, [(name, text)], changed_by="a")
    keep(store, "north", "sales")
    found = of_revision(store, 9)
    assert SALES == files(found)
    assert not list(tmp_path.rglob("*evil*"))
    assert {"north__sales"} == set(dags(found).dags)


def test_a_job_that_is_refused_today_harms_no_other(store: PostgresStore) -> None:
    """What an older package let in and this one does not is an import error of its own loader."""
    store.registry.put("east", "stock", [("stock.yaml", "staging: s")], changed_by="a")
    keep(store, "north", "sales")
    bag = dags(of_revision(store, 2))
    assert {"north__sales"} == set(bag.dags)
    assert ["east__stock.py"] == [Path(name).name for name in bag.import_errors]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("text", ["7", "x", "../..", "1-empty-0f3a5c77/..", "1-empty-0f3a5c77\n"])
def test_a_text_that_is_no_version_is_an_error(text: str) -> None:
    """What Airflow kept with a run leads to no other folder."""
    with pytest.raises(ValueError, match="is no version of the job registry"):
        bundle(text)


def test_a_revision_that_never_was_is_an_error(store: PostgresStore) -> None:
    """A folder is made only for a revision that the registry has, of the same moment.

    A store that was restored or made anew counts from an earlier number again: its revision 1 is another one.
    """
    keep(store, "north", "sales")
    known = RegistryVersion.of(store.registry, registry_terms())
    with pytest.raises(KeyError, match="no revision 7"):
        bundle(str(replace(known, revision=7)))
    with pytest.raises(ValueError, match=r"began with 1-20251123T000000000000.*: the store is not the one"):
        bundle(str(replace(known, moment="20251123T000000000000")))
    with pytest.raises(ValueError, match="-0f3a5c77: the bundle's settings or the package changed"):
        bundle(str(replace(known, checksum="0f3a5c77")))


def test_other_terms_are_other_files(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployer who moves the data reaches the Dags at once, without a change in the registry."""
    keep(store, "north", "sales")
    before = [of_revision(store, 1), bundle()]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", bundle_setting(data="/moved"))
    after = [of_revision(store, 1), bundle()]
    assert before[0].path != after[0].path
    assert before[1].path == after[1].path
    loaders = [(one.path / "north__sales.py").read_text() for one in (before[0], *after)]
    assert [False, True, True] == ["'/moved'" in loader for loader in loaders]


def test_a_version_is_not_refreshed(store: PostgresStore) -> None:
    """Only the folder that follows the registry is."""
    keep(store, "north", "sales")
    with pytest.raises(ValueError, match="of bundle registry is not to be refreshed"):
        of_revision(store, 1).refresh()


def test_an_empty_registry_is_a_bundle_without_dags(store: PostgresStore) -> None:
    """Revision 0 has a folder, so that Airflow finds nothing wrong."""
    found = bundle()
    assert (
        BundleVersion(version=str(RegistryVersion.of(store.registry, registry_terms(), 0))),
        set(),
        True,
    ) == (
        found.get_current_version(),
        files(found),
        found.path.is_dir(),
    )


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("[]", "has no airflow_orchestration.bundles"),
        (bundle_setting(data="data"), "kwargs.data: must be the full path"),
        (bundle_setting(shared_conn_ids="orchestration_default"), "kwargs.shared_conn_ids: must be a list"),
        (json.dumps(json.loads(bundle_setting()) * 2), "there is one job registry"),
    ],
)
def test_the_terms_are_those_of_the_bundle(monkeypatch: pytest.MonkeyPatch, setting: str, told: str) -> None:
    """Commands, REST and operators take them from the same setting, and say what is missing there."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", bundle_setting())
    assert TERMS == registry_terms()
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", setting)
    with pytest.raises(InputRefusedError, match=told):
        registry_terms()


def test_nobody_brings_jobs_in_multi_team_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new job would be of no team, and so everybody's."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", bundle_setting())
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    with pytest.raises(InputRefusedError, match=r"multi_team.*\n.*knows no teams"):
        registry_terms()
