"""What of Airflow does this package need, and since when is it there?

Airflow imports plugins and Dag files without asking. So each package of ours that imports Airflow asks here first, and
an Airflow that is too old is told in one sentence instead of by an ImportError from deep inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

from airflow_orchestration.exceptions import OrchestrationError

Release = tuple[int, int]
"""Major and minor number."""


class AirflowTooOldError(OrchestrationError):
    """This Airflow lacks what the package is built on; upgrade Airflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something of Airflow without which a feature of ours would not be what it says."""

    feature: str
    name: str
    """As it is imported."""
    since: Release
    """The first release that has it: measured by importing it in 3.1.8, 3.2.2 and 3.3.2."""


NEEDS = (
    Need(
        feature="gates and waiting branches that take no worker slot",
        name="airflow.triggers.base.BaseTrigger.render_template_fields",
        since=(3, 3),
    ),
    Need(
        feature="deadlines and answers that outlive a retry",
        name="airflow.sdk.execution_time.context.TaskStateStoreAccessor",
        since=(3, 3),
    ),
    Need(
        feature="a person who is asked while nothing runs",
        name="airflow.sdk.exceptions.TaskAwaitingInput",
        since=(3, 3),
    ),
    Need(
        feature="registered jobs, each in its revision",
        name="airflow.dag_processing.bundles.base.BundleVersion",
        since=(3, 3),
    ),
    Need(
        feature="rounds that follow a decision",
        name="airflow.sdk.bases.branch.BaseBranchOperator",
        since=(3, 2),
    ),
    Need(
        feature="failures that no retry can help",
        name="airflow.sdk.exceptions.AirflowFailException",
        since=(3, 2),
    ),
    Need(
        feature="branches and agents under their names",
        name="airflow.sdk.execution_time.comms.SetRenderedMapIndex",
        since=(3, 2),
    ),
    Need(feature="metrics", name="airflow.sdk.observability.stats", since=(3, 2)),
    Need(feature="locations of a deployment", name="airflow.sdk.configuration.conf", since=(3, 2)),
)
OLDEST: Release = max(need.since for need in NEEDS)


def require_airflow(found: str | None) -> None:
    """Raise `AirflowTooOldError`, with everything that is missing, for a version before `OLDEST`.

    Without a version there is no Airflow, of which Python says enough.
    """
    release = Version(found).release[:2] if found else OLDEST
    missing = [need for need in NEEDS if need.since > release]
    if missing:
        told = "; ".join(f"{need.feature} ({need.name}, since {named(need.since)})" for need in missing)
        raise AirflowTooOldError(
            f"airflow-provider-orchestration needs Airflow {named(OLDEST)} or newer, and this is {found}. "
            f"Upgrade Airflow. It lacks what is needed for: {told}. "
            "What stands below airflow_orchestration.hooks works without any Airflow"
        )


def installed() -> str | None:
    """Return the version of Airflow that is installed; None when none is."""
    for name in ("apache-airflow-core", "apache-airflow"):  # before 3.0 there was no core
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def named(release: Release) -> str:
    """Return a release as people write it."""
    return ".".join(map(str, release))
