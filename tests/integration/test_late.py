"""Late feeds on a real scheduler: merged when the run closes, by the next run, or by the reconcile Dag."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from demo.stack import Stack
from tests.integration.test_scenarios import Played, trigger

pytestmark = pytest.mark.integration

SLOW_ROWS = 3_000_000


def table(played: Played, name: str) -> dict[str, tuple[Any, ...]]:
    rows = played.rows(f"SELECT code, size, _primary_source FROM public.{name} WHERE code < 'l'")
    return {row["code"]: (row["size"], row["_primary_source"]) for row in rows}


def test_a_straggler_is_merged_when_the_run_closes(stack: Stack) -> None:
    """The gate opens without it, what is there is published, and the straggler follows as version 2."""
    folder = stack.home / "late_feeds"
    folder.mkdir(exist_ok=True)
    (folder / "quick.csv").write_text("code,size\na,1\nb,2\n")
    with (folder / "slow.csv").open("w") as file:
        file.write("code,size\nb,9\nc,3\n")
        file.writelines(f"long key number {number},{number}\n" for number in range(SLOW_ROWS))
    played = trigger(stack, "late_feeds")
    (folder / "slow.csv").unlink()

    assert [] == played.manifest["missing"]
    assert ("success", "published") == (played.state, played.manifest["state"])
    assert "conditional_proceed" == played.manifest["gate"][0]["action"]
    assert [["quick"], ["slow"]] == [version["feeds"] for version in played.manifest["versions"]]
    assert [1, 2] == [version["version"] for version in played.manifest["versions"]]
    assert SLOW_ROWS + 1 == played.manifest["versions"][1]["rows_added"]
    assert {"a": (1, "quick"), "b": (2, "quick"), "c": (3, "slow")} == table(played, "late_feeds")
    assert [1, 2] == [extra["version"] for extra in extras(stack, played)]


def extras(stack: Stack, played: Played) -> list[dict[str, Any]]:
    """What the asset events of a run told downstream Dags, oldest first."""
    path = f"/api/v2/assets/events?source_run_id={quote(played.key.run_id)}&order_by=timestamp&limit=100"
    return [event["extra"] for event in stack.api.get(path)["asset_events"]]


def test_the_next_run_brings_in_the_late_feeds_of_the_last(stack: Stack) -> None:
    """The first run does without a feed; after the second one's publication it is complete as well."""
    folder = stack.home / "next_run_feeds"
    folder.mkdir(exist_ok=True)
    today = datetime.now(UTC).date().isoformat()
    (folder / f"{today}-one.csv").write_text("code,size\na,1\nb,2\n")
    first = trigger(stack, "next_run_feeds")
    (folder / f"{today}-two.csv").write_text("code,size\nb,9\nc,3\n")
    second = trigger(stack, "next_run_feeds")
    repaired = Played(stack, first.key)

    assert ("published_degraded", "published") == (first.manifest["state"], second.manifest["state"])
    assert ("published", 2) == (repaired.manifest["state"], repaired.manifest["version"])
    assert {"a": (1, "one"), "b": (2, "one"), "c": (3, "two")} == table(second, "next_run_feeds")


def test_the_reconcile_dag_stands_beside_the_pipeline(stack: Stack) -> None:
    """It has the author's schedule, and is there only where the policy is to reconcile."""
    stack.api.wait_for_dag("late_feeds__reconcile")
    found = stack.api.get("/api/v2/dags?dag_id_pattern=__reconcile&limit=100")["dags"]
    schedules = {dag["dag_id"]: dag["timetable_summary"] for dag in found}

    assert "@daily" == schedules["late_feeds__reconcile"] or "0 0 * * *" == schedules["late_feeds__reconcile"]
    assert schedules["airport_reference__reconcile"] in {None, "Never, external triggers only", "None"}
    assert "next_run_feeds__reconcile" not in schedules
