"""What the page of a run says of its end, of its rounds, and of feeds that failed."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from tests.page.json_server import JsonServer
from tests.page.test_following_a_run import branch, decision, ended, gate, moment, opened, running

MANIFEST = {"feeds_in": 4, "feeds_expected": 6, "weight_share": 0.8, "version": 1, "rows": 9, "missing": []}
BY_CONF = decision(
    None,
    "conf",
    round=0,
    action="leave_out",
    reason="left_out_by_conf",
    meaning="The conf left feeds out.",
    evidence={"feeds": ["east"]},
)


def missing(state: str) -> dict[str, Any]:
    return {"feed": "east", "state": state, "why": "w", "usual_rows": None}


def test_a_degraded_run_names_what_left_something_out(page: Page, server: JsonServer) -> None:
    """Its gate saw all arrive: the reason is the admission, with its meaning, and leads to it."""
    admission = decision(
        9,
        "admission",
        action="leave_out_poor",
        reason="rest_holds_the_floor",
        meaning="Feeds below standard stay outside.",
    )
    view = ended("published_degraded", manifest=MANIFEST, because=admission, decisions=[admission])
    view["rounds"][0]["gate"] = gate(
        verdict=decision(7, "quorum_gate", reason="all_arrived", action="proceed_to_data_merge")
    )
    opened(page, server, view)

    expect(page.locator(".headline")).to_contain_text("because rest_holds_the_floor")
    expect(page.locator(".headline")).not_to_contain_text("all_arrived")
    link = page.locator(".headline a").last
    assert ("#decision-9", "admission: Feeds below standard stay outside.") == (
        link.get_attribute("href"),
        link.get_attribute("title"),
    )
    expect(page.locator("#decision-9")).to_contain_text("Feeds below standard stay outside.")


def test_a_feed_that_conf_left_out_is_told_beside_both_counts(page: Page, server: JsonServer) -> None:
    """Summary and gate count differently, and say why; nobody promises that it comes later."""
    manifest = {**MANIFEST, "missing": [missing("left_out")]}
    view = ended("published_degraded", manifest=manifest, because=BY_CONF, left_out=["east"])
    opened(page, server, view)

    for place in (".tiles", "#gate"):
        expect(page.locator(place)).to_contain_text("1 left out by this run's conf")
    expect(page.locator("#summary")).to_contain_text("Nothing: what this run's conf left out stays outside.")
    expect(page.locator("#summary")).not_to_contain_text("can still come in")
    expect(page.locator("#decision-conf")).to_be_attached()


def test_a_repaired_run_took_as_long_as_it_took_then(page: Page, server: JsonServer) -> None:
    """A repair is the reason why it is whole, and does not lengthen it; the quality is that of the newest version."""
    versions = [
        {"dataset": "d", "version": number, "published_at": moment(minute), "feeds": []}
        for number, minute in ((1, 2), (2, 40))
    ]
    repair = decision(9, "reconciling", evidence={"overall_quality": 0.987})
    view = ended("published", manifest={**MANIFEST, "version": 2, "versions": versions}, decisions=[repair])
    opened(page, server, {**view, "finished_at": moment(40)})

    expect(page.locator(".headline")).to_contain_text("repaired by version 2")
    expect(page.locator(".headline")).not_to_contain_text("because")
    expect(page.locator(".tiles > div", has_text="Took")).to_have_text("Took2\u00a0min 0\u00a0s")
    expect(page.locator(".tiles > div", has_text="Quality")).to_have_text("Quality0.987")


def test_the_deadline_of_a_round_stands_at_its_bars(page: Page, server: JsonServer) -> None:
    """Each line is as long as the bars of its round and says which; marks are round, and nothing stands out."""
    view = {**ended("published"), "finished_at": moment(14)}
    first = view["rounds"][0]
    view["rounds"] = [
        {**first, "gate": gate(deadline_at=moment(5))},
        {**first, "round": 2, "gate": gate(deadline_at=moment(13))},
    ]
    view["chart"] = [
        {
            "round": number,
            "label": kind,
            "kind": kind,
            "from": moment(begin),
            "to": moment(end),
            "state": "done",
        }
        for number, kind, begin, end in (
            (1, "plan", 0, 1),
            (1, "gate", 1, 5),
            (2, "plan", 6, 7),
            (2, "gate", 7, 14),
        )
    ]
    page.set_viewport_size({"width": 1280, "height": 800})
    opened(page, server, view)
    lines = page.locator("#timeline line.deadline")
    expect(lines).to_have_count(2)

    spans = lines.evaluate_all("all => all.map((it) => [it.getAttribute('y1'), it.getAttribute('y2')])")
    assert [["0", "40"], ["40", "80"]] == spans
    expect(page.locator("#timeline .deadline-name")).to_have_text(
        ["deadline of round 1", "deadline of round 2"]
    )
    expect(page.locator("#timeline text.axis:not(.deadline-name)")).to_have_text(
        ["+0\u00a0s", *(f"+{minutes}\u00a0min" for minutes in (5, 10))]
    )
    assert page.locator("#timeline svg").evaluate(
        "svg => [...svg.querySelectorAll('text, line')]"
        ".every((it) => it.getBoundingClientRect().right <= svg.getBoundingClientRect().right)"
    )


def test_the_error_of_a_feed_stands_below_it(page: Page, server: JsonServer) -> None:
    """In full and in sight, however narrow the window is."""
    feed = {
        "feed": "east", "state": "failed", "in_since_version": None, "weight": 1.0, "required": False,
        "usual_rows": None, "rows_in": 1, "rows_staged": 1, "rows_quarantined": 0, "seconds": 1.0,
        "quality_score": None, "completeness": None, "validity": None, "uniqueness": None,
        "error": "east: column code is missing " * 6, "registered_at": moment(2),
    }  # fmt: skip
    view = running()
    view["rounds"][0]["branches"] = [branch("b1", feeds=[feed])]
    page.set_viewport_size({"width": 1100, "height": 800})
    opened(page, server, view)
    note = page.locator("#branches tr.note div")

    expect(note).to_contain_text("column code is missing")
    assert note.evaluate(
        "it => it.getBoundingClientRect().right <= it.closest('.scroll').getBoundingClientRect().right + 1"
    )


def test_a_rule_opens_its_samples_as_its_feed_does(page: Page, server: JsonServer) -> None:
    """The whole row can be clicked."""
    server.answers["quarantine"] = {"rules": [], "where": "counts", "note": "told by the server"}
    opened(page, server, running(quarantine=[{"feed": "north", "rule": "minimum", "rows": 2}]))
    page.locator("#quarantine code", has_text="minimum").click()

    expect(page.locator("#quarantine")).to_contain_text("told by the server")


def test_an_answer_is_told_as_the_question_offered_it(page: Page, server: JsonServer) -> None:
    """A person reads on the page what they chose."""
    asked = {"question": "gate", "task_id": "round_1.ask_gate", "asked_at": moment(5), "answer_by": moment(9)}
    answer = {"answered_at": moment(6), "by": "ada", "chosen": "merge", "default": False}
    view = ended("published")
    view["rounds"][0]["questions"] = [{**asked, **answer, "labels": {"merge": "Merge what has arrived"}}]
    opened(page, server, view)

    expect(page.locator("#questions")).to_contain_text("Merge what has arrived")
