"""What the tests of the page look at, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import psycopg
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Frame, FrameLocator, Page

from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from demo.stack import Stack
from tests.insights_pg.played import PlayedRun

TAB = "iframe"
"""Airflow shows the page in a frame."""
RECORD = """() => {
    const seen = window.seen = {progress: [], left: [], branches: [], state: []};
    const note = (name, text) => text && seen[name].at(-1) !== text && seen[name].push(text);
    const look = () => {
        note("progress", document.querySelector(".gatebar .fill")?.getAttribute("width"));
        note("left", document.querySelector(".countdown")?.textContent);
        note("branches", document.querySelector("#branches > .quiet")?.textContent);
        note("state", document.querySelector(".headline > .chip")?.textContent);
    };
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
    look();
}"""
"""Keeps what the page says while it changes, until it is left or loaded anew."""
ASTRAY = """() => [...document.querySelectorAll("a.because")]
    .filter((link) => !document.getElementById(decodeURIComponent(link.hash.slice(1)))
        ?.matches(".decision, #quarantine"))
    .map((link) => link.outerHTML)"""
"""The figures that lead nowhere."""
OPEN_ALL = """() => {
    const closed = "details:not([open]) > summary, .toggle[aria-expanded=false]";
    for (let left = 9; left && document.querySelector(closed); left -= 1)
        document.querySelectorAll(closed).forEach((it) => it.click());
}"""
"""Opens what can be opened."""


def log_in(page: Page, stack: Stack) -> None:
    """Fill in the login form, and wait for what comes after."""
    page.fill("input[name=username]", stack.user)
    page.fill("input[name=password]", stack.password)
    with page.expect_navigation(url=lambda url: "/login" not in url):
        page.click("button[type=submit]")


def run_tab(root: str, key: RunKey) -> str:
    """The address of the tab "Orchestration" of a run, below the address of an Airflow."""
    return f"{root}/dags/{key.dag_id}/runs/{quote(key.run_id, safe='')}/plugin/orchestration"


def same_address(one: str, other: str) -> bool:
    """Whether two addresses differ in nothing but in how their characters are written."""
    return unquote(one) == unquote(other)


def alone(root: str, key: RunKey) -> str:
    """The address of the page of a run, without Airflow around it."""
    return f"{root}/orchestration/page?{urlencode({'dag_id': key.dag_id, 'run_id': key.run_id})}"


@contextmanager
def played(stack: Stack, folder: Path, key: RunKey) -> Iterator[PlayedRun]:
    """A run that no scheduler plays, in the store of the stack; Airflow need not know it."""
    folder.mkdir(mode=0o755)
    feeds: dict[str, dict[str, Any]] = {"north": {"weight": 3.0}, "east": {"weight": 3.0}, "south": {}}

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(stack.warehouse_dsn)

    publish = {"table": "public.things_seen", "conn_id": "orchestration_default"}
    with PostgresStore(connect) as store:
        run = PlayedRun(folder, store, connect, feeds, run_id=key.run_id, publish=publish, max_rounds=1)
        run.key = key
        yield run


def framed(page: Page) -> FrameLocator:
    """The page in Airflow's frame."""
    return page.frame_locator(TAB)


def frame(page: Page) -> Frame:
    """The document in Airflow's frame, to run a script in."""
    found = page.wait_for_selector(TAB).content_frame()
    assert found is not None
    return found


def violations(document: Page | Frame) -> list[Any]:
    """What axe finds wrong with a document: the rule, and where."""
    found = Axe().run(document).response["violations"]
    return [(it["id"], it["help"], [node["target"] for node in it["nodes"]]) for it in found]
