"""The publish path under one fault of each kind; `python -m tests.torture path` tries all of them everywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from socket import socket

import pytest

from airflow_orchestration.operators import publish, reconcile
from tests.mutants.workshop import Result, copy_of_repository, judge, problem
from tests.torture import mutants
from tests.torture.path import Crew, crew, main
from tests.torture.path_account import Account
from tests.torture.path_jobs import Catalog, Job, items, jobs
from tests.torture.path_met import NOT_MET, OUTSIDE, strangers, unexplained
from tests.torture.path_points import named, names
from tests.torture.path_processes import Execution, Fault, Kind
from tests.torture.path_tally import ASKED_FROM, Ended, Tally
from tests.torture.path_tasks import FINAL, Start
from tests.torture.world import Shape

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = 20261123
JOBS = """
1 upsert plain new pair | 0/analyze restart before queries.save_run | 0/publish kill after commit of publish.drop_table
2 upsert plain past | 1/branch:beta:b1 kill_work amid staging.write | 0/publish abandon before publish.begin_settling
23 replace plain new apart | 1/branch:beta:b1 stop after staging.write | 1/merge kill_soon | 0/publish stop amid publish.copy
4 append late past stream | 1/merge full before staging.fsync | 0/publish lose after commit of publish.drop_table
5 partition late past | 1/gate double | 0/publish overlap before publish.fence | 1/amend terminate before publish.open_ledger
6 upsert rounds past | 1/merge limit | 0/publish double | 0/close_out cut before queries.finish
7 append plain new | 1/merge flip
8 upsert plain new | 0/publish rewrite
9 append plain past | 0/publish swallow
10 replace plain past pair | 0/publish stop before publish.fence again
183 upsert late past | 0/publish abandon before migrations.applied_migrations
"""
"""The kill of 23 comes 0.02 s after the start of its task: no machine has merged by then."""
MUTANT = "nobody_is_shut_out_at_the_end"


@pytest.fixture(scope="module")
def workers() -> Iterator[Crew]:
    """Players with a PostgreSQL each."""
    with crew(os.cpu_count() or 1, SEED) as players:
        yield players


def test_every_kind_of_fault_leaves_a_run_as_it_has_to_be(workers: Crew) -> None:
    """Rows in are published, superseded or quarantined, once, whatever strikes; and every fault has struck."""
    played = list(workers.play(map(Job.read, JOBS.split("\n")[1:-1])))

    assert {} == {str(one.job): one.account.violations for one in played if one.account.violations}
    assert [] == [text for one in played for text in one.account.missed]
    struck = {Fault.read(text).kind for one in played for text, _ in one.account.struck}
    assert set(Kind) == struck
    assert 0 < sum(one.account.zombies for one in played)


def test_only_what_was_cut_short_counts_as_killed() -> None:
    """A kill that came when the task had said how it ended is no fault that struck."""
    start = Start(task="merge", round=1, try_number=1, ti_id="ti")
    one = Execution(start=start, fault=None, pid=0, channel=socket(), began=0.0, exit_code=-SIGKILL)
    assert one.was_cut_short
    assert not replace(one, result=[1]).was_cut_short
    assert not replace(one, error="StoreError: gone").was_cut_short
    assert not replace(one, exit_code=0).was_cut_short


def test_what_is_not_tried_again_is_what_the_operators_give_up_on() -> None:
    """The tasks played here fail for good by the errors that the operators fail by."""
    assert set(publish.FINAL) == set(FINAL["publish"])
    assert set(reconcile.FINAL) == set(FINAL["reconcile"])


def test_every_statement_is_met_or_listed_as_not_met() -> None:
    """One that is neither is told, as is one that is both; and nothing is listed that is gone."""
    met = {name for name in names() if name.partition(".")[0] not in OUTSIDE and name not in NOT_MET}
    assert [] == unexplained(met)
    assert ["queries.fence is met by no run, and not listed"] == unexplained(met - {"queries.fence"})
    assert ["swap.cast is listed as met by no run, and is met"] == unexplained(met | {"swap.cast"})
    assert {} == strangers()


def test_a_missed_goal_is_asked_for_once_it_can_be_reached() -> None:
    """Few runs need not try everything; many have to, and a violation is missed by any number."""
    job = Job.read("1 upsert plain new")
    everything = items({job.where: {"1/merge": ["before queries.fence"]}})
    told = Ended(job=job, account=Account(violations=["something"]), log="")
    few, many = Tally(seed=1), Tally(seed=1, runs=ASKED_FROM)
    few.add(told)
    many.add(told)

    def missed(tally: Tally) -> set[str]:
        return {one.name for one in tally.figures(everything, ["a statement"]) if one.is_missed}

    assert {"runs with a violation"} == missed(few)
    assert {"runs with a violation", "points struck, of those defined"} < missed(many)
    assert "statements met or not met against the list" in missed(many)


def test_no_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown by no run."""
    with pytest.raises(SystemExit):
        main(["--runs", "0"])
    assert "play 1 at least" in capsys.readouterr().err


def test_a_mistake_is_noticed() -> None:
    """A package in which a publisher may go on after its run has ended does not pass."""
    mutant = next(one for one in mutants.read_mutants() if one.name == MUTANT)
    with copy_of_repository() as copy:
        report = judge(mutant, copy, mutants.torture)
    assert Result.CAUGHT == report.result, report.detail


@pytest.mark.parametrize("mutant", mutants.read_mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: mutants.Mutant) -> None:
    """What a mutant replaces stands exactly once in its file."""
    assert problem(mutant) is None
    assert mutant.find != mutant.replace


def test_there_are_mistakes_of_many_kinds() -> None:
    """At least 40, each with the reason why it is one."""
    found = mutants.read_mutants()
    assert len(found) >= 40
    assert len(found) == len({mutant.why + mutant.name for mutant in found if mutant.why})


def test_statements_are_known_by_name() -> None:
    """A statement is known as it stands in its file, and a template when it is filled in."""
    assert "queries.fence" == named(names()["queries.fence"])
    assert "publish.drop_table" == named('DROP TABLE IF EXISTS "orchestration_scratch"."p_1"')
    assert "written.alter_table" == named("ALTER TABLE public.things RENAME TO other")


def test_a_job_is_told_so_that_it_can_be_played_again() -> None:
    """What a violation names is read back as the same job."""
    for text in JOBS.split("\n")[1:-1]:
        assert text == str(Job.read(text))


def test_the_same_seed_deals_the_same_jobs() -> None:
    """Jobs depend on the catalog and the seed; every fault is dealt before one is dealt again."""
    points = {"1/merge": ["before queries.fence", "after queries.fence", "amid staging.write"]}
    job = Job.read("1 upsert plain new")
    catalog: Catalog = {job.where: points}
    everything = items(catalog)
    dealt = [next(deal) for deal in [jobs(catalog, 7)] for _ in everything]

    again = jobs(catalog, 7)
    assert dealt == [next(again) for _ in everything]
    assert {item.fault for item in everything} == {fault for one in dealt for fault in one.faults}
    assert {Shape.PLAIN} == {one.shape for one in dealt}


def test_the_page_names_every_kind_of_fault() -> None:
    """The reference lists what goes wrong."""
    page = (REPOSITORY / "docs" / "reference" / "torture.md").read_text()
    assert {kind.value for kind in Kind} == set(re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE))
