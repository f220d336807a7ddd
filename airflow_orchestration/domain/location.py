"""Where the files of a feed are: a root that the author declared, and a path below it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

REMOTE = "://"
"""What the URI of an object store has, and the path of a folder has not."""
_WILDCARDS = re.compile(r"[*?]")
OBJECT_URI = re.compile(r"[a-z][a-z0-9+.-]*://([^/@:?#]+@)?[^/@:?#]+(/[^?#]*)?")
"""A place in an object store: its bucket, and who opens it by an Airflow connection; no password, port or query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """One file, or with `*` or `?` in its last part all files whose names match."""

    root: str
    """A folder, or an object storage URI."""
    below: str

    def __str__(self) -> str:
        return f"{self.root.rstrip('/')}/{self.below}"

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return REMOTE in self.root


def name_pattern(name: str) -> re.Pattern[str] | None:
    """What names match a last part of a path; None when it is a plain name. Hidden files never match.

    >>> [bool(name_pattern("part-*.csv").fullmatch(name)) for name in ("part-1.csv", "part-1.csv.gz")]
    [True, False]
    """
    if not _WILDCARDS.search(name):
        return None
    letters = {"*": "[^/]*", "?": "[^/]"}
    visible = r"(?!\.)" if name[0] in letters else ""
    return re.compile(visible + "".join(letters.get(letter, re.escape(letter)) for letter in name))


def without_login(place: str) -> str:
    """Return a location unchanged, or raise `ValueError` for a URI with a password, a port or a query, or no bucket.

    What a file says is kept in the store and shown to people, and an Airflow connection keeps secrets.

    >>> without_login("s3://my_connection@bucket/folder")
    's3://my_connection@bucket/folder'
    """
    if REMOTE in place and not OBJECT_URI.fullmatch(place):
        raise RefusedValueError(
            "must be a folder, or a URI as s3://my_connection@bucket/folder: write logins and hosts into that "
            "Airflow connection",
            code=ProblemCode.NOT_ALLOWED,
        )
    return place
