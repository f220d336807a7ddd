"""What Airflow is told when it runs in the local stack."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo.ports import HOST
from demo.postgres import EmbeddedPostgres

USER = "admin"
METADATA_DATABASE = "airflow"
WAREHOUSE_DATABASE = "warehouse"
OPERATIONS_DATABASE = "operations"
"""The database of an application, which the flights are read from."""
TENANTS_FOLDER = "tenants"
"""Below the home folder: the data of each tenant, in a folder of its name."""
DAG_REFRESH_SECONDS = 2
INHERITED_BUT_UNWANTED = ("AIRFLOW", "PYTHONDONTWRITEBYTECODE")


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Random for each home folder, and kept there in a file that only its owner can read."""

    admin_password: str = field(default_factory=lambda: secrets.token_hex(8))
    api_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(64))
    fernet_key: str = field(default_factory=_fernet_key)

    @classmethod
    def of(cls, home: Path) -> Secrets:
        """The secrets of a home folder; the first call makes them up."""
        path = home / "secrets.json"
        if not path.exists():
            write_private(path, json.dumps(asdict(cls()), indent=2))
        return cls(**json.loads(path.read_text()))


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that Airflow's settings depend on."""

    home: Path
    port: int
    dags_folders: Sequence[Path]
    extra_env: Mapping[str, str]

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def passwords_file(self) -> Path:
        return self.airflow_home / "passwords.json"

    def write_files(self) -> None:
        """Write what Airflow reads from files; a present airflow.cfg keeps it from writing one of its own."""
        self.airflow_home.mkdir(parents=True, exist_ok=True)
        (self.airflow_home / "airflow.cfg").write_text("# All settings come from the environment.\n")
        write_private(self.passwords_file, json.dumps({USER: Secrets.of(self.home).admin_password}))

    def environment(self, postgres: EmbeddedPostgres) -> dict[str, str]:
        """The whole environment for `airflow` commands and for Dags; needs a running PostgreSQL."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(INHERITED_BUT_UNWANTED)}
        return inherited | self._general() | self._speed() | self._access(postgres) | dict(self.extra_env)

    def _general(self) -> dict[str, str]:
        url = f"http://localhost:{self.port}"
        return {
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folders[0]),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(self._bundles()),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(self.airflow_home / "dag_bundles"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": f"localhost,{HOST}",
            "no_proxy": f"localhost,{HOST}",
        }

    def _speed(self) -> dict[str, str]:
        """Small and quick to react: made for one person on a laptop."""
        return {
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        }

    def _access(self, postgres: EmbeddedPostgres) -> dict[str, str]:
        keys = Secrets.of(self.home)
        return {
            "AIRFLOW_CONN_FLIGHT_OPERATIONS": postgres.airflow_connection(OPERATIONS_DATABASE),
            "AIRFLOW_CONN_ORCHESTRATION_DEFAULT": postgres.airflow_connection(WAREHOUSE_DATABASE),
            "AIRFLOW__API__SECRET_KEY": keys.api_secret,
            "AIRFLOW__API_AUTH__JWT_SECRET": keys.jwt_secret,
            "AIRFLOW__CORE__FERNET_KEY": keys.fernet_key,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.passwords_file),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.sqlalchemy_uri(METADATA_DATABASE),
        }

    @property
    def tenants_data(self) -> Path:
        """The folder below which each tenant of the registry has its data."""
        return self.home / TENANTS_FOLDER

    def _bundles(self) -> list[dict[str, object]]:
        folders: list[dict[str, object]] = [
            {
                "name": f"dags-{number}",
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(folder), "refresh_interval": DAG_REFRESH_SECONDS},
            }
            for number, folder in enumerate(self.dags_folders, start=1)
        ]
        return [*folders, self._registry()]

    def _registry(self) -> dict[str, object]:
        return {
            "name": "registry",
            "classpath": "airflow_orchestration.bundles.agent_registry.AgentRegistryBundle",
            "kwargs": {
                "data": str(self.tenants_data),
                "shared_conn_ids": ["orchestration_default"],
                "refresh_interval": DAG_REFRESH_SECONDS,
            },
        }
