"""The page works where Airflow stands below a path, alone and as a tab."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect

from airflow_orchestration.storage.store import RunKey
from demo.ports import HOST, free_port
from demo.processes import OwnedProcess, end, family, wait_until
from demo.stack import Stack
from tests.browser.watching import alone, framed, log_in, played, run_tab, same_address

pytestmark = pytest.mark.integration

DAG_ID = "warehouse_check"


@pytest.fixture(scope="module")
def below_a_path(stack: Stack, outside: Path) -> Iterator[str]:
    """The address of a second api-server of the stack, below `/air`."""
    port = free_port()
    url = f"http://localhost:{port}/air"
    own = {"AIRFLOW__API__BASE_URL": url, "AIRFLOW__API__PORT": str(port)}
    with (outside / "api-server-below.log").open("wb") as log:
        child = subprocess.Popen(
            (sys.executable, "-m", "airflow", "api-server"),
            cwd=outside,
            env=stack.environment() | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    leader = OwnedProcess.of("api-server", child.pid)
    try:
        assert wait_until(lambda: answers(f"http://{HOST}:{port}/air/api/v2/monitor/health"), 120)
        yield url
    finally:
        if leader:
            end(family(leader, outside), ((SIGTERM, 4.0), (SIGKILL, 5.0)))
        child.wait()


@pytest.fixture(scope="module")
def key(stack: Stack, outside: Path) -> RunKey:
    """A published run that Airflow knows too."""
    stack.api.wait_for_dag(DAG_ID)
    key = RunKey(dag_id=DAG_ID, run_id=stack.api.trigger(DAG_ID))
    with played(stack, outside / "below", key) as run:
        run.land(north="a,1,x\n", east="a,1,x\n", south="b,2,x\n")
        run.start()
        run.plan()
        run.work()
        run.look()
        run.merge()
        run.publish()
    return key


def answers(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def test_the_page_works_below_a_path(browser: Browser, below_a_path: str, stack: Stack, key: RunKey) -> None:
    """Logged out it leads to the login and back; alone and as a tab it finds its files, its data and the run."""
    failed: list[tuple[int, str]] = []
    with browser.new_context(locale="en-GB") as context:
        page = context.new_page()
        page.on("response", lambda it: failed.append((it.status, it.url)) if it.status >= 400 else None)
        page.goto(alone(below_a_path, key))
        log_in(page, stack)
        expect(page.locator("#summary")).to_contain_text("Published")
        assert alone(below_a_path, key) == page.url
        assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("link", name="run in Airflow").click()
        page.get_by_role("link", name="Orchestration", exact=True).last.click()
        expect(framed(page).locator("#summary")).to_contain_text("Published")
        assert same_address(run_tab(below_a_path, key), page.url)
        framed(page).get_by_role("link", name="run in Airflow").click()
        expect(page.locator("iframe")).to_have_count(0)
        assert same_address(run_tab(below_a_path, key).removesuffix("/plugin/orchestration"), page.url)
        assert [] == failed
