"""Did a run end as it must? Asked of the tables themselves, and compared with what the run was given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from tests.torture.oracle import booked_by
from tests.torture.oracle_found import differ
from tests.torture.stack_faults import Fault
from tests.torture.stack_inputs import Inputs, Row
from tests.torture.stack_pipelines import Tortured
from tests.torture.stack_rounds import of_rounds
from tests.torture.world import Expected, World

Ask = Callable[..., list[dict[str, Any]] | None]
"""Runs a query with its parameters; None when nobody answers."""
Lines = Sequence[Mapping[str, Any]]

ROW_ID = re.compile(r"[a-z]+(?:_[0-9]+)?-[0-9]+-[0-9]+")
LEDGER = """
SELECT publication_key, version, round, rows_in, rows_published, rows_superseded, rows_quarantined,
       rows_inserted, rows_updated, rows_unchanged, rows_withdrawn
FROM orchestration.publish_ledger WHERE dag_id = %s AND run_id = %s ORDER BY version"""
LEDGER_FEEDS = """
SELECT ledger.version, feed.feed_id, feed.rows_in, feed.rows_published, feed.rows_superseded, feed.rows_quarantined,
       feed.rows_replaced
FROM orchestration.publish_ledger AS ledger JOIN orchestration.publish_ledger_feed AS feed USING (target_table, publication_key)
WHERE dag_id = %s AND run_id = %s"""
QUARANTINED = """
SELECT feed_id, rule, raw FROM orchestration.quarantined_row JOIN orchestration.publish_ledger USING (target_table, publication_key)
WHERE dag_id = %s AND run_id = %s"""
ROUNDS = """
SELECT round.round, opened_at, deadline_at, decided_at, verdict,
       ARRAY(SELECT told.decision FROM orchestration.decision AS told
             WHERE told.dag_id = round.dag_id AND told.run_id = round.run_id AND told.round = round.round
               AND told.decision ->> 'policy' = 'quorum_gate') AS told
