"""Is everything as it has to be? A second opinion in plain Python, by SQL of its own, over one run that has settled.

It knows the feeds, the rules, and what was done to the run; it asks the product nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import psycopg

from airflow_orchestration.domain.publish import PublishMode
from tests.torture.oracle_found import LATE, Found, Story, differ, read
from tests.torture.oracle_store import judge_store
from tests.torture.world import DAY, THINGS, Expected, Shape, Table, World

ROW_ID = re.compile(r"[a-z]+\.[0-9]+\.[0-9]+")


def violations(dsn: str, target: str, world: World, story: Story) -> list[str]:
    """Everything that is not as it has to be, in the store and in the database of the tables."""
    with ExitStack() as connections:  # where both are one, a second session would be one too many
        store, *others = (
            connections.enter_context(psycopg.connect(name, autocommit=True))
            for name in dict.fromkeys((dsn, target))
        )
        found = read(store, others[0] if others else store, world)
    return [*found.left, *judge_store(found, world, story), *_judge_tables(found, world, story)]


def _judge_tables(found: Found, world: World, story: Story) -> Iterator[str]:
    """Each table has what it has to have, or is as it was before."""
    booked = [table for table in world.tables if table.name not in story.left_out]
    feeds = [feed_id for table in booked for feed_id in table.feeds if _counts(world, story, feed_id)]
    seen = {feed_id: _versions_seen(found, world, story, feed_id) for feed_id in feeds}
    mixed = [text for _, problems in seen.values() for text in problems]
    if mixed:
        yield from mixed
        return
    versions = {feed_id: version for feed_id, (version, _) in seen.items()}
    for table in world.tables:
        own = {feed_id: versions[feed_id] for feed_id in table.feeds if feed_id in versions}
        if table in booked:
            yield from _judge_table(found, world, table, world.merged(own))
            yield from _judge_sets(found, world, table, own)
            yield from _judge_ledger(found, world, story, table, own)
        else:
            yield from _judge_untouched(found, world, table)
    yield from _judge_quarantine(found, world, versions)
    if story.is_published:
        yield from _judge_outcomes(found, world, versions)
        yield from _judge_end(found, world, versions)
    else:
        yield from differ("its state", ["not_published"], [row["state"] for row in found.runs])


def _counts(world: World, story: Story, feed_id: str) -> bool:
    """Whether a feed's rows are in what is published: a late one's when the run was repaired."""
    return story.is_published or not (world.shape in LATE and feed_id == "light")


def _judge_untouched(found: Found, world: World, table: Table) -> Iterator[str]:
    """Nothing was brought to this table."""
    past = world.past() if table is THINGS else {}
    expected = sorted((*values, "past", ["past"], "older/run") for values in past.values())
    yield from differ(
        f"{table.name}, to which nothing was published", expected, sorted(found.tables[table.name])
    )
    ledger = [row for row in found.ledger if row["target_table"] == table.name]
    yield from differ(f"the ledger of {table.name}", [], ledger)


def _versions_seen(found: Found, world: World, story: Story, feed_id: str) -> tuple[int, list[str]]:
    """Which delivery of a feed is in, and what is wrong with that: it must be one, and one that may be."""
    ids = [row[4] for rows in found.tables.values() for row in rows] + [
        text for row in found.quarantined for text in ROW_ID.findall(row["raw"])
    ]
    seen = {int(one.split(".")[1]) for one in ids if one.startswith(f"{feed_id}.")}
    better = world.shape is Shape.ROUNDS and feed_id == "light"
    allowed = {2} if better else {1, 2} if feed_id in story.redelivered else {1}
    if len(seen) == 1 and seen <= allowed:
        return min(seen), []
    return 0, [f"rows of {feed_id}: of the deliveries {sorted(seen)}, one of {sorted(allowed)} has to be in"]


def _stamp(world: World) -> str:
    return f"{world.run.dag_id}/{world.run.run_id}"


def _past_rows(world: World, gone: set[str]) -> list[tuple[Any, ...]]:
    """The rows of before the run that are there still; `gone` are codes that the run has."""
    kept: list[tuple[Any, ...]] = []
    for (code, day), values in world.past().items():
        replaced = {
            PublishMode.UPSERT: code in gone,
            PublishMode.APPEND: False,
            PublishMode.REPLACE: True,
            PublishMode.PARTITION: day == DAY,
        }[world.mode]
        if not replaced:
            kept.append((*values, "past", ["past"], "older/run"))
    return kept


def _judge_table(found: Found, world: World, table: Table, merged: Mapping[str, Expected]) -> Iterator[str]:
    own = [(*row.values, row.sources[0], list(row.sources), _stamp(world)) for row in merged.values()]
    past = _past_rows(world, set(merged)) if table is THINGS else []
    expected = Counter(map(repr, [*own, *past]))
    there = Counter(map(repr, found.tables[table.name]))
    for text in sorted((expected - there) + (there - expected))[:5]:
        yield f"{table.name}: {text} stands {there[text]} times, not {expected[text]}"


def _judge_quarantine(found: Found, world: World, versions: Mapping[str, int]) -> Iterator[str]:
    expected = Counter(
        (row_id, rule)
        for feed_id in versions
        for row_id, rule in world.quarantined(feed_id, versions[feed_id]).items()
    )
    there = Counter(((ROW_ID.search(row["raw"]) or [""])[0], row["rule"]) for row in found.quarantined)
    for row in sorted((expected - there) + (there - expected))[:5]:
        yield f"quarantine: {row} stands {there[row]} times, not {expected[row]}"


def _judge_sets(found: Found, world: World, table: Table, versions: Mapping[str, int]) -> Iterator[str]:
    """Every row is published, superseded or quarantined; and in one of these only."""
    valid = {feed_id: world.valid(feed_id, version) for feed_id, version in versions.items()}
    places = Counter((ROW_ID.search(row["raw"]) or [""])[0] for row in found.quarantined)
    for code, _, _, _, row_id, primary, sources, run in found.tables[table.name]:
        if run == _stamp(world):
            places[row_id] += 1
            others = [source for source in sources if source != primary]
            places.update(valid[other][code].row_id for other in others if code in valid.get(other, {}))
    for feed_id, version in versions.items():
        for line in world.lines(feed_id, version):
            if places[line.row_id] != 1:
                yield f"row {line.row_id} is in {places[line.row_id]} places, not in one"


def _judge_ledger(
    found: Found, world: World, story: Story, table: Table, versions: Mapping[str, int]
) -> Iterator[str]:
    late = world.shape in LATE and table is THINGS and story.is_published
    first = {feed_id: version for feed_id, version in versions.items() if not (late and feed_id == "light")}
    expected = [booked_by(world, first, None)]
    if late:
        expected.append(booked_by(world, versions, first))
    columns = ("rows_in", "rows_published", "rows_superseded", "rows_quarantined")
    there = []
    ledger = [row for row in found.ledger if row["target_table"] == table.name]
    for row in ledger:
        named = (table.name, row["publication_key"])
        feeds = [
            feed for feed in found.ledger_feeds if (feed["target_table"], feed["publication_key"]) == named
        ]
        there.append(
            {feed["feed_id"]: (*(feed[name] for name in columns), feed["rows_replaced"]) for feed in feeds}
        )
        sums = tuple(sum(feed[name] for feed in feeds) for name in columns)
        yield from differ(f"sums of version {row['version']}", sums, tuple(row[name] for name in columns))
        written = sum(row[name] or 0 for name in ("rows_inserted", "rows_updated", "rows_unchanged"))
        yield from differ(f"rows written by version {row['version']}", row["rows_published"], written)
        yield from differ("the ledger's run", tuple(_stamp(world).split("/")), (row["dag_id"], row["run_id"]))
    yield from differ(f"the ledger of {table.name}", expected, there)
    yield from differ(
        f"versions of {table.name}", [*range(1, len(expected) + 1)], [row["version"] for row in ledger]
    )


def booked_by(
    world: World, versions: Mapping[str, int], before: Mapping[str, int] | None
) -> dict[str, tuple[int, ...]]:
    """Feed -> rows in, published, superseded, quarantined, replaced of a version; `before` are the feeds of the one before."""
    merged = world.merged(versions)
    new = [feed_id for feed_id in versions if before is None or feed_id not in before]
    if before is not None:
        merged = {code: row for code, row in merged.items() if not set(new).isdisjoint(row.sources)}
    earlier = world.merged(before) if before is not None else {}
    published = Counter(row.sources[0] for row in merged.values())
    superseded = Counter(source for row in merged.values() for source in row.sources[1:])
    replaced = Counter(earlier[code].sources[0] for code in merged if code in earlier)
    booked: dict[str, tuple[int, ...]] = {}
    for feed_id in versions:
        outside = len(world.quarantined(feed_id, versions[feed_id])) if feed_id in new else 0
        rows = published[feed_id] + superseded[feed_id] + outside
        if rows:
            booked[feed_id] = (rows, published[feed_id], superseded[feed_id], outside, replaced[feed_id])
    return booked


def _judge_outcomes(found: Found, world: World, versions: Mapping[str, int]) -> Iterator[str]:
    newest = {row["feed_id"]: row for row in found.outcomes}
    for feed_id in world.good:
        lines, outside = (
            world.lines(feed_id, versions[feed_id]),
            world.quarantined(feed_id, versions[feed_id]),
        )
        expected = ("success", len(lines), len(lines) - len(outside), len(outside))
        row = newest.get(feed_id, {})
        there = tuple(row.get(name) for name in ("status", "rows_in", "rows_staged", "rows_quarantined"))
        yield from differ(f"outcome of {feed_id}", expected, there)
    yield from differ("outcome of broken", "failed", newest.get("broken", {}).get("status"))


def _judge_end(found: Found, world: World, versions: Mapping[str, int]) -> Iterator[str]:
    """The manifest says the same as the table."""
    [run] = found.runs or [{"state": None, "manifest": {"feeds": []}}]
    yield from differ("state of the run", "published_degraded", run["state"])
    lines = {line["feed"]: line for line in (run["manifest"] or {"feeds": []})["feeds"]}
    merged = [
        row
        for table in world.tables
        for row in world.merged({feed_id: versions[feed_id] for feed_id in table.feeds}).values()
    ]
    published = Counter(row.sources[0] for row in merged)
    superseded = Counter(source for row in merged for source in row.sources[1:])
    for feed_id in world.good:
        expected = (
            "in",
            len(world.lines(feed_id, versions[feed_id])),
            published[feed_id],
            superseded[feed_id],
        )
        names = ("state", "rows_in", "rows_published", "rows_superseded")
        there = tuple(lines.get(feed_id, {}).get(name) for name in names)
        yield from differ(f"manifest of {feed_id}", expected, there)
    yield from differ("manifest of broken", "failed", lines.get("broken", {}).get("state"))
