"""A real browser, logged in to Airflow as a person would be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from demo.stack import Stack

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECOND = 1000
"""Playwright counts in milliseconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; for one module at a time, because its event loop would be in the way of others."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("The page is tested in a browser: install chromium, or say where it is in CHROMIUM.")
        pytest.skip("needs a browser: install chromium, or say where it is in CHROMIUM")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile with an English browser."""
    opened = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(60 * SECOND)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, stack: Stack) -> Page:
    """A tab of somebody who has logged in."""
    opened = context.new_page()
    opened.goto(stack.url)
    opened.fill("input[name=username]", stack.user)
    opened.fill("input[name=password]", stack.password)
    opened.click("button[type=submit]")
    opened.wait_for_selector("text=Dags")
    return opened