FROM orchestration.round JOIN orchestration.sync_point USING (dag_id, run_id, round)
WHERE round.dag_id = %s AND round.run_id = %s AND name = 'feeds' ORDER BY 1"""
OUTCOMES = """
SELECT DISTINCT ON (feed_id) feed_id, round, status, error, rows_in, rows_staged, rows_quarantined, registered_at
FROM orchestration.feed_outcome WHERE dag_id = %s AND run_id = %s ORDER BY feed_id, round DESC"""
RANKING = """
SELECT decision #> '{evidence,source_attribution}' AS shares FROM orchestration.decision
WHERE dag_id = %s AND run_id = %s AND decision ->> 'policy' IN ('merging', 'reconciling') ORDER BY id DESC LIMIT 1"""
RUN = "SELECT state, manifest, finished_at FROM orchestration.run WHERE dag_id = %s AND run_id = %s"
COUNTS = ("rows_in", "rows_published", "rows_superseded", "rows_quarantined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was written of a run."""

    versions: Lines
    feeds: Lines
    rows: Lines
    quarantined: Lines
    rounds: Lines
    outcomes: Mapping[str, Mapping[str, Any]]
    """The newest of each feed."""
    state: str | None
    manifest: Mapping[str, Any] | None
    finished_at: datetime | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    """How much each feed counted at the last merge."""

    @property
    def counted(self) -> frozenset[str]:
        """The feeds that the ledger has."""
        return frozenset(line["feed_id"] for line in self.feeds)

    @property
    def lateness(self) -> list[float]:
        """How long after its deadline each gate decided that had to decide by it, in seconds."""
        return [
            (line["decided_at"] - line["deadline_at"]).total_seconds()
            for line in self.rounds
            if line["verdict"] and "deadline" in line["verdict"]["reason"]
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """What comes of feeds that count: in the order in which they are asked for a value."""

    inputs: Inputs
    ranking: Sequence[str]

    @classmethod
    def of(cls, told: Told, pipeline: Tortured, inputs: Inputs) -> Merging:
        """Take the heaviest first: a weight is so much more than the next that no measurement turns them around.

        Only where weights are equal, what was measured decides; then the ranking that was written down is believed.
        """
        weights = pipeline.weights
        order = sorted(
            weights, key=lambda feed_id: (-weights[feed_id], -told.shares.get(feed_id, 0), feed_id)
        )
        return cls(inputs=inputs, ranking=order)

    def merged(self, feeds: Iterable[str]) -> dict[str, Expected]:
        """Code -> the row that has to be published."""
        found: dict[str, dict[str, Row]] = {}
        counted = set(feeds)
        for feed_id in (feed_id for feed_id in self.ranking if feed_id in counted):
            for row in self.inputs.rows[feed_id]:
                if row.breaks is None:
                    found.setdefault(row.code, {})[feed_id] = row
        return {code: _fused(code, rows) for code, rows in found.items()}

    def quarantined(self, feed_id: str, _version: int = 1) -> dict[str, str]:
        """Row id -> the rule that it breaks."""
        return {row.row_id: row.breaks for row in self.inputs.rows[feed_id] if row.breaks}


def _fused(code: str, rows: Mapping[str, Row]) -> Expected:
    first, *others = rows.values()
    values = (code, first.size, first.row_id)
    return Expected(values=values, sources=tuple(rows), superseded=tuple(row.row_id for row in others))


def told_of(ask: Ask, pipeline: Tortured, inputs: Inputs, run_id: str) -> Told | None:
    """Read what was written of a run; None when nobody answers."""
    table = f"SELECT code, size, row_id, _primary_source, _sources FROM {pipeline.table} WHERE day = %s"
    key = (pipeline.id, run_id)
    exists = ask("SELECT to_regclass(%s) IS NOT NULL AS found", pipeline.table)
    rows = ask(table, inputs.day.isoformat()) if exists and exists[0]["found"] else []
    queries = (LEDGER, LEDGER_FEEDS, QUARANTINED, ROUNDS, OUTCOMES, RANKING, RUN)
    answers = [ask(query, *key) for query in queries]
    if exists is None or rows is None or None in answers:
        return None
    versions, feeds, quarantined, rounds, outcomes, ranking, run = (answer or [] for answer in answers)
    return Told(
        versions=versions,
        feeds=feeds,
        rows=rows,
        quarantined=quarantined,
        rounds=rounds,
        outcomes={line["feed_id"]: line for line in outcomes},
        state=run[0]["state"] if run else None,
        manifest=run[0]["manifest"] if run else None,
        finished_at=run[0]["finished_at"] if run else None,
        shares=ranking[0]["shares"] if ranking else {},
    )


def violations(
    told: Told,
    pipeline: Tortured,
    inputs: Inputs,
    *,
    reconciled: bool,
    faults: Sequence[Fault] = (),
    is_closed: bool = True,
) -> list[str]:
    """Return every way in which what was written is not what had to come of the inputs.

    :param reconciled: whether a repair was begun, with every file there.
    :param is_closed: False when faults have used up the tries of the task that writes down how the run ended.
    """
    merging = Merging.of(told, pipeline, inputs)
    found = [
        *_of_rows(told, merging),
        *_of_quarantine(told, inputs),
        *_of_ledger(told, merging),
        *_of_feeds(told, pipeline, inputs, reconciled=reconciled),
        *_of_what_counts(told, inputs),
        *of_rounds(told.rounds, pipeline, faults, is_published=bool(told.versions)),
    ]
    return found + (list(_of_end(told, pipeline, merging)) if is_closed else [])


def _of_rows(told: Told, merging: Merging) -> Iterator[str]:
    """Published, superseded and quarantined rows are together the rows of the feeds that count, each once."""
    merged = merging.merged(told.counted)
    codes = Counter(line["code"] for line in told.rows)
    yield from (f"key {code} stands {times} times in the table" for code, times in codes.items() if times > 1)
    if lost := sorted(set(merged) - set(codes)):
        yield f"{len(lost)} keys are lost, as {lost[0]}"
    for line in told.rows:
        there = (line["code"], line["size"], line["row_id"])
        row = merged.get(line["code"])
        if row is None:
            yield f"key {line['code']} comes from {line['_primary_source']}, and no feed that counts has it"
        elif row.sources[0] != line["_primary_source"]:
            yield f"key {line['code']} comes from {line['_primary_source']}, and not from {row.sources[0]}"
        elif row.values != there:
            yield f"key {line['code']} is {there} and not {row.values}"
        elif list(row.sources) != list(line["_sources"]):
            yield f"key {line['code']} names {line['_sources']} as its sources, and has {list(row.sources)}"


def _of_quarantine(told: Told, inputs: Inputs) -> Iterator[str]:
    expected = Counter(
        (feed_id, row.row_id, row.breaks)
        for feed_id in told.counted
        for row in inputs.rows[feed_id]
        if row.breaks
    )
    found: Counter[tuple[str, str, str | None]] = Counter()
    for line in told.quarantined:
        named = ROW_ID.search(line["raw"] or "")
        found[line["feed_id"], named[0] if named else "?", line["rule"]] += 1
    if missing := expected - found:
        yield f"{missing.total()} rows are not in the quarantine, as {next(iter(missing))}"
    if further := found - expected:
        yield f"{further.total()} rows are in the quarantine and should not be, as {next(iter(further))}"


def _of_ledger(told: Told, merging: Merging) -> Iterator[str]:
    keys = Counter(line["publication_key"] for line in told.versions)
    yield from (f"publication {key} is booked {times} times" for key, times in keys.items() if times > 1)
    numbers = [line["version"] for line in told.versions]
    yield from differ("versions", [*range(1, len(numbers) + 1)], numbers)
    before: dict[str, int] = {}
    for line in told.versions:
        brought = {feed["feed_id"]: feed for feed in told.feeds if feed["version"] == line["version"]}
        now = {**before, **dict.fromkeys(brought, 1)}
        expected = booked_by(cast("World", merging), now, before or None)
        there = {
            feed_id: tuple(feed[name] for name in (*COUNTS, "rows_replaced"))
            for feed_id, feed in brought.items()
        }
        yield from differ(f"the ledger of version {line['version']}", expected, there)
        yield from _of_version(line, list(brought.values()))
        inserted = len(merging.merged(now)) - len(merging.merged(before))
        yield from differ(f"rows inserted by version {line['version']}", inserted, line["rows_inserted"])
        before = now
    if not told.versions and (told.rows or told.quarantined):
        yield f"nothing is booked, and {len(told.rows)} rows are published"


def _of_version(line: Mapping[str, Any], feeds: Lines) -> Iterator[str]:
    """Every key of a run is of its own day: a version inserts and updates, and withdraws nothing."""
    number = line["version"]
    sums = tuple(sum(feed[name] for feed in feeds) for name in COUNTS)
    yield from differ(f"sums of version {number}", sums, tuple(line[name] for name in COUNTS))
    written = sum(line[name] or 0 for name in ("rows_inserted", "rows_updated", "rows_unchanged"))
    yield from differ(f"rows written by version {number}", line["rows_published"], written)
    yield from differ(f"rows withdrawn by version {number}", 0, line["rows_withdrawn"])


def _of_feeds(told: Told, pipeline: Tortured, inputs: Inputs, *, reconciled: bool) -> Iterator[str]:
    """What could come was taken as it is, and what could not was not."""
    if impossible := told.counted - inputs.can_come(reconciled=reconciled):
        yield f"{sorted(impossible)} were published and could not come"
    for feed_id, line in told.outcomes.items():
        is_good = feed_id in inputs.can_come(reconciled=False)
        if is_good and line["status"] == "failed" and "on the last try" not in (line["error"] or ""):
            yield f"{feed_id} is in order and was refused: {line['error']}"
        if line["status"] == "success":
            aside = inputs.poor_rows(feed_id) if is_poor(line, inputs) else inputs.bad_rows(feed_id)
            rows = len(inputs.rows[feed_id])
            there = tuple(line[name] for name in ("rows_in", "rows_staged", "rows_quarantined"))
            yield from differ(f"outcome of {feed_id}", (rows, rows - aside, aside), there)
    if told.versions and (missing := pipeline.required - told.counted):
        yield f"published without {sorted(missing)}, which must be there"


def is_poor(line: Mapping[str, Any], inputs: Inputs) -> bool:
    """Whether an outcome is that of a delivery below standard, which never counts."""
    return bool(line["rows_quarantined"] > inputs.bad_rows(line["feed_id"]))


def _of_what_counts(told: Told, inputs: Inputs) -> Iterator[str]:
    """What arrived was published: at once by the last round's gate, later by whoever brings in what came late."""
    if not told.versions:
        return
    good = {
        feed_id
        for feed_id, line in told.outcomes.items()
        if line["status"] == "success" and not is_poor(line, inputs)
    }
    decided = [line for line in told.rounds if line["verdict"] is not None]
    arrived = set(decided[-1]["verdict"]["evidence"]["arrived_ids"]) if decided else set()
    first = {line["feed_id"] for line in told.feeds if line["version"] == 1}
    yield from differ("feeds of the first version", sorted(arrived & good), sorted(first))
    for feed_id in sorted(good - told.counted):
        registered = told.outcomes[feed_id]["registered_at"]
        if told.finished_at is None or registered <= told.finished_at:
            yield f"{feed_id} arrived at {registered}, before the run ended, and does not count"


def _of_end(told: Told, pipeline: Tortured, merging: Merging) -> Iterator[str]:
    """State and manifest say the same as the tables."""
    if told.manifest is None:
        yield "the run has ended, and there is no manifest"
        return
    degraded = "published" if told.counted == pipeline.weights.keys() else "published_degraded"
    state = degraded if told.versions else "not_published"
    yield from differ("state of the run", state, told.state)
    expected = {
        "state": state,
        "version": len(told.versions),
        "rounds": len(told.rounds),
        "rows": len(told.rows),
        "feeds_expected": len(pipeline.weights),
        "feeds_in": len(told.counted),
    }
    yield from differ("manifest", expected, {name: told.manifest.get(name) for name in expected})
    gates = [(line["round"], line["verdict"]["action"]) for line in told.rounds if line["verdict"]]
    said = [(line["round"], line["action"]) for line in told.manifest["gate"] or ()]
    yield from differ("gates of the manifest", gates, said)
    lines = {line["feed"]: line for line in told.manifest["feeds"]}
    yield from differ("feeds of the manifest", sorted(pipeline.weights), sorted(lines))
    merged = merging.merged(told.counted).values()
    published = Counter(row.sources[0] for row in merged)
    superseded = Counter(source for row in merged for source in row.sources[1:])
    for feed_id, line in lines.items():
        rows = (len(merging.inputs.rows[feed_id]), published[feed_id], superseded[feed_id])
        yield from _of_line(feed_id, line, told, rows)


def _of_line(feed_id: str, line: Mapping[str, Any], told: Told, rows: tuple[int, ...]) -> Iterator[str]:
    if feed_id not in told.counted:
        if line["state"] in {"in", "short"}:
            yield f"the manifest has {feed_id}, the ledger {sorted(told.counted)}"
        return
    names = ("state", "rows_in", "rows_published", "rows_superseded")
    yield from differ(f"manifest of {feed_id}", ("in", *rows), tuple(line.get(name) for name in names))
