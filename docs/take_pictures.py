"""Takes the pictures of the docs from the running demo: `make run`, then `python docs/take_pictures.py`.

Needs Playwright from PyPI and a Chromium: `CHROMIUM=/usr/bin/chromium`.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from demo.run import DAG_ID
from demo.stack import Stack

HERE = Path(__file__).parent
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    """Log in, open the newest run, and take its graph and its grid."""
    repository = HERE.parent
    stack = Stack(repository / ".orchestration", dags_folders=[repository / "dags"])
    runs = stack.api.get(f"/api/v2/dags/{DAG_ID}/dagRuns?order_by=-start_date&limit=1")["dag_runs"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=ARGUMENTS
        )
        page = browser.new_page(viewport={"width": 2100, "height": 640}, device_scale_factor=1.5)
        log_in(page, stack)
        page.evaluate("localStorage.setItem('theme', 'light')")
        page.goto(f"{stack.url}/dags/{DAG_ID}/runs/{quote(runs[0]['dag_run_id'], safe='')}")
        page.wait_for_selector("text=close_out")
        page.wait_for_timeout(2000)
        page.screenshot(path=HERE / "pictures" / "run.png")
        page.keyboard.press("g")  # from the grid to the graph
        page.wait_for_timeout(3000)
        page.click("text=+ 11 Tasks >> nth=0")  # open the first round
        page.wait_for_timeout(2000)
        page.click(".react-flow__controls-fitview")
        page.wait_for_timeout(2000)
        page.locator(".react-flow").first.screenshot(path=HERE / "pictures" / "dag.png")
        browser.close()


def log_in(page: Page, stack: Stack) -> None:
    """Fill in the login form."""
    page.goto(stack.url)
    page.fill("input[name=username]", stack.user)
    page.fill("input[name=password]", stack.password)
    page.click("button[type=submit]")
    page.wait_for_selector("text=Dags")


if __name__ == "__main__":
    main()
