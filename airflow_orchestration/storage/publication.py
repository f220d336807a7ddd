"""What is published, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.exceptions import (
    FencedError,
    LedgerMismatchError,
    PublicationOvertakenError,
    PublishConflictError,
)
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.target import Target

SCRATCH_SCHEMA = "orchestration_scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRows:
    """What became of a feed's rows: in = staged + quarantined, staged = published + superseded.

    `replaced` counts its rows of earlier versions whose place the rows of this one take.
    """

    rows_in: int
    rows_staged: int
    rows_quarantined: int
    published: int
    superseded: int
    replaced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One content for one table, under a key that may be used once; `epoch` says which execution this is.

    A version after the first rests on what the table held: it is refused when `after`, the newest
    publication of the table that it knows, is not the newest any more. `feeds` are then the rows that it
    touches, and `rows_withdrawn` those that it takes back.
    """

    table: str
    publication_key: str
    run: RunKey
    round: int
    epoch: int
    content_sha256: str
    contract: Contract
    feeds: Mapping[str, FeedRows]
    mode: PublishMode = PublishMode.UPSERT
    partition_by: str | None = None
    version: int = 1
    after: str | None = None
    rows_withdrawn: int = 0

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"publication {self.publication_key!r} to {self.table}"

    @property
    def run_stamp(self) -> str:
        """What its rows bear in `_run_id`; runs of several Dags may have one run id."""
        return f"{self.run.dag_id}/{self.run.run_id}"

    @property
    def target(self) -> Target:
        """Where it goes."""
        return Target.named(self.table, self.contract, mode=self.mode, partition_by=self.partition_by)

    @property
    def rows_published(self) -> int:
        """The rows of the merged table."""
        return sum(feed.published for feed in self.feeds.values())

    @property
    def rows_quarantined(self) -> int:
        """The rows that stay outside."""
        return sum(feed.rows_quarantined for feed in self.feeds.values())

    def check(self) -> None:
        """Raise `LedgerMismatchError` when its own figures don't add up."""
        wrong = [
            feed_id
            for feed_id, feed in self.feeds.items()
            if feed.rows_in != feed.rows_staged + feed.rows_quarantined
            or feed.rows_staged != feed.published + feed.superseded
        ]
        if wrong:
            raise LedgerMismatchError(
                f"{self.place}: the figures of {', '.join(sorted(wrong))} don't add up: rows in must be staged + "
                "quarantined, and staged rows published + superseded; nothing was published"
            )

    def parameters(self) -> dict[str, Any]:
        """What the statements of `publish.sql` take from it."""
        feeds = self.feeds.values()
        return {
            "target_table": self.table,
            "publication_key": self.publication_key,
            "dag_id": self.run.dag_id,
            "run_id": self.run.run_id,
            "version": self.version,
            "rows_withdrawn": self.rows_withdrawn,
            "round": self.round,
            "epoch": self.epoch,
            "content_sha256": self.content_sha256,
            "rows_in": sum(feed.rows_in for feed in feeds),
            "rows_published": self.rows_published,
            "rows_superseded": sum(feed.superseded for feed in feeds),
            "rows_quarantined": self.rows_quarantined,
            "feeds": list(self.feeds),
            "feeds_in": [feed.rows_in for feed in feeds],
            "feeds_staged": [feed.rows_staged for feed in feeds],
            "feeds_published": [feed.published for feed in feeds],
            "feeds_superseded": [feed.superseded for feed in feeds],
            "feeds_quarantined": [feed.rows_quarantined for feed in feeds],
            "feeds_replaced": [feed.replaced for feed in feeds],
        }

    def overtaken(self) -> PublicationOvertakenError:
        """What it is told when the table is not what it was."""
        return PublicationOvertakenError(
            f"{self.place}, version {self.version}: the table was published since; nothing was changed, try again"
        )

    def fenced(self) -> FencedError:
        """What its execution is told when a newer one has taken over."""
        return FencedError(f"{self.place}: epoch {self.epoch} was taken over by a newer one; stop this one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the ledger says of a publication; `already_published` when an earlier execution did it."""

    already_published: bool
    rows_in: int
    rows_published: int
    rows_superseded: int
    rows_quarantined: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int


def published_as(booked: Mapping[str, Any], *, already: bool) -> Published:
    """A ledger row as an object."""
    counts = {name: count for name, count in booked.items() if name.startswith("rows_")}
    return Published(already_published=already, **counts)


def version_of(row: Mapping[str, Any]) -> Version:
    """A ledger row with its feeds as a version."""
    return Version(
        version=row["version"],
        publication_key=row["publication_key"],
        feeds={feed_id: new - old for feed_id, (new, old) in sorted((row["feeds"] or {}).items())},
        rows_added=row["rows_inserted"],
        rows_changed=row["rows_updated"],
        rows_withdrawn=row["rows_withdrawn"],
        published_at=row["published_at"],
    )


def confirmed(booked: Mapping[str, Any], publication: Publication, *, already: bool = True) -> Published:
    """What was booked under the publication's key, if it is the same content."""
    if booked["content_sha256"] != publication.content_sha256:
        raise PublishConflictError(
            f"{publication.place}: the key was used for other content already, by epoch {booked['epoch']}; "
            "compare the two runs, then publish under another key"
        )
    return published_as(booked, already=already)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of what a run published. `feeds` is feed -> rows that it published less those it replaced."""

    version: int
    publication_key: str
    feeds: Mapping[str, int]
    rows_added: int
    rows_changed: int
    rows_withdrawn: int
    published_at: datetime

    def diff(self) -> dict[str, Any]:
        """What it did to the table, as plain data."""
        return {
            "version": self.version,
            "rows_added": self.rows_added,
            "rows_changed": self.rows_changed,
            "rows_withdrawn": self.rows_withdrawn,
            "published_at": self.published_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a table knows of a run: its versions, the runs that came after it with their feeds, the newest key."""

    versions: tuple[Version, ...]
    later: Mapping[RunKey, tuple[str, ...]]
    newest: str | None

    @property
    def feeds(self) -> frozenset[str]:
        """The feeds that are in."""
        return frozenset(feed_id for version in self.versions for feed_id in version.feeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """The private tables of one attempt, and how to find those of older ones."""

    epoch: int
    digest: str

    @classmethod
    def of(cls, publication: Publication) -> Scratch:
        """The scratch of a publication."""
        named = f"{publication.table}\n{publication.publication_key}"
        return cls(epoch=publication.epoch, digest=hashlib.sha256(named.encode()).hexdigest()[:16])

    @property
    def merged(self) -> sql.Identifier:
        """Takes the merged rows."""
        return sql.Identifier(SCRATCH_SCHEMA, self.merged_name)

    @property
    def quarantined(self) -> sql.Identifier:
        """Takes the quarantined rows."""
        return sql.Identifier(SCRATCH_SCHEMA, f"q_{self.epoch}_{self.digest}")

    @property
    def template(self) -> sql.Identifier:
        """Shows how a table is to be made that is not there yet."""
        return sql.Identifier(SCRATCH_SCHEMA, f"t_{self.epoch}_{self.digest}")

    @property
    def merged_name(self) -> str:
        """The name of the table for merged rows, without its schema; the beginning of its indexes' names."""
        return f"p_{self.epoch}_{self.digest}"

    @property
    def aside(self) -> str:
        """The name of a table that has been replaced, for the moment before it is dropped."""
        return f"o_{self.epoch}_{self.digest}"

    @property
    def application_name(self) -> str:
        """Names the attempt's connection on the server."""
        return f"orchestration publish p_{self.epoch}_{self.digest}"

    def parameters(self) -> dict[str, Any]:
        """What finds the tables and connections of older attempts."""
        return {
            "epoch": self.epoch,
            "tables": f"^[pqt]_[0-9]+_{self.digest}$",
            "pattern": f"^orchestration publish p_[0-9]+_{self.digest}$",
        }
