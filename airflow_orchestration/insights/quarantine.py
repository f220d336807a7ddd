"""Which rows of a run were put aside, by feed and rule, and what do some of them look like?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_orchestration.domain.home import check_folders
from airflow_orchestration.domain.outcome import FeedOutcome, StagedFile
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.domain.quarantined_row import QuarantinedRow
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.quarantined import staged_rows, staged_samples
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.insights.run_facts import spec_of
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunKey

log = logging.getLogger(__name__)

TABLE, STAGING, COUNTS = "table", "staging", "counts"

Publishers = Callable[[str], Publisher]
Stagings = Callable[[str], StagingArea]
Rule = tuple[str, str]
"""A feed's id, and the rule that rows of it broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be looked at; None is no limit."""

    rules: int | None
    """Pairs of feed and rule that are told, those with most rows first."""
    sampled: int | None
    """How many of these are told with samples."""
    staged_bytes: int | None
    """Staged files are copied and checked as a whole: bytes of those that samples may be taken from."""


FOR_A_PAGE = Limits(rules=1_000, sampled=50, staged_bytes=32 * 1024 * 1024)
"""Ours: what takes a good part of 300 ms on one core."""
NO_LIMITS = Limits(rules=None, sampled=None, staged_bytes=None)


def quarantine_of(
    store: PostgresStore,
    publisher_of: Publishers,
    staging_of: Stagings,
    key: RunKey,
    *,
    feed: str | None = None,
    rule: str | None = None,
    samples: int = 5,
    limits: Limits = FOR_A_PAGE,
) -> dict[str, Any]:
    """Return what a run has put aside, as plain data: the shape `Quarantine` of the page.

    `{"rules": [{"feed", "rule", "rows", "samples": [{"origin", "position", "column", "reason", "raw"}]}], "where",
    "note"}`: the rules with most rows first, `rows` as the manifest counts them: of what stands in the last round,
    at most `samples` rows each. `where` is `table` when samples come from `orchestration.quarantined_row` of a target,
    `staging` when nothing of it was published and they come from staged files, `counts` when some could not be
    read; `note` then says which and why, and what `limits` left out; it is None when there is nothing to say.

    `publisher_of` opens the database behind a connection id (`hooks.orchestration.publisher_of`), `staging_of` a
    staging root (`hooks.outside.staging_area`). With `samples=0` neither is touched. `feed` and `rule` may be any
    text: what nobody knows gives no rules. Samples are rows of data, raw and unescaped, at most 1,000 characters of each.

    Raises `KeyError` for a run that the store does not know, and what the store raises when it can't be read;
    a target or staging area that can't be read is no error: its counts are told without samples.
    """
    found = Findings(store=store, publisher_of=publisher_of, staging_of=staging_of, key=key, feed=feed)
    counted = found.counted(rule)
    told = counted[: limits.rules]
    taken = _Taken({}, [], set())
    if samples and told:
        wanted = [one for one, _ in told[: limits.sampled]]
        taken = _sampled(found, wanted, samples, limits)
        if len(wanted) < len(told):
            taken.notes.append(
                f"the other {len(told) - len(wanted):,} rules have samples when they are asked for alone"
            )
    if len(told) < len(counted):
        taken.notes.append(f"{len(counted) - len(told):,} more rules have fewer rows")
    return {
        "rules": [
            {
                "feed": feed_id,
                "rule": broken,
                "rows": rows,
                "samples": [row.as_sample() for row in taken.rows.get((feed_id, broken), ())],
            }
            for (feed_id, broken), rows in told
        ],
        "where": _where(taken, samples),
        "note": "; ".join(taken.notes) or None,
    }


def all_rows_of(
    store: PostgresStore,
    publisher_of: Publishers,
    staging_of: Stagings,
    key: RunKey,
    *,
    feed: str | None = None,
    rule: str | None = None,
) -> Iterator[QuarantinedRow]:
    """Yield every row that a run has put aside, without holding them all: of all feeds and rules, or of one.

    Raises what the target or the staging area raises when it can't be read, and `KeyError` for an unknown run.
    """
    found = Findings(store=store, publisher_of=publisher_of, staging_of=staging_of, key=key, feed=feed)
    feeds = dict.fromkeys(feed_id for (feed_id, _), _ in found.counted(rule))
    for publish, named in found.by_dataset(feeds):
        table, publisher = publish.table, publisher_of(publish.conn_id)
        published = publisher.quarantine.feeds(table, key)
        there = [feed_id for feed_id in named if feed_id in published]
        if there:
            yield from publisher.quarantine.rows(table, key, there, rule=rule)
        for feed_id in named:
            if feed_id not in published and (staged := found.outcomes[feed_id].quarantine) is not None:
                with TemporaryDirectory(prefix="quarantine-") as scratch:
                    file = found.staging.fetch(staged, Path(scratch))
                    yield from staged_rows(file, rule=rule, scratch=Path(scratch))


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the store knows of a run's quarantine, of all feeds or of one, and where its rows are."""

    store: PostgresStore
    publisher_of: Publishers
    staging_of: Stagings
    key: RunKey
    feed: str | None

    @cached_property
    def spec(self) -> RunSpec:
        """What the run does; raises `KeyError` for an unknown run."""
        return spec_of(self.store.readings.spec(self.key))

    @cached_property
    def outcomes(self) -> dict[str, FeedOutcome]:
        """What stands of each feed."""
        _ = self.spec
        known = self.feed is None or self.feed in self.spec.feeds
        return self.store.readings.standing(self.key, self.feed) if known else {}

    @property
    def staging(self) -> StagingArea:
        """The run's staging area; raises `InputRefusedError` where a tenant's leads out of its folder."""
        check_folders(self.spec)
        return self.staging_of(self.spec.pipeline.staging)

    def counted(self, rule: str | None) -> list[tuple[Rule, int]]:
        """Rows by feed and rule, the most first."""
        counts = [
            ((outcome.feed_id, broken), rows)
            for outcome in self.outcomes.values()
            for broken, rows in (outcome.rejects or {}).items()
            if rows and rule in {None, broken}
        ]
        return sorted(counts, key=lambda one: (-one[1], one[0]))

    def by_dataset(self, feeds: Mapping[str, object]) -> Iterator[tuple[Publish, list[str]]]:
        """Where feeds are published, and those of `feeds` that are published there."""
        for dataset in self.spec.datasets.values():
            named = [feed_id for feed_id in dataset.feeds if feed_id in feeds]
            if named:
                yield dataset.publish, named


