"""Reads pipeline files as this deployment has them: everything inside Airflow reads them here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from airflow.sdk.configuration import conf
from airflow.sdk.io.fs import has_fs

from airflow_orchestration.domain.locations import Locations, read_locations, scheme_of, unknown_schemes
from airflow_orchestration.domain.pipeline_file import PipelineFile, read_pipeline_file

SECTION = "orchestration"
OPTION = "locations"


def deployed_pipeline_file(path: Path | str) -> PipelineFile:
    """Read a pipeline file, with its folders where this deployment keeps them; raises `InputRefusedError`.

    Jobs of tenants are not read here: their folders are below the `data` that the deployer names for all of them.
    """
    return read_pipeline_file(Path(path), deployed_locations())


def deployed_locations() -> Locations:
    """Read the setting `[orchestration] locations`; raises `InputRefusedError` with every problem of it."""
    return _checked(conf.get(SECTION, OPTION, fallback="") or "")


@cache
def _checked(text: str) -> Locations:
    locations = read_locations(text)
    schemes = frozenset(scheme for place in locations.values() if (scheme := scheme_of(place)))
    unknown = frozenset(scheme for scheme in schemes if not has_fs(scheme))
    if unknown:
        raise unknown_schemes(locations, unknown)
    return locations
