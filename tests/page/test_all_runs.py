"""What the page shows of many runs."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.json_server import JsonServer
from tests.page.test_following_a_run import moment, opened, running

LONG = "a_feed_with_a_name_that_is_longer_than_a_small_window_" * 2


def listed(number: int) -> dict[str, Any]:
    return {
        "dag_id": "prices", "run_id": f"r{number}", "state": "published", "started_at": moment(0), "finished_at": None,
        "deadline_met": True, "weight_share": 0.9999, "feeds_in": 9999, "feeds_expected": 10000, "quality": 0.9,
        "rounds": 1, "version": 1,
    }  # fmt: skip


def of_feed(number: int) -> dict[str, Any]:
    run = {
        "run_id": "r1", "started_at": moment(0), "state": "left_out", "arrived_after_seconds": None,
        "late_by_seconds": None, "rows": None, "quality_score": None, "trust": None,
    }  # fmt: skip
    return {"feed": f"f{number}", "runs": [run]}


def test_a_list_that_is_cut_says_so(page: Page, server: JsonServer) -> None:
    """All that the server sent is there, and what it left out is told, with what to do about it."""
    server.answers["runs"] = {
        "since": moment(0),
        "runs": [listed(number) for number in range(450)],
        "more": True,
    }
    server.answers["feeds"] = {
        "dag_id": "prices",
        "feeds": [of_feed(number) for number in range(320)],
        "more": True,
    }
    server.answers["leaderboard"] = {"tenant": "", "standings": []}
    page.goto(server.address)
    page.locator("#feeds table").wait_for()

    assert 450 == page.locator("#runs tbody tr").count()
    assert 320 == page.locator("#feeds tbody tr:not(.inner)").count()
    expect(page.locator("#runs")).to_contain_text("These are the newest 450; choose fewer days or one Dag")
    expect(page.locator("#feeds")).to_contain_text("These are the first 320, those most often missing")
    expect(page.locator("#runs tbody tr").first).to_contain_text("99.9%")
    expect(page.locator("#feeds tbody tr").first).to_contain_text("0\u00a0of\u00a01")


def test_who_came_and_was_not_merged_is_counted_apart(page: Page, server: JsonServer) -> None:
    """A late or failed feed did not come; one that a run had no use for did; one that conf left out is neither."""
    line = of_feed(1)
    states = ("in", "late", "failed", "unused", "left_out")
    line["runs"] = [{**line["runs"][0], "run_id": state, "state": state} for state in states]
    server.answers["runs"] = {"since": moment(0), "runs": [listed(1)], "more": False}
    server.answers["feeds"] = {"dag_id": "prices", "feeds": [line], "more": False}
    server.answers["leaderboard"] = {"tenant": "", "standings": []}
    page.goto(server.address)
    cells = page.locator("#feeds tbody tr").first.locator("td.figure")

    expect(cells).to_have_text(["2\u00a0of\u00a05", "1\u00a0of\u00a05"])


def test_a_manifest_that_is_cut_leads_to_all_of_it(page: Page, server: JsonServer) -> None:
    """Of thousands of feeds the first are in the table, and all are in the JSON below it."""
    line = {"state": "in", "weight": 1.0, "rows_in": 1, "why": None}
    manifest = {"feeds": [{"feed": f"f{number}", **line} for number in range(302)], "why": None}
    opened(page, server, running(state="published", manifest=manifest))

    expect(page.locator("#manifest")).to_contain_text("and 2 more; all of them are below, as JSON")


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_stands_out_of_a_small_window(page: Page, server: JsonServer, width: int) -> None:
    """Long names and states break; only tables scroll, in boxes of their own."""
    view = running(quarantine=[{"feed": LONG, "rule": LONG, "rows": 2}])
    view["rounds"][0]["branches"][0]["feeds"] = [
        {
            "feed": LONG, "state": "below_standard", "weight": 1.0, "required": True, "usual_rows": 1, "rows_in": 1,
            "rows_staged": 1, "rows_quarantined": 1, "seconds": 1.0, "quality_score": 0.5, "completeness": 1.0,
            "validity": 1.0, "uniqueness": 1.0, "error": LONG, "registered_at": moment(2),
        }
    ]  # fmt: skip
    view["rounds"][0]["gate"]["verdict"] = {
        "id": 7, "round": 1, "at": moment(9), "policy": "quorum_gate", "action": "conditional_proceed",
        "reason": "only_failed_missing", "evidence": {},
    }  # fmt: skip
    page.set_viewport_size({"width": width, "height": 800})
    opened(page, server, view).locator("#branches").wait_for()

    assert [] == page.locator("body *").evaluate_all(
        """all => all.filter((it) => it.getBoundingClientRect().right > innerWidth + 1 && !it.closest(".scroll, #contents, pre"))
            .map((it) => `${it.tagName} ${it.textContent.slice(0, 40)}`)"""
    )
