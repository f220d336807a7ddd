"""A Dag bundle whose files are the jobs of the job registry: a new tenant is a row, and not a deployment."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airflow_orchestration.bundles.job_folder import write_jobs, write_whole
from airflow_orchestration.bundles.version import RegistryVersion
from airflow_orchestration.hooks.agent_registry import open_store
from airflow_orchestration.workflow.registering import RegistryTerms

OLD_DRAFT_SECONDS = 3600
"""Ours: a version is written in seconds."""


class AgentRegistryBundle(BaseDagBundle):
    """The jobs of the job registry as Dag files, in versions: a run stays on the one that it began with.

    The dag-processor reads the folder `current`, in which only what has changed is written anew; so a job
    that has not changed has no new Dag version. A worker reads the folder of the run's version, and makes it out of
    the store when it is not there yet. It can do so only with the terms that the version was made with.
    A job that is removed has no Dag any more, and Airflow goes on with none of its runs.

    Bundles of one name on one machine share a folder: two deployments there need
    `[dag_processor] dag_bundle_storage_path` each.

    :param data: folder, or object storage URI, below which each tenant's data is.
    :param orchestration_conn_id: the Airflow connection of the store. A dag-processor resolves it as a server
        does, from the metadata database as well; a worker through its supervisor; both from the environment.
    :param shared_conn_ids: Airflow connections that every tenant may name.
    :param own_pools: whether a job that names no pool runs in the pool that is named as its tenant, which must be
        there: `airflow pools set north 8 ""`.
    """

    supports_versioning = True

    def __init__(
        self,
        *,
        data: str,
        orchestration_conn_id: str = "orchestration_default",
        shared_conn_ids: Sequence[str] = (),
        own_pools: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.terms = RegistryTerms(
            data=data,
            shared_conn_ids=shared_conn_ids,  # type: ignore[arg-type]  # a list in JSON; the terms take care of it
            orchestration_conn_id=orchestration_conn_id,
            own_pools=own_pools,
        )

    @property
    def path(self) -> Path:
        """The folder of the version; without one, the folder that follows the registry."""
        if self.version is None:
            return self.base_dir / "current"
        return self.versions_dir / str(RegistryVersion.read(self.version))

    def initialize(self) -> None:
        """Write what is not there yet."""
        if self.version is None:
            self.refresh()
        elif not self.path.is_dir():
            self._write_version(RegistryVersion.read(self.version))
        super().initialize()

    def get_current_version(self) -> BundleVersion | None:
        """The version that the files are of."""
        version = self.version or self._written_version()
        return None if version is None else BundleVersion(version=version)

    def refresh(self) -> None:
        """Bring the files to the newest version; nothing is done when they are of it."""
        if self.version is not None:
            raise ValueError(f"version {self.version} of bundle {self.name} is not to be refreshed")
        with self.lock(), open_store(self.terms) as store:
            newest = RegistryVersion.of(store.registry, self.terms)
            if str(newest) != self._written_version() or not self.path.is_dir():
                write_jobs(self.path, store.registry.jobs(newest.revision), self.terms)
                self._keep_version(newest)

    def _write_version(self, version: RegistryVersion) -> None:
        """Write a folder of its own, and put it in its place whole: others may do the same at this moment."""
        with open_store(self.terms) as store:
            known = RegistryVersion.of(store.registry, self.terms, version.revision)
            if known != version:
                raise ValueError(_other_version(known, version))
            jobs = store.registry.jobs(version.revision)
        self.versions_dir.mkdir(parents=True, exist_ok=True)
        self._remove_old_drafts()
        draft = Path(mkdtemp(prefix=f".{version}-", dir=self.versions_dir))
        try:
            draft.chmod(0o755)  # as any other folder: a task may run as another user
            write_jobs(draft, jobs, self.terms)
            draft.rename(self.path)
        except OSError:
            if not self.path.is_dir():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _remove_old_drafts(self) -> None:
        """Remove what killed processes have left, and nothing that others are writing at this moment."""
        made_before = time.time() - OLD_DRAFT_SECONDS  # noqa: TID251  # as the file system counts
        for draft in self.versions_dir.glob(".*-*"):
            with suppress(OSError):  # somebody else removed it
                if draft.stat().st_mtime < made_before:
                    shutil.rmtree(draft, ignore_errors=True)

    @property
    def _version_file(self) -> Path:
        return self.base_dir / "current.version"

    def _written_version(self) -> str | None:
        try:
            return self._version_file.read_text()
        except OSError:
            return None

    def _keep_version(self, version: RegistryVersion) -> None:
        write_whole(self._version_file, str(version).encode())


def _other_version(known: RegistryVersion, asked: RegistryVersion) -> str:
    """What to do when the files of a run's version can't be made any more."""
    if known.moment != asked.moment:
        why = "the store is not the one that the run began with; it was restored, or made anew"
    else:
        why = "the bundle's settings or the package changed since; go back to them until the run has ended"
    return (
        f"revision {known.revision} of the job registry is now version {known}, and the run began with {asked}: {why}. "
        "Or clear the run with the latest bundle version."
    )