@dataclass(frozen=True, slots=True)
class _Taken:
    rows: dict[Rule, list[QuarantinedRow]]
    notes: list[str]
    places: set[str]

    def add(self, rows: Sequence[QuarantinedRow], place: str) -> None:
        self.places.add(place)
        for row in rows:
            self.rows.setdefault((row.feed_id, row.rule), []).append(row)

    def miss(self, what: str, error: Exception) -> None:
        """Say what could not be read. What a driver or a file says may name hosts and places: it goes to the log alone."""
        log.warning("%s can't be read: %s", what, error)
        why = error.to_who_looks() if isinstance(error, InputRefusedError) else type(error).__name__
        self.notes.append(f"no samples of {what}, which can't be read now: {why}")
        self.places.add(COUNTS)


def _sampled(found: Findings, wanted: Sequence[Rule], each: int, limits: Limits) -> _Taken:
    """What can't be read ends nothing else: what drivers raise is theirs, and counts are told without samples."""
    taken = _Taken({}, [], set())
    unpublished: list[Rule] = []
    for publish, feeds in found.by_dataset(dict(wanted)):
        here = [one for one in wanted if one[0] in feeds]
        try:
            quarantine = found.publisher_of(publish.conn_id).quarantine
            published = quarantine.feeds(publish.table, found.key)
            there = [one for one in here if one[0] in published]
            if there:
                taken.add(quarantine.samples(publish.table, found.key, there, each=each), TABLE)
            unpublished += [one for one in here if one[0] not in published]
        except Exception as error:  # noqa: BLE001
            taken.miss(f"table {publish.table}", error)
    if unpublished:
        _from_staging(found, unpublished, each, limits, taken)
    return taken


def _from_staging(found: Findings, wanted: Sequence[Rule], each: int, limits: Limits, taken: _Taken) -> None:
    files = {
        feed_id: staged
        for feed_id in dict.fromkeys(feed_id for feed_id, _ in wanted)
        if (staged := found.outcomes[feed_id].quarantine) is not None
    }
    small = _small_enough(files, limits.staged_bytes)
    if len(small) < len(files):
        large = ", ".join(feed_id for feed_id in files if feed_id not in small)
        taken.notes.append(f"no samples of {large}: the staged files are large; see the command line")
        taken.places.add(COUNTS)
    with TemporaryDirectory(prefix="quarantine-") as folder:
        scratch = Path(folder)
        local = _fetched(found, small, scratch, taken)
        here = [one for one in wanted if one[0] in local]
        try:
            if here:
                taken.add(staged_samples(local, here, each=each, scratch=scratch), STAGING)
        except Exception as error:  # noqa: BLE001
            taken.miss(f"staged files of {', '.join(local)}", error)


def _fetched(
    found: Findings, files: Mapping[str, StagedFile], scratch: Path, taken: _Taken
) -> dict[str, Path]:
    """Local copies of the files that can be read, by feed."""
    local: dict[str, Path] = {}
    try:
        staging = found.staging
    except Exception as error:  # noqa: BLE001
        taken.miss(f"staged files of {', '.join(files)}", error)
        return local
    for feed_id, staged in files.items():
        try:
            local[feed_id] = staging.fetch(staged, scratch)
        except Exception as error:  # noqa: BLE001
            taken.miss(f"the staged file of {feed_id}", error)
    return local


def _small_enough(files: Mapping[str, StagedFile], most: int | None) -> dict[str, StagedFile]:
    """The smallest files, as many as fit."""
    chosen: dict[str, StagedFile] = {}
    left = most
    for feed_id, staged in sorted(files.items(), key=lambda one: one[1].bytes):
        if left is not None:
            left -= staged.bytes
            if left < 0:
                break
        chosen[feed_id] = staged
    return chosen


def _where(taken: _Taken, samples: int) -> str:
    if COUNTS in taken.places or not samples:
        return COUNTS
    return TABLE if TABLE in taken.places or not taken.places else STAGING
