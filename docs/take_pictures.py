"""Takes the pictures of the docs from a demo that has run: `python docs/take_pictures.py [airports | agents | page]`.

Needs Playwright from PyPI and a Chromium: `CHROMIUM=/usr/bin/chromium`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from demo.run import DAG_ID
from demo.stack import Stack

HERE = Path(__file__).parent
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    """Log in, and take the pictures of a demo that has run: `airports`, `agents` or `page`."""
    repository = HERE.parent
    stack = Stack(repository / ".orchestration", dags_folders=[repository / "dags"])
    take(stack, *sys.argv[1:])


def take(stack: Stack, demo: str = "airports") -> None:
    """Take the pictures of a demo from a stack that is up."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=ARGUMENTS
        )
        page = browser.new_page(
            viewport={"width": 2100, "height": 640}, device_scale_factor=1.5, locale="en-GB"
        )
        log_in(page, stack)
        page.evaluate("localStorage.setItem('theme', 'light')")
        {"airports": take_airports, "agents": take_agents, "page": take_page}[demo](page, stack)
        browser.close()


def take_airports(page: Page, stack: Stack) -> None:
    """Take the graph and the grid of the newest run."""
    open_newest_run(page, stack, DAG_ID)
    page.screenshot(path=HERE / "pictures" / "run.png")
    open_first_round(page, "text=+ 11 Tasks >> nth=0")
    page.locator(".react-flow").first.screenshot(path=HERE / "pictures" / "dag.png")


def take_agents(page: Page, stack: Stack) -> None:
    """Take the tenants' Dags as a table, and the graph of a run with four agents."""
    page.set_viewport_size({"width": 2100, "height": 860})
    page.goto(f"{stack.url}/dags?tags=agents")
    page.click("button[aria-label='Show table view']")
    page.wait_for_selector("text=violet__airports")
    page.wait_for_timeout(2000)
    page.screenshot(path=HERE / "pictures" / "tenants.png")
    open_newest_run(page, stack, "gold__flights")
    open_first_round(page, "text=/\\+ \\d+ Tasks/ >> nth=0")
    page.locator(".react-flow").first.screenshot(path=HERE / "pictures" / "agents.png")


def take_page(page: Page, stack: Stack) -> None:
    """Take the page of the newest run in light and in dark, all runs, and the form by which runs are triggered."""
    page.set_viewport_size({"width": 1400, "height": 1250})
    open_newest_run(page, stack, DAG_ID)
    page.goto(f"{page.url}/plugin/orchestration")
    for theme, name in (("dark", "page_dark"), ("light", "page")):
        page.evaluate("(theme) => localStorage.setItem('theme', theme)", theme)
        page.reload()
        page.frame_locator("iframe").locator(f"[data-theme={theme}] #branches").wait_for()
        page.wait_for_timeout(1000)
        page.screenshot(path=HERE / "pictures" / f"{name}.png")
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(f"{stack.url}/plugin/orchestration_runs")
    page.frame_locator("iframe").locator("#feeds table").wait_for()
    page.wait_for_timeout(1000)
    page.screenshot(path=HERE / "pictures" / "browse.png")
    page.set_viewport_size({"width": 1400, "height": 1800})
    page.goto(f"{stack.url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".view-line").first.wait_for()
    page.wait_for_timeout(1000)
    dialog.screenshot(path=HERE / "pictures" / "form.png")


def open_newest_run(page: Page, stack: Stack, dag_id: str) -> None:
    """Go to the page of the newest run."""
    runs = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns?order_by=-start_date&limit=1")["dag_runs"]
    page.goto(f"{stack.url}/dags/{dag_id}/runs/{quote(runs[0]['dag_run_id'], safe='')}")
    page.wait_for_selector("text=Close out")
    page.wait_for_timeout(2000)


def open_first_round(page: Page, button: str) -> None:
    """Go from the grid to the graph, and open the group of the first round."""
    page.keyboard.press("g")
    page.wait_for_timeout(3000)
    page.click(button)
    page.wait_for_timeout(2000)
    page.click(".react-flow__controls-fitview")
    page.wait_for_timeout(2000)


def log_in(page: Page, stack: Stack) -> None:
    """Fill in the login form."""
    page.goto(stack.url)
    page.fill("input[name=username]", stack.user)
    page.fill("input[name=password]", stack.password)
    page.click("button[type=submit]")
    page.wait_for_selector("text=Dags")


if __name__ == "__main__":
    main()
