"""A share of the fuzzer's inputs in each run of the tests, and whether the fuzzer would notice a fault at all."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from airflow_orchestration.domain import run_spec
from airflow_orchestration.domain.run_terms import terms_problems
from airflow_orchestration.engine import ingest
from airflow_orchestration.exceptions import (
    FeedCode,
    FeedError,
    InputRefusedError,
    LedgerMismatchError,
    Problem,
    ProblemCode,
    RefusedValueError,
    StagedFileError,
)
from tests.fuzz import __main__ as fuzz
from tests.fuzz import data, hostile, running
from tests.fuzz.contracts import CONTRACTS, PLAIN
from tests.fuzz.inputs import Made
from tests.fuzz.judging import Look, Told, Verdict, judged, require
from tests.fuzz.kinds import KINDS, LOOKS, made_for
from tests.fuzz.raw import unpacked
from tests.fuzz.running import Ended, run
from tests.fuzz.shrinking import shrunk
from tests.fuzz.structure import Changer

SEED = 20261123
DOCUMENTS = ("conf", "pipeline", "contract", "job", "agent", "other")
FEEDS = ("csv", "json", "parquet")


def violations(ended: Sequence[Ended]) -> list[tuple[int, str, str]]:
    return [(one.number, one.kind, one.told.why) for one in ended if one.told.verdict is Verdict.VIOLATION]


def test_every_document_is_accepted_whole_or_refused_in_words() -> None:
    """No traceback, nothing that vanishes, no secret told; of each kind some are accepted and some refused."""
    ended = list(run(SEED, range(1_400), DOCUMENTS, 1))

    assert 1_400 == len(ended)
    assert [] == violations(ended)
    assert {(kind, verdict) for kind in DOCUMENTS for verdict in ("accepted", "refused")} == {
        (one.kind, one.told.verdict) for one in ended
    }


def test_every_feed_is_accounted_for_or_refused_in_words() -> None:
    """CSV, JSON and Parquet, damaged in all ways: each row is staged as the file says it, or put aside with a reason."""
    ended = list(run(SEED, range(45), FEEDS, 1))

    assert 45 == len(ended)
    assert [] == violations(ended)


def test_the_same_number_makes_the_same_input() -> None:
    """An input is made from seed and number alone, and stays itself when it is written to a file."""
    made = [made_for(SEED, number, ()) for number in range(40)]

    assert made == [made_for(SEED, number, ()) for number in range(40)]
    assert made == [Made.of(one.text()) for one in made]


def test_what_was_made_before_changes_no_input() -> None:
    """What is put into an input is a copy: else it is changed for all that come, and may come to hold itself."""
    before, changer = copy.deepcopy(hostile.SECRETS), Changer([{"a": {"b": 1}}])
    for number in range(1_000):
        changer.change(Random(number), {"a": {"b": 1}})

    assert before == hostile.SECRETS


def first_violation(kind: str, most: int) -> str:
    """How the first input of a kind fails that does."""
    for number in range(most):
        told = judged(made_for(SEED, number, (kind,)), LOOKS)
        if told.verdict is Verdict.VIOLATION:
            return told.why
    return ""


def test_a_check_that_is_dropped_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of conf against the author's bounds, the fuzzer finds a conf that is accepted and should not be."""

    def without_batches(*given: object) -> list[Problem]:
        problems = terms_problems(*given)  # type: ignore[arg-type]  # handed on as they are
        return [one for one in problems if not one.path.startswith("batches")]

    monkeypatch.setattr(run_spec, "terms_problems", without_batches)

    assert first_violation("conf", 400)


def test_a_refusal_that_is_a_traceback_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conf that makes Python raise an error of its own is a violation, whatever the error is."""

    def fails(*_: object) -> list[Problem]:
        raise KeyError("vega")

    monkeypatch.setattr(run_spec, "terms_problems", fails)

    assert first_violation("conf", 40).startswith("KeyError")


def test_a_lost_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that counts a row too few is found out by the fuzzer's own count."""
    counted = ingest._ingested

    def one_less(*given: object, **named: object) -> object:
        done = counted(*given, **named)  # type: ignore[arg-type]  # handed on as they are
        object.__setattr__(done, "rows_in", done.rows_in - 1)
        return done

    monkeypatch.setattr(ingest, "_ingested", one_less)

    assert "differ" in first_violation("csv", 20)


def test_a_reader_that_refuses_everything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are right must be read: to refuse all of them is no way to be without violations."""

    def refuses(*_: object, **__: object) -> object:
        raise FeedError("list: the file is damaged; deliver it again.", code=FeedCode.DAMAGED)

    monkeypatch.setattr(data, "ingest", refuses)

    assert "what is right was refused" in first_violation("csv", 60)


def test_a_resolver_that_refuses_everything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So must documents that nothing was done to."""
    problem = Problem(code=ProblemCode.EMPTY, path="batches", message="must not be empty")
    monkeypatch.setattr(run_spec, "terms_problems", lambda *_: [problem])

    assert "what is right was refused" in first_violation("conf", 400)


