"""A Dag bundle whose files are the jobs of the registry: a new tenant is a row, and not a deployment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airflow_orchestration.bundles.job_folder import write_jobs
from airflow_orchestration.bundles.version import RegistryVersion
from airflow_orchestration.hooks.agent_registry import open_store
from airflow_orchestration.workflow.registering import RegistryTerms


class AgentRegistryBundle(BaseDagBundle):
    """The jobs of the registry as Dag files, in versions: a run stays on the revision that it began with.

    The dag-processor reads the folder `current`, in which only what has changed is written anew; so a job
    that has not changed is not even read again, and has no new Dag version. A worker reads the folder of the
    run's revision, and asks the store for it only when it is not there yet.

    Bundles of one name on one machine share a folder: two deployments there need
    `[dag_processor] dag_bundle_storage_path` each.

    :param data: folder, or object storage URI, below which each tenant's data is.
    :param orchestration_conn_id: the Airflow connection of the store. A dag-processor resolves it as a server
        does, from the metadata database as well; a worker through its supervisor; both from the environment.
    :param shared_conn_ids: Airflow connections that every tenant may name.
    """

    supports_versioning = True

    def __init__(
        self,
        *,
        data: str,
        orchestration_conn_id: str = "orchestration_default",
        shared_conn_ids: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.terms = RegistryTerms(
            data=data,
            shared_conn_ids=tuple(shared_conn_ids),
            orchestration_conn_id=orchestration_conn_id,
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
        """Bring the files to the newest revision; nothing is done when there is no newer one."""
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
            if known.moment != version.moment:
                raise ValueError(f"the registry's revision {known.revision} is {known}, and not {version}")
            jobs = store.registry.jobs(version.revision)
        self.versions_dir.mkdir(parents=True, exist_ok=True)
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

    @property
    def _version_file(self) -> Path:
        return self.base_dir / "current.version"

    def _written_version(self) -> str | None:
        try:
            return self._version_file.read_text()
        except OSError:
            return None

    def _keep_version(self, version: RegistryVersion) -> None:
        draft = self._version_file.with_name(f"{self._version_file.name}.{os.getpid()}")
        draft.write_text(str(version))
        draft.replace(self._version_file)
