"""A real browser, logged in to Airflow as a person would be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from demo.stack import Stack
from tests.browser.watching import log_in
from tests.chromium import browser

__all__ = ["browser"]
expect.set_options(timeout=30_000)
SECOND = 1000
"""Playwright counts in milliseconds."""


@pytest.fixture(scope="module")
def cookies(browser: Browser, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser of somebody keeps who has logged in."""
    kept = tmp_path_factory.mktemp("browser") / "cookies.json"
    with browser.new_context() as context:
        context.set_default_timeout(60 * SECOND)
        opened = context.new_page()
        opened.goto(stack.url)
        log_in(opened, stack)
        context.storage_state(path=kept)
    return kept


@pytest.fixture
def context(browser: Browser, cookies: Path) -> Iterator[BrowserContext]:
    """A fresh profile with an English browser in light colours, of somebody who has logged in."""
    view = {"width": 1280, "height": 900}
    opened = browser.new_context(
        locale="en-GB", viewport=view, color_scheme="light", reduced_motion="reduce", storage_state=cookies
    )
    opened.set_default_timeout(60 * SECOND)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty tab."""
    return context.new_page()
