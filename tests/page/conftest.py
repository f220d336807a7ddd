"""The page alone, in a real browser with a clock that tests move, before a server that says what they tell it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.chromium import browser
from tests.page.json_server import JsonServer, json_server

__all__ = ["browser"]
BEFORE, NOW = "2026-11-23T06:00:00Z", "2026-11-23T06:10:00Z"


@pytest.fixture
def server() -> Iterator[JsonServer]:
    """What the page is told."""
    with json_server() as told:
        yield told


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab whose clock stands still."""
    with browser.new_context(locale="en-GB", reduced_motion="reduce") as context:
        context.set_default_timeout(5000)
        opened = context.new_page()
        opened.clock.install(time=BEFORE)  # it goes on until it is stopped
        opened.clock.pause_at(NOW)
        yield opened
