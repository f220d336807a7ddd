"""A run as large as the page is made for can be looked at, and searched, in a real browser."""

from __future__ import annotations

import psycopg
import pytest
from playwright.sync_api import Page, expect

from airflow_orchestration.storage.postgres import PostgresStore
from benchmarks.page_run import KEY, ROUNDS, Size, fill
from demo.stack import Stack
from tests.browser.watching import alone

pytestmark = pytest.mark.integration

SIZE = Size(branches=200, feeds=2_000, again=2_000, events=2_000)
LONGEST = 5.0
"""Seconds from the last byte of the data to the whole page; ours: it takes half a second where nothing else goes on."""
MOST_ELEMENTS = 20_000
"""Ours: some browsers become slow with more."""
TIMED = """
    new MutationObserver((_, observer) => {
        if (!document.getElementById("decisions")) return;
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => document.documentElement.dataset.drawn = performance.now()));
    }).observe(document, {subtree: true, childList: true});
"""
"""Notes when the last section is there and painted."""
ARRIVED = "performance.getEntriesByType('resource').find((it) => it.name.includes('/run?')).responseEnd"


@pytest.fixture(scope="module")
def large(stack: Stack) -> None:
    """Three rounds of 2,000 feeds in 200 branches, the last of which is waited for."""
    with (
        PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store,
        psycopg.connect(stack.warehouse_dsn) as connection,
    ):
        fill(store, connection, SIZE)


@pytest.mark.usefixtures("large")
def test_a_large_run_is_drawn_quickly_and_can_be_searched(page: Page, stack: Stack) -> None:
    """With 2,000 feeds in 200 branches the page is there at once, stays small, and finds a feed."""
    page.add_init_script(TIMED)
    page.goto(alone(stack.url, KEY))
    page.wait_for_selector("html[data-drawn]")
    took = (page.evaluate("Number(document.documentElement.dataset.drawn)") - page.evaluate(ARRIVED)) / 1000
    elements = page.evaluate("document.querySelectorAll('*').length")
    rows = page.locator("#branches tr:has(.toggle)")

    assert took < LONGEST
    assert elements < MOST_ELEMENTS
    assert SIZE.branches == rows.count()
    page.fill("#branches input[type=search]", "feed_1999")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("b199")
    rows.get_by_role("button").click()
    assert SIZE.feeds // SIZE.branches == page.locator("#branches .inner tbody tr").count()
    page.fill("#branches input[type=search]", "nobody is called so")
    expect(page.locator("#branches")).to_contain_text("No branch is like that.")
    assert f"round {ROUNDS}" in page.inner_text("#branches h2")
