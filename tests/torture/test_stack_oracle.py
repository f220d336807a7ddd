"""The oracle of the tortured stack: what is in order passes, and each thing that can go wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.torture.stack_example import (
    FATE,
    FEEDS,
    FINISHED,
    IN,
    LATER,
    OPENED,
    PIPELINE,
    a_round,
    a_run,
    outcome,
)
from tests.torture.stack_inputs import Inputs, of
from tests.torture.stack_oracle import Told, violations
from tests.torture.stack_pipelines import DEADLINE_SECONDS


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return of(1, 0, FATE, FEEDS)


@pytest.fixture(scope="module")
def told(inputs: Inputs) -> Told:
    """A run as it must end, without the feed that is broken and the one that did not come."""
    return a_run(inputs, IN)


@pytest.fixture(scope="module")
def repaired(inputs: Inputs) -> Told:
    """The same run after its repair: a second version has what was missing."""
    return a_run(inputs, IN, LATER)


def first_row(told: Told, **changes: object) -> Told:
    return replace(told, rows=[{**told.rows[0], **changes}, *told.rows[1:]])


def first_round(run: Told, **changes: object) -> Told:
    return replace(run, rounds=[{**run.rounds[0], **changes}])


def first_feed(told: Told, **changes: object) -> Told:
    return replace(told, feeds=[{**told.feeds[0], **changes}, *told.feeds[1:]])


def last_version(told: Told, **changes: object) -> Told:
    return replace(told, versions=[*told.versions[:-1], {**told.versions[-1], **changes}])


def counting(told: Told, **changes: object) -> Told:
    """Let the verdict count otherwise."""
    verdict = told.rounds[0]["verdict"]
    changed = {**verdict, "evidence": {**verdict["evidence"], **changes}}
    return first_round(told, verdict=changed, told=[changed])


def outcome_of(told: Told, feed_id: str, **changes: object) -> Told:
    line = {**told.outcomes[feed_id], **changes}
    return replace(told, outcomes={**told.outcomes, feed_id: line})


def saying(told: Told, feed_id: str = "", **changes: object) -> Told:
    """Let the manifest say something else, of the run or of a feed."""
    assert told.manifest is not None
    if not feed_id:
        return replace(told, manifest={**told.manifest, **changes})
    lines = [{**line, **changes} if line["feed"] == feed_id else line for line in told.manifest["feeds"]]
    return replace(told, manifest={**told.manifest, "feeds": lines})


def without(told: Told, inputs: Inputs, *out: str) -> Told:
    """A run in whose merge feeds were forgotten, though they had arrived: all else adds up."""
    kept = a_run(inputs, [feed_id for feed_id in IN if feed_id not in out])
    return replace(kept, outcomes=told.outcomes)


WRONG: dict[str, tuple[str, Callable[[Told], Told]]] = {
    "a row is lost": ("keys are lost", lambda told: replace(told, rows=told.rows[1:])),
    "a row stands twice": ("stands 2 times", lambda told: replace(told, rows=[*told.rows, told.rows[0]])),
    "a value is another": ("and not", lambda told: first_row(told, size=-5.0)),
    "a source is missing": ("as its sources", lambda told: first_row(told, _sources=[])),
    "a row comes from another feed": (
        "and not from main",
        lambda told: first_row(told, _primary_source="late"),
    ),
    "a row is nobody's": ("no feed that counts has it", lambda told: first_row(told, code="k9999")),
    "a lighter feed wins": (
        "comes from mixed, and not from main",
        lambda told: first_row(told, _primary_source="mixed"),
    ),
    "a rejected row is lost": (
        "not in the quarantine",
        lambda told: replace(told, quarantined=told.quarantined[1:]),
    ),
    "a rejected row stands twice": (
        "should not be",
        lambda told: replace(told, quarantined=[*told.quarantined, told.quarantined[0]]),
    ),
    "a publication is booked twice": (
        "booked 2 times",
        lambda told: replace(told, versions=[*told.versions] * 2),
    ),
    "a version is missing": ("versions: expected", lambda told: last_version(told, version=5)),
    "a feed brought other rows": ("the ledger of version 1", lambda told: first_feed(told, rows_in=7)),
    "a feed published otherwise": (
        "the ledger of version 1",
        lambda told: first_feed(told, rows_published=7),
    ),
    "a feed was replaced": ("the ledger of version 1", lambda told: first_feed(told, rows_replaced=1)),
    "a sum is wrong": ("sums of version 1", lambda told: last_version(told, rows_in=7)),
    "fewer rows were written than published": (
        "rows written by version 1",
        lambda told: last_version(told, rows_updated=-1),
    ),
    "more rows were inserted than are new": (
        "rows inserted by version 1",
        lambda told: last_version(told, rows_inserted=7),
    ),
    "rows were withdrawn": ("rows withdrawn by version 1", lambda told: last_version(told, rows_withdrawn=1)),
    "nothing is booked": ("nothing is booked", lambda told: replace(told, versions=[], feeds=[])),
    "there is no manifest": ("there is no manifest", lambda told: replace(told, manifest=None)),
    "the state is another": ("state of the run", lambda told: replace(told, state="published")),
    "the manifest has another state": ("manifest: expected", lambda told: saying(told, state="published")),
    "the manifest has another sum": ("manifest: expected", lambda told: saying(told, rows=7)),
    "the manifest has another version": ("manifest: expected", lambda told: saying(told, version=2)),
    "the manifest forgets a gate": ("gates of the manifest", lambda told: saying(told, gate=[])),
    "the manifest forgets a feed": ("feeds of the manifest", lambda told: saying(told, feeds=[])),
    "the manifest lacks a feed": ("manifest of main", lambda told: saying(told, "main", state="late")),
    "the manifest has a feed more": ("the manifest has late", lambda told: saying(told, "late", state="in")),
    "the manifest counts a feed's rows wrongly": (
        "manifest of main",
        lambda told: saying(told, "main", rows_superseded=1),
    ),
    "a feed was refused": (
        "was refused",
        lambda told: outcome_of(told, "main", status="failed", error="wrong"),
    ),
    "an outcome counts wrongly": ("outcome of main", lambda told: outcome_of(told, "main", rows_in=7)),
    "an outcome has put aside more": (
        "outcome of mixed",
        lambda told: outcome_of(told, "mixed", rows_quarantined=399),
    ),
    "a gate has two verdicts": (
        "has 2 verdicts",
        lambda told: first_round(told, told=[told.rounds[0]["verdict"]] * 2),
    ),
    "a gate has no decision": ("has 0 verdicts", lambda told: first_round(told, told=[])),
    "a gate decided something else": (
        "another one than was decided",
        lambda told: first_round(told, told=[{"action": "continue_waiting"}]),
    ),
    "a gate never decided": ("has no verdict", lambda told: first_round(told, verdict=None, told=[])),
    "a round is missing": ("rounds: expected", lambda told: first_round(told, round=2)),
    "a deadline was moved": (
        "the deadline of round 1 is",
        lambda told: first_round(told, deadline_at=OPENED + timedelta(seconds=DEADLINE_SECONDS + 1)),
    ),
    "a gate decided too late": (
        "later than its faults excuse",
        lambda told: replace(told, rounds=[a_round(DEADLINE_SECONDS + 4)]),
    ),
    "a gate opened too early": (
        "waited no longer",
        lambda told: replace(told, rounds=[a_round(failed_ids=["broken"], missing_ids=["late"])]),
    ),
    "a gate opened over too few": (
        "verdict of round 1",
        lambda told: replace(told, rounds=[a_round(arrived_ids=["main"], failed_ids=[*IN[1:], *LATER])]),
    ),
    "a gate names another reason": (
        "verdict of round 1",
        lambda told: replace(told, rounds=[a_round(reason="all_arrived")]),
    ),
    "a gate counts heads wrongly": ("verdict of round 1", lambda told: counting(told, arrived=5)),
    "a gate weighs wrongly": ("verdict of round 1", lambda told: counting(told, progress=0.99)),
    "a gate forgets a feed": (
        "the verdict of round 1 counts",
        lambda told: counting(told, failed_ids=["broken"]),
    ),
}
REPAIRED_WRONG: dict[str, tuple[str, Callable[[Told], Told]]] = {
    "a version has a feed less": (
        "the ledger of version 2",
        lambda told: replace(told, feeds=[line for line in told.feeds if line["feed_id"] != "broken"]),
    ),
    "a version inserts less": (
        "rows inserted by version 2",
        lambda told: last_version(told, rows_inserted=1),
    ),
    "a version's sum is wrong": ("sums of version 2", lambda told: last_version(told, rows_superseded=1)),
    "the run is still degraded": (
        "state of the run",
        lambda told: replace(told, state="published_degraded"),
    ),
    "the manifest has the first version only": ("manifest: expected", lambda told: saying(told, version=1)),
}


def test_a_run_in_order_passes(told: Told, inputs: Inputs) -> None:
    """Nothing is found where nothing is wrong."""
    assert [] == violations(told, PIPELINE, inputs, reconciled=False)


def test_a_repaired_run_in_order_passes(repaired: Told, inputs: Inputs) -> None:
    """A second version that brings in what was missing is in order after a repair."""
    assert [] == violations(repaired, PIPELINE, inputs, reconciled=True)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, told: Told, inputs: Inputs) -> None:
    """Each way to break a promise is found, and told in words of its own."""
    words, break_ = WRONG[name]

    assert words in "; ".join(violations(break_(told), PIPELINE, inputs, reconciled=False))


@pytest.mark.parametrize("name", REPAIRED_WRONG)
def test_what_is_wrong_in_a_repair_is_named(name: str, repaired: Told, inputs: Inputs) -> None:
    """A second version is counted like the first one."""
    words, break_ = REPAIRED_WRONG[name]

    assert words in "; ".join(violations(break_(repaired), PIPELINE, inputs, reconciled=True))


@pytest.mark.parametrize("out", IN[1:])
def test_a_feed_that_arrived_is_not_dropped(out: str, told: Told, inputs: Inputs) -> None:
    """Table, ledger and manifest agree without a feed that the gate had counted: it is missed all the same."""
    found = "; ".join(violations(without(told, inputs, out), PIPELINE, inputs, reconciled=False))

    assert "feeds of the first version" in found
    assert f"{out} arrived at" in found


def test_what_arrived_late_is_brought_in(told: Told, inputs: Inputs) -> None:
    """An outcome from after the verdict has to count when the run ends, and not if it is younger than that."""
    late = outcome(inputs, "late")
    before = replace(told, outcomes={**told.outcomes, "late": {**late, "registered_at": FINISHED}})
    after = replace(
        told, outcomes={**told.outcomes, "late": {**late, "registered_at": FINISHED + timedelta(seconds=1)}}
    )

    assert "late arrived at" in "; ".join(violations(before, PIPELINE, inputs, reconciled=False))
    assert [] == violations(after, PIPELINE, inputs, reconciled=False)


def test_a_poor_delivery_stays_outside(told: Told, inputs: Inputs) -> None:
    """A feed that is below standard arrives, and does not count."""
    aside = inputs.poor_rows("fickle")
    poor = outcome_of(told, "fickle", rows_staged=len(inputs.rows["fickle"]) - aside, rows_quarantined=aside)
    kept_out = replace(a_run(inputs, IN[:-1]), outcomes=poor.outcomes)

    assert [] == violations(kept_out, PIPELINE, inputs, reconciled=False)


def test_what_could_not_come_is_not_taken(repaired: Told, inputs: Inputs) -> None:
    """A broken feed that was published is found, unless it was delivered again for a repair."""
    found = violations(repaired, PIPELINE, inputs, reconciled=False)

    assert "['broken', 'late'] were published and could not come" in found
