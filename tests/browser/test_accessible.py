"""Everybody can use the page: by keyboard, by screen reader, in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Page, expect

from airflow_orchestration.storage.store import RunKey
from demo.stack import Stack
from tests.browser.watching import OPEN_ALL, alone, played, violations

pytestmark = pytest.mark.integration

DEGRADED = RunKey(dag_id="warehouse_check", run_id="accessible__degraded")
RUNNING = RunKey(dag_id="warehouse_check", run_id="accessible__running")
REFUSED = RunKey(dag_id="warehouse_check", run_id="accessible__refused")
FOREIGN = RunKey(dag_id="gate_alone", run_id="accessible__foreign")
REFUSE = """
    INSERT INTO orchestration.run (dag_id, run_id, state, manifest, finished_at)
    VALUES (%s, %s, 'not_published', '{"state": "not_published", "why": "The conf of the run: 1 problem"}', now())"""
SHOWN: Mapping[str, tuple[RunKey | None, str]] = {
    "degraded": (DEGRADED, "Published degraded"),
    "running": (RUNNING, "Running"),
    "refused": (REFUSED, "Not published"),
    "foreign": (FOREIGN, "Nothing to show for this run"),
    "browse": (None, "accessible__degraded"),
}
"""Each page with the words by which it is known to be there."""
FOCUSED = """() => {
    const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
    const {left, top, right, bottom} = document.activeElement.getBoundingClientRect();
    const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
    return [outlineStyle, parseFloat(outlineWidth) >= 2, inside];
}"""
"""Whether one sees where one is."""
WHERE = "document.activeElement.closest('section')?.id"


@pytest.fixture(scope="module")
def runs(stack: Stack, outside: Path) -> None:
    """A run that is over, one that goes on, and one that was refused."""
    stack.api.wait_for_dag(DEGRADED.dag_id)
    for key in (DEGRADED, RUNNING):
        with played(stack, outside / key.run_id, key) as run:
            run.land(north="a,1,x\nb,-1,y\n", east="a,2,x\n")
            (run.folder / "south.csv").write_text("")  # fails, having no header
            run.start()
            run.plan()
            if key == DEGRADED:
                run.work()
                run.look()
                run.merge()
                run.publish()
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute(REFUSE, (REFUSED.dag_id, REFUSED.run_id))


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_in_anybodys_way(name: str, page: Page, stack: Stack) -> None:
    """axe finds nothing wrong, whatever the page has to show and opened everywhere, in light and in dark."""
    key, words = SHOWN[name]
    page.goto(
        f"{stack.url}/orchestration/page?dag_id=warehouse_check" if key is None else alone(stack.url, key)
    )
    expect(page.locator("#main")).to_contain_text(words)
    page.evaluate(OPEN_ALL)
    expect(page.get_by_text("Loading …")).to_have_count(0)

    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator(f"html[data-theme={theme}]")).to_have_count(1)
        assert [] == violations(page), theme


@pytest.mark.usefixtures("runs")
def test_the_keyboard_is_enough(page: Page, stack: Stack) -> None:
    """Tab leads past the menu into the first section, Enter opens what is closed, and one always sees where one is."""
    page.goto(alone(stack.url, DEGRADED))
    expect(page.locator("#summary")).to_be_visible()
    page.keyboard.press("Tab")
    assert "Skip to the content" == page.evaluate("document.activeElement.textContent")
    assert ["solid", True, True] == page.evaluate(FOCUSED)
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    assert "summary" == page.evaluate(WHERE)
    assert ["solid", True, True] == page.evaluate(FOCUSED)
    page.locator("#decisions summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#decisions details[open]")).to_have_count(1)
    while "quarantine" != page.evaluate(WHERE):
        page.keyboard.press("Shift+Tab")
    while "toggle" != page.evaluate("document.activeElement.className"):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#quarantine .inner")).to_contain_text("b,-1")
    assert ["solid", True, True] == page.evaluate(FOCUSED)
