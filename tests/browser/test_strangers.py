"""Whoever delivers feeds, answers, or writes into the store can't put anything but text on the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from psycopg.types.json import Jsonb

from airflow_orchestration.domain.agent import (
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.store import RunKey
from demo.stack import Stack
from tests.browser.watching import OPEN_ALL, alone, played
from tests.insights_pg.played import PlayedRun
from tests.rewriting import REWRITING

pytestmark = pytest.mark.integration

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
LINK = "javascript:alert(3)"
KEY = RunKey(dag_id="warehouse_check", run_id=f"by a stranger/{EVIL}+:#?&%2f")
"""A Dag that Airflow knows; the store takes any id of a run."""
WATCH = """
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
"""
FOREIGN = """() => [...document.querySelectorAll(
        "img, iframe, object, embed, base, style, script:not([src='static/page.js']), [style*='url'], [onerror], [onclick]")]
    .concat([...document.querySelectorAll("[href]")].filter((it) => !/^https?:|^data:,$/.test(it.href)))
    .map((it) => it.outerHTML)"""
"""What only a stranger would put there."""
INLINE = """() => new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", (event) => resolve([window.ran ?? false, event.effectiveDirective]));
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
})"""
MERGED = """
    UPDATE orchestration.merge SET examples = %(examples)s, disagreements = %(counts)s, compared = %(counts)s
    WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s"""
FAILED = """
    UPDATE orchestration.feed_outcome SET error = %(error)s
    WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND feed_id = 'south'"""
REJECTED = """
    UPDATE orchestration.feed_outcome SET rejects = rejects || %(rejects)s
    WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND feed_id = 'north'"""
DECIDED = """
    INSERT INTO orchestration.decision (dag_id, run_id, round, decision)
    VALUES (%(dag_id)s, %(run_id)s, 1, %(decision)s)"""
TOLD = """
    INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, event, detail)
    VALUES (%(dag_id)s, %(run_id)s, 1, %(word)s, %(word)s, %(detail)s)"""
DECISION = {
    "policy": EVIL,
    "action": EVIL,
    "reason": EVIL,
    "evidence": {EVIL: EVIL, "link": LINK, "many": [{EVIL: EVIL}]},
}
MODE = "UPDATE orchestration.run SET mode = %(mode)s WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s"
AGENT = AgentSpecification(
    agent_type="stranger",
    capabilities=tuple(Capability)[:1],
    resource_requirements=ResourceRequirements(cpu_millicores=1, memory_mb=1),
    performance_targets=PerformanceTargets(response_time_seconds=1, throughput_per_second=1.0),
    specialization_parameters={},
)


@pytest.fixture(scope="module")
def stranger(stack: Stack, outside: Path) -> RunKey:
    """A degraded run in which everything that is free text is markup."""
    stack.api.wait_for_dag(KEY.dag_id)
    with played(stack, outside / "stranger", KEY) as run:
        play(run, stack)
    return KEY


def play(run: PlayedRun, stack: Stack) -> None:
    """Let a run go its way to the end, and put markup into what it leaves on the way."""
    run.land(north=f"a,1,x\nb,-1,{EVIL}\n", east=f"a,1,{EVIL}\n")
    (run.folder / "south.csv").write_text("")  # has no rows and no header: it fails
    run.start()
    run.plan()
    run.work()
    change(stack, FAILED, error=f"{LINK} {EVIL}")
    with run.step(1, "agents") as step:
        agent = AssignedAgent(
            agent_id=EVIL, position=0, specification=AGENT, work={"branch_id": LINK, "lane": EVIL}
        )
        run.store.agents.assign(step.fence, [agent])
    change(stack, DECIDED, decision=Jsonb(DECISION))
    change(stack, TOLD, word=EVIL, detail=Jsonb({EVIL: LINK}))
    run.look()
    run.merge()
    example = {"key": {EVIL: EVIL}, "values": {EVIL: EVIL, "north": LINK}, "chosen": EVIL}
    change(stack, MERGED, examples=Jsonb({EVIL: [example]}), counts=Jsonb({EVIL: 1}))
    change(stack, MODE, mode=Jsonb(DECISION))
    run.publish()
    change(stack, REJECTED, rejects=Jsonb({EVIL: 1}))


def change(stack: Stack, statement: str, **values: Any) -> None:
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute(REWRITING)
        changed = connection.execute(statement, {**values, "dag_id": KEY.dag_id, "run_id": KEY.run_id})
    assert 1 == changed.rowcount, statement


@contextmanager
def nothing_happens(context: BrowserContext) -> Iterator[Page]:
    """A tab in which no dialog opens, nothing is logged, and no report of the policy comes."""
    context.add_init_script(WATCH)
    page = context.new_page()
    noticed: list[str] = []
    page.on("dialog", lambda it: (noticed.append(it.message), it.dismiss()))
    page.on("console", lambda it: noticed.append(it.text))
    page.on("pageerror", lambda it: noticed.append(str(it)))
    yield page
    assert [] == noticed
    assert [] == page.evaluate("window.refused")


def test_a_run_of_strangers_is_text(context: BrowserContext, stack: Stack, stranger: RunKey) -> None:
    """Opened everywhere, the page of such a run has no element of theirs, runs nothing, and shows each word as it came."""
    with nothing_happens(context) as page:
        page.goto(alone(stack.url, stranger))
        expect(page.locator("#summary")).to_contain_text("Published degraded")
        page.evaluate(OPEN_ALL)
        expect(page.get_by_text("Loading …")).to_have_count(0)
        page.evaluate(OPEN_ALL)

        assert [] == page.evaluate(FOREIGN)
        assert stranger.run_id in page.inner_text("#head")
        for part in ("summary", "merge", "quarantine", "agents", "mode", "manifest", "decisions", "timeline"):
            assert EVIL in page.inner_text(f"#{part}"), part


def test_a_list_of_strangers_is_text(context: BrowserContext, stack: Stack, stranger: RunKey) -> None:
    """Under Browse such a run is a line of text, and its link leads to it whatever its id is made of."""
    with nothing_happens(context) as page:
        page.goto(f"{stack.url}/orchestration/page?dag_id={stranger.dag_id}")
        page.get_by_role("link", name=stranger.run_id).click()
        expect(page.locator("#summary")).to_contain_text("Published degraded")

        assert stranger.run_id in page.inner_text("#head")
        assert [] == page.evaluate(FOREIGN)


def test_what_stands_in_the_page_is_not_run(page: Page, stack: Stack, stranger: RunKey) -> None:
    """The policy comes with the page: even a script that got into it would not run."""
    answer = page.goto(alone(stack.url, stranger))
    expect(page.locator("#summary")).to_contain_text("Published degraded")

    assert answer is not None
    assert "script-src 'self'" in answer.headers["content-security-policy"].split("; ")
    assert [False, "script-src-elem"] == page.evaluate(INLINE)