def test_a_good_row_that_is_put_aside_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that keeps every rule is staged, whatever stands beside it."""
    strict = PLAIN.model_copy(
        update={
            "columns": tuple(
                column.model_copy(update={"maximum": 500}) if column.name == "size" else column
                for column in PLAIN.columns
            )
        }
    )
    monkeypatch.setitem(CONTRACTS, "plain", strict)  # type: ignore[arg-type]  # a dict, to be read only

    assert "are good and were put aside" in first_violation("csv", 40)


def test_a_fault_of_the_product_is_no_refusal() -> None:
    """Rows that were lost, a ledger that doesn't add up, and what nobody foresaw are violations, told in whatever words."""
    faults = (
        FeedError("list: 3 rows were read as 2; check its quotes.", code=FeedCode.ROWS_LOST),
        FeedError("list: something went wrong.", code=FeedCode.FAULT),
        LedgerMismatchError("feed 'list': 3 rows in are not 2 staged; nothing was registered"),
        StagedFileError("list.parquet isn't the file that was registered"),
    )

    def judge(error: Exception) -> Verdict:
        def refuses(_: Made, __: Path) -> None:
            raise error

        return judged(Made(kind="it", files={}, terms={}), {"it": refuses}).verdict

    assert [Verdict.VIOLATION] * len(faults) == [judge(one) for one in faults]
    assert Verdict.REFUSED is judge(FeedError("list: cut off.", code=FeedCode.DAMAGED))


@pytest.mark.parametrize("conf", ["[]", '""', "0", "false"])
def test_a_conf_that_is_nothing_and_no_object_is_refused(conf: str) -> None:
    """Nothing but null says nothing: an empty list is a mistake, not a conf."""
    made = Made(
        kind="conf", files={"conf.json": conf.encode()}, terms={"pipeline": "dags/airport_reference.yaml"}
    )

    assert (Verdict.REFUSED, True) == ((told := judged(made, LOOKS)).verdict, "JSON object" in told.why)


def test_who_stops_early_says_so_and_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer inputs than were asked for are no proof of anything."""
    monkeypatch.setattr(fuzz, "KEPT", Path("/nonexistent"))

    assert 1 == fuzz.main(["other", "--inputs", "60", "--minutes", "0"])
    assert "Stopped after 0 minutes: 59 of 60 inputs were not judged" in capsys.readouterr().err
    assert 0 == fuzz.main(["other", "--inputs", "3"])


def test_a_process_that_dies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that ends its process is a violation; the inputs after it are judged all the same."""
    judge = running.judged

    def dies(made: Made, looks: Mapping[str, Look]) -> Told:
        if made == made_for(SEED, 1, ("conf",)):
            os._exit(7)
        return judge(made, looks)

    monkeypatch.setattr(running, "judged", dies)
    ended = list(run(SEED, range(4), ("conf",), 1))

    assert [0, 1, 2, 3] == [one.number for one in ended]
    assert [(1, "conf", "ended the process with 7")] == violations(ended)


def test_a_judge_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that is never done is a violation, and is not waited for."""

    def hangs(*_: object) -> Told:
        time.sleep(600)
        return Told(verdict=Verdict.ACCEPTED)

    monkeypatch.setattr(running, "judged", hangs)
    monkeypatch.setattr(running, "PATIENCE", 0.2)
    monkeypatch.setattr(running, "MOST_SECONDS", 0.1)

    assert [(0, "conf", "was not done after 30 s")] == violations(list(run(SEED, [0], ("conf",), 1)))


@pytest.mark.parametrize(
    "message",
    ["", "a\x1b[2J", "KeyError: 'x'", "<class 'dict'> is wrong", "S3CR3T-canary-4711 is no number"],
)
def test_words_that_help_nobody_are_noticed(message: str) -> None:
    """A refusal without words, with control characters, internals or a secret is a violation."""
    code = ProblemCode.BAD_FORMAT
    error: Exception = InputRefusedError(message or "it", [Problem(code=code, path="x", message=message)])
    if "\x1b" in message:  # which no problem and no subject can hold
        error = RefusedValueError(message, code=code)

    def refuses(_: Made, __: Path) -> None:
        raise error

    told = judged(Made(kind="it", files={}, terms={}), {"it": refuses})

    assert Verdict.VIOLATION is told.verdict


def test_a_refusal_that_changes_files_is_noticed() -> None:
    """Who refuses an input must leave everything as it was."""

    def refuses(_: Made, folder: Path) -> None:
        (folder / "left").touch()
        raise InputRefusedError("it", [Problem(code=ProblemCode.EMPTY, path="", message="is empty")])

    told = judged(Made(kind="it", files={}, terms={}), {"it": refuses})

    assert "the refusal changed files" == told.why


def test_a_failing_input_is_made_smaller() -> None:
    """What has nothing to do with the failure is left out."""

    def look(made: Made, _: Path) -> None:
        require(b"bad" not in made.files["it"], "it is bad")

    def fails(made: Made) -> str | None:
        return judged(made, {"it": look}).why or None

    made = Made(kind="it", files={"it": b"first\nsecond bad one\nthird\n" * 3}, terms={})

    assert b"bad" == shrunk(made, "it is bad", fails).files["it"]


def test_packed_bytes_are_read_member_by_member() -> None:
    """The fuzzer's own reading of gzip takes several members as one text, and damage for what it is."""
    made = [KINDS["csv"].make(Random(number)) for number in range(80)]
    packed = [one for one in made if any(name.endswith(".gz") for name in one.files)]

    assert packed
    assert unpacked(b"\x1f\x8bdamaged") is None
