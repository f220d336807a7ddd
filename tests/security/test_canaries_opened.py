"""What a browser does with the page of a run full of canaries: it shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.airflow.page_server import QUERIES, Page
from tests.browser.watching import OPEN_ALL
from tests.chromium import browser
from tests.page.json_server import JsonServer, json_server
from tests.security.canaries import EXECUTED, HTML, NAME

__all__ = ["browser"]
VIEWS = {
    "the run": ("?dag_id=canary&run_id=manual__1", "Published degraded"),
    "all runs": ("", "canary"),
}
"""Where a page is, and what it shows when it is there."""
SEEN = """() => [...document.querySelectorAll("img, iframe, object, embed, [onerror]")].map((it) => it.outerHTML)"""
"""What only a canary would put there."""


@pytest.fixture(scope="module")
def answers(page: Page) -> Mapping[str, Any]:
    """What the api-server says of the run, by the last word of the address."""
    told = {}
    for path, query in QUERIES.items():
        of_run = {"run_id": "manual__1"} if "run_id" in query else {}
        told[path.rpartition("/")[2]] = page.get(path, of="canary", **{**query, **of_run}).json()
    return told


@pytest.fixture
def server(answers: Mapping[str, Any]) -> Iterator[JsonServer]:
    """The page with the headers it is sent with, and these answers."""
    with json_server() as told:
        told.answers.update(answers)
        told.events = answers["timeline"]["events"][::-1]
        yield told


@pytest.mark.parametrize(("query", "shown"), VIEWS.values(), ids=VIEWS)
def test_a_browser_shows_canaries_and_runs_none(
    server: JsonServer, browser: Browser, query: str, shown: str
) -> None:
    """With everything opened there is no element of a canary, no dialog, and no trace of what one computes."""
    with browser.new_context() as context:
        tab = context.new_page()
        dialogs: list[str] = []
        tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        tab.goto(f"{server.address}{query}")
        expect(tab.locator("body")).to_contain_text(shown)
        for _ in range(2):  # what was opened may have more to open
            tab.evaluate(OPEN_ALL)

        assert [] == tab.evaluate(SEEN)
        assert [] == dialogs
        text = tab.locator("body").inner_text()
        assert EXECUTED not in text
        assert not query or (HTML in text and NAME in text)
