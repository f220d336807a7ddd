"""What a version of the bundle is called: the revision of the registry, and what makes its files these files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from hashlib import blake2s

from airflow_orchestration.bundles.job_folder import LOADER
from airflow_orchestration.storage.registry import Registry
from airflow_orchestration.workflow.registering import RegistryTerms

_TEXT = re.compile(r"([0-9]{1,18})-([0-9]{8}T[0-9]{12}|empty)-([0-9a-f]{8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryVersion:
    """A revision, the moment that it is from, and a checksum of the terms and of the form of the Dag files.

    The folders of versions outlive a store that is made anew or restored, and terms that change: without moment
    and checksum a run could find the files of another revision 7. The checksum tells changes, and no forgeries.
    """

    revision: int
    moment: str
    checksum: str

    def __str__(self) -> str:
        return f"{self.revision}-{self.moment}-{self.checksum}"

    @classmethod
    def of(cls, registry: Registry, terms: RegistryTerms, revision: int | None = None) -> RegistryVersion:
        """The version of a revision, or of the newest; raises `KeyError` for one that never was."""
        number = registry.revision() if revision is None else revision
        moment = (
            f"{registry.change(number).changed_at.astimezone(UTC):%Y%m%dT%H%M%S%f}" if number else "empty"
        )
        checksum = blake2s(f"{LOADER}{terms!r}".encode(), digest_size=4).hexdigest()
        return cls(revision=number, moment=moment, checksum=checksum)

    @classmethod
    def read(cls, text: str) -> RegistryVersion:
        """Read a version as Airflow keeps it; raises `ValueError` for any other text."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no version of the job registry; it is as 7-20261123T091233594700-0f3a5c77"
            )
        return cls(revision=int(found[1]), moment=found[2], checksum=found[3])
