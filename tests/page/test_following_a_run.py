"""What the page of a run shows while the run goes on, ends, or tells nothing."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.json_server import JsonServer

POLL = 3_100
"""Milliseconds after which the page has looked again."""


def moment(minute: int, second: int = 0) -> str:
    return f"2026-11-23T06:{minute:02}:{second:02}+00:00"


def decision(number: int | None, policy: str = "drift", **changes: Any) -> dict[str, Any]:
    told = {"action": "accept", "reason": "as_usual", "evidence": {"feed": "north"}}
    return {"id": number, "round": 1, "at": moment(4), "policy": policy, **told, **changes}


def branch(name: str, **changes: Any) -> dict[str, Any]:
    told = {"lane": "beta", "agent": None, "state": "running", "rows": 5, "seconds": 1.5, "weight": 1.0}
    return {"branch_id": name, **told, "started_at": moment(1), "waiting_for": [], "feeds": [], **changes}


def gate(**changes: Any) -> dict[str, Any]:
    counts = {
        "arrived": 1,
        "failed": 0,
        "pending": 1,
        "expected": 2,
        "arrived_weight": 1,
        "expected_weight": 2,
    }
    terms = {"deadline_at": moment(20), "floor": 0.75, "grace_period_seconds": None, "floor_reached_at": None}
    return {**counts, **terms, "progress": 0.5, "required": [], "points": [], "verdict": None, **changes}


def running(**changes: Any) -> dict[str, Any]:
    """A run whose gate waits."""
    first = {"round": 1, "opened_at": moment(1), "decided_at": None, "gate": gate()}
    rest = {"branches": [branch("b1")], "merges": [], "quality": None, "questions": []}
    return {
        "dag_id": "prices", "run_id": "r", "pipeline_id": "prices", "tenant": None, "late": "reconcile",
        "state": "running", "now": moment(10), "started_at": moment(0), "finished_at": None, "conf": {},
        "mode": None, "deadline_met": None, "rounds": [{**first, **rest}], "agents": False, "quarantine": [],
        "manifest": None, "decisions": [decision(7)], "chart": [], "rows_shown": True,
        "events": {"count": 50, "more": False}, **changes,
    }  # fmt: skip


def ended(state: str = "not_published", **changes: Any) -> dict[str, Any]:
    return running(state=state, finished_at=moment(12), **changes)


def event(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "at": moment(5),
        "round": 1,
        "unit": "u",
        "event": "e",
        "text": f"t{number}",
        "detail": {},
    }


def opened(page: Page, server: JsonServer, view: Any, anchor: str = "") -> Page:
    """The page of a run, which is told this."""
    server.answers["run"] = view
    page.goto(f"{server.address}?dag_id=prices&run_id=r{anchor}")
    return page


def look_again(page: Page, server: JsonServer, view: Any, after: int = POLL) -> None:
    """Tell the page something else, and let its clock run until it has asked."""
    server.answers["run"] = view
    with page.expect_response(lambda answer: "/run?" in answer.url):
        page.clock.run_for(after)


def texts(page: Page) -> list[int]:
    found = page.locator("#timeline td:last-child").all_inner_texts()
    return [int(text[1:]) for text in found]


def test_a_burst_of_events_leaves_no_gap(page: Page, server: JsonServer) -> None:
    """When more came than a page holds, the button leads from the newest to the very first, without a gap."""
    server.events = [event(number) for number in range(1, 51)]
    opened(page, server, running()).locator("summary[data-key=events]").click()
    expect(page.get_by_text("t50", exact=True)).to_be_visible()
    server.events = [event(number) for number in range(1, 551)]
    look_again(page, server, running(events={"count": 550, "more": False}))
    expect(page.get_by_text("t550", exact=True)).to_be_attached()
    for oldest in ("t151", "t1"):
        page.locator("[data-key=older]").click()
        expect(page.get_by_text(oldest, exact=True)).to_be_attached()
    expect(page.get_by_text("This is the beginning.")).to_be_attached()

    assert list(range(550, 0, -1)) == texts(page)


def test_what_is_open_is_up_to_date_when_the_run_has_ended(page: Page, server: JsonServer) -> None:
    """The last events, and how the agents ended, come with the end of the run."""
    agent = {
        "agent_id": "a1", "agent_type": "x", "lane": None, "branch_id": None, "state": "working", "choice": None,
        "work": None, "targets": {}, "wanted": {}, "measured": {},
    }  # fmt: skip
    done = {**agent, "state": "succeeded"}
    server.answers["agents"] = [{"round": 1, "failures": [], "order": None, "agents": [agent]}]
    server.events = [event(1)]
    opened(page, server, running(agents=True))
    for key in ("events", "agents"):
        page.locator(f"summary[data-key={key}]").click()
    expect(page.locator("#agents .chip")).to_contain_text("working")
    server.answers["agents"] = [{"round": 1, "failures": [], "order": None, "agents": [done]}]
    server.events = [event(1), event(2)]
    look_again(page, server, ended(agents=True))

    expect(page.locator("#agents .chip")).to_contain_text("succeeded")
    expect(page.get_by_text("t2", exact=True)).to_be_attached()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda server: server.answers.update(run="<html>a proxy</html>"), "The server's answer is no JSON"),
        (lambda server: server.statuses.update(run=500), "The server answered 500"),
        (lambda server: server.answers.update(run=running(chart=None)), "This page has a fault"),
    ],
    ids=["no JSON", "500", "fault"],
)
def test_an_answer_that_nobody_expects_stops_nothing(
    page: Page, server: JsonServer, change: Any, told: str
) -> None:
    """The page says what is wrong, keeps what it shows, and goes on asking."""
    opened(page, server, running()).locator("#branches").wait_for()
    change(server)
    page.clock.run_for(POLL)
    expect(page.locator("#notice")).to_contain_text(told)
    server.statuses.clear()
    look_again(page, server, running(rounds=[], state="running"), after=2 * POLL)

    expect(page.locator("#notice")).to_be_empty()


def test_a_bad_anchor_stops_nothing(page: Page, server: JsonServer) -> None:
    """Who adds a `%` to the address still sees the run go on."""
    opened(page, server, running(), "#%").locator("#branches").wait_for()
    look_again(page, server, ended())

    expect(page.locator(".headline")).to_contain_text("Not published")


def test_a_decision_stays_marked_when_others_come(page: Page, server: JsonServer) -> None:
    """The mark is on what the address names, also after the section was made anew."""
    opened(page, server, running(), "#decision-7").locator("#decision-7.target").wait_for()
    look_again(page, server, running(decisions=[decision(8), decision(7)]))
    page.locator("#decision-8").wait_for()

    assert ["decision-7"] == page.locator(".target").evaluate_all("all => all.map((it) => it.id)")


def test_a_decision_that_is_not_shown_is_told(page: Page, server: JsonServer) -> None:
    """An address with an old decision says why nothing is marked, and where to look."""
    opened(page, server, running(), "#decision-3")

    expect(page.locator("#notice")).to_contain_text("airflow orchestration explain")


def test_a_silent_run_is_told_and_asked_less_often(page: Page, server: JsonServer) -> None:
    """A run that was killed says nothing any more: the page tells since when, and leads to Airflow."""
    late = "2026-11-23T06:31:00+00:00"
    opened(page, server, running(now=late))
    expect(page.locator("#notice")).to_contain_text("Nothing has been recorded since")
    expect(page.locator("#notice a")).to_have_attribute("href", re.compile("/dags/prices/runs/r$"))
    asked = server.asked.count("run")
    page.clock.run_for(4 * POLL)

    assert asked == server.asked.count("run")


def test_a_run_that_waits_for_its_gate_is_not_silent(page: Page, server: JsonServer) -> None:
    """Whoever waits for a deadline waits as long as it takes."""
    opened(page, server, running(now="2026-11-23T06:29:00+00:00")).locator("#branches").wait_for()

    expect(page.locator("#notice")).to_be_empty()


@pytest.mark.parametrize(
    ("share", "told"), [(1.0, "100%"), (0.99961, "99.9%"), (0.999999, "99.9%"), (0.75, "75%")]
)
def test_only_a_whole_share_reads_100_percent(
    page: Page, server: JsonServer, share: float, told: str
) -> None:
    """What is missing is never rounded away."""
    view = running()
    view["rounds"][0]["gate"]["progress"] = share
    opened(page, server, view)

    expect(page.locator("#gate dd").first).to_contain_text(f"{told}: weight")


@pytest.mark.parametrize(("met", "told"), [(True, "met"), (False, "missed")])
def test_the_deadline_is_what_the_run_s_record_says(
    page: Page, server: JsonServer, met: bool, told: str
) -> None:
    """The tile says what Browse and the metric say, and works nothing out by itself."""
    opened(page, server, ended(deadline_met=met))

    expect(page.locator(".tiles > div", has_text="Deadline")).to_have_text(f"Deadline{told}")


def test_a_question_that_nobody_answered(page: Page, server: JsonServer) -> None:
    """In a run that has ended nothing is to be answered any more."""
    asked = {"question": "gate", "task_id": "round_1.ask_gate", "asked_at": moment(5), "answer_by": moment(9)}
    view = ended()
    view["rounds"][0]["questions"] = [
        {**asked, "answered_at": None, "by": None, "chosen": None, "default": None}
    ]
    opened(page, server, view)

    expect(page.locator("#questions")).to_contain_text("Not answered")
    expect(page.locator("#questions")).not_to_contain_text("Answer it")


def test_tables_stay_where_the_reader_scrolled_them(page: Page, server: JsonServer) -> None:
    """News moves nobody away from the branch that they look at."""
    view = running()
    view["rounds"][0]["branches"] = [branch(f"b{number}") for number in range(100)]
    box = opened(page, server, view).locator('#branches [aria-label="Branches by lane"]')
    box.evaluate("it => it.scrollTo(0, 900)")
    news = deepcopy(view)
    news["rounds"][0]["branches"][3]["rows"] = 123456
    look_again(page, server, news)
    expect(box).to_contain_text("123,456")

    assert 900 == box.evaluate("it => it.scrollTop")


def test_a_right_that_is_missing_is_named(page: Page, server: JsonServer) -> None:
    """Samples need another right than the run."""
    server.answers["quarantine"], server.statuses["quarantine"] = {"detail": "Forbidden"}, 403
    opened(page, server, running(quarantine=[{"feed": "north", "rule": "r", "rows": 2}]))
    page.locator("#quarantine .toggle").click()
    expect(page.locator("#quarantine .problem")).to_contain_text("the Dag's runs and its tasks' logs")
    server.answers["run"], server.statuses["run"] = {"detail": "Forbidden"}, 403
    page.clock.run_for(POLL)

    expect(page.locator("#notice")).to_contain_text("the right to read the Dag's runs.")


def test_what_is_shown_stays_while_nothing_is_new(page: Page, server: JsonServer) -> None:
    """The page says what it has, keeps it, lets the time left run, and shows what is new when it comes."""
    server.tag = 'W/"1"'
    opened(page, server, running())
    left = page.locator("#gate .countdown")
    expect(left).to_have_text("10\u00a0min 0\u00a0s left")
    page.evaluate("document.querySelector('#gate').dataset.old = 'yes'")
    look_again(page, server, running(state="published", finished_at=moment(12)))
    expect(left).to_have_text("9\u00a0min 57\u00a0s left")
    expect(page.locator("#gate[data-old]")).to_have_count(1)
    expect(page.locator(".headline")).to_contain_text("Running")
    server.tag = 'W/"2"'
    look_again(page, server, ended("published"))
    expect(page.locator(".headline")).to_contain_text("Published")


def test_a_run_that_was_repaired_says_so(page: Page, server: JsonServer) -> None:
    """The merge is called that of the first version, and a feed that was late tells since when it is in."""
    late = {
        "feed": "east", "state": "late", "in_since_version": 2, "weight": 1.0, "required": False, "usual_rows": None,
        "rows_in": 1, "rows_staged": 1, "rows_quarantined": 0, "seconds": 1.0, "quality_score": 1.0,
        "completeness": 1.0, "validity": 1.0, "uniqueness": 1.0, "error": None, "registered_at": None,
    }  # fmt: skip
    merge = {"dataset": "prices", "table": "public.prices", "version": 1, "versions": 2, "rows": 3}
    merge |= {"sources": [], "disagreements": [], "decision": decision(8, "merging")}
    view = ended("published")
    view["rounds"][0] |= {"branches": [branch("b1", feeds=[late])], "merges": [merge]}
    opened(page, server, view)
    expect(page.locator("#merge")).to_contain_text("As of version 1\u00a0of\u00a02")
    expect(page.locator("#branches")).to_contain_text("in since version 2")


def test_a_gate_that_never_decided_is_not_waited_for(page: Page, server: JsonServer) -> None:
    """The run ended before: no time is left, and the verdict says that there is none."""
    view = ended()
    view["rounds"][0]["gate"] = gate(
        state="abandoned", floor=None, progress=None, required=[{"feed": "a", "arrived": False}]
    )
    opened(page, server, view)
    expect(page.locator("#gate")).to_contain_text("the run ended before the gate decided")
    expect(page.locator("#gate .countdown")).to_have_count(0)
    expect(page.locator("#gate")).not_to_contain_text("waiting")
