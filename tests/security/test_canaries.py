"""Canaries in every text that a run reads: nothing executes, renders or opens them, and no secret is told."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg

from tests.security.canaries import (
    CELL,
    FILE_NAME,
    MARKER,
    NAME,
    PAYLOADS,
    PLANTED,
    PWNED,
    REJECTED_CELL,
    SECRETS,
    TRACES,
)
from tests.security.conftest import REPOSITORY, CanaryRun

FOR_DATA = {"canary.target", "canary.counted", "orchestration.quarantined_row", "orchestration.merge"}
"""Tables that may hold values of rows; a merge keeps a few examples of what its feeds differ about."""


def told(run: CanaryRun) -> dict[str, str]:
    """Everything that the run has sent, printed and kept outside of tables of data."""
    files = "\n".join(str(path) for path in run.folder.rglob("*"))
    outside = {
        "sent": json.dumps(run.sent),
        "events": run.events,
        "metrics": "\n".join(run.metrics),
        "printed": run.printed,
        "files": files,
    }
    return outside | {name: rows for name, rows in run.tables().items() if name not in FOR_DATA}


def rows(run: CanaryRun, query: str) -> list[Any]:
    """What the owner of the server reads."""
    with psycopg.connect(run.store) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_run_full_of_canaries_is_published(canary_run: CanaryRun) -> None:
    """By a worker's login and a publisher's: one feed is broken and fails alone, and the ledger adds up."""
    booked = rows(
        canary_run,
        "SELECT rows_in, rows_published, rows_superseded, rows_quarantined FROM orchestration.publish_ledger ORDER BY 1",
    )
    feeds = rows(canary_run, "SELECT feed_id, status FROM orchestration.feed_outcome ORDER BY feed_id")
    good = ("counts", "lines", "objects", "queried")
    expected = sorted([*((feed, "success") for feed in good), ("broken", "failed"), ("records", "failed")])

    assert (0, expected) == (canary_run.exit_code, feeds)
    assert [(16, 15, 0, 1), (34, 17, 15, 2)] == booked
    assert [("published_degraded",)] == rows(canary_run, "SELECT state FROM orchestration.run")


def test_nothing_was_executed(canary_run: CanaryRun) -> None:
    """No trace stands anywhere: not in logs, XComs, rendered fields, lineage, file names, metrics, or any table."""
    everything = told(canary_run) | canary_run.tables()

    assert [] == [(place, trace) for place, text in everything.items() for trace in TRACES if trace in text]
    assert [] == [*canary_run.folder.rglob(PWNED), *REPOSITORY.glob(PWNED)]
    assert MARKER == (canary_run.folder / PLANTED).read_text()


def test_no_secret_is_told(canary_run: CanaryRun) -> None:
    """No password of a connection, no variable, nothing of the environment, anywhere."""
    everything = told(canary_run) | canary_run.tables()

    assert [] == [(place, one) for place, text in everything.items() for one in SECRETS if one in text]


def test_values_of_rows_stay_in_tables_of_data(canary_run: CanaryRun) -> None:
    """They are in the target, in the quarantine, and as examples in the merge: in no log, XCom, event or decision."""
    found = {
        place for place, text in told(canary_run).items() for one in (CELL, REJECTED_CELL) if one in text
    }
    examples = rows(canary_run, "SELECT (to_jsonb(kept) - 'examples')::text FROM orchestration.merge AS kept")

    assert set() == found
    assert [] == [text for (text,) in examples if CELL in text or REJECTED_CELL in text]
    assert REJECTED_CELL in canary_run.tables()["orchestration.quarantined_row"]


def test_a_canary_that_is_data_is_published_literally(canary_run: CanaryRun) -> None:
    """Key and label of a row are the texts that were delivered; a computed one is what its literals say."""
    found = dict(rows(canary_run, "SELECT code, label FROM canary.target"))
    notes = {
        note for (note,) in rows(canary_run, "SELECT note FROM canary.target WHERE _primary_source = 'lines'")
    }

    assert {
        f"key {index} {payload}": payload for index, payload in enumerate(PAYLOADS)
    }.items() <= found.items()
    assert {
        f"{code}{NAME}" for code in (*(key for key in found if key.startswith("key ")), "shared", "nothing")
    } == notes
    assert NAME in found


def test_the_target_is_as_it_should_be(canary_run: CanaryRun) -> None:
    """Nothing was dropped, nothing was made besides, and nothing was left in scratch."""
    tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('canary', 'orchestration_scratch') ORDER BY 2"

    assert [("canary", "bystander"), ("canary", "counted"), ("canary", "target")] == rows(canary_run, tables)
    assert [(1,)] == rows(canary_run, "SELECT one FROM canary.bystander")


def test_a_branch_that_waits_tells_a_trigger_what_for(canary_run: CanaryRun) -> None:
    """The name of a file that is not there goes to the triggerer letter for letter, as plain data."""
    deferred = [json.loads(line["body"]) for line in canary_run.sent if "trigger_kwargs" in line["body"]]
    ((feed, kind, place),) = deferred[0]["trigger_kwargs"]["waiting"]

    assert (1, "absent", "file") == (len(deferred), feed, kind)
    assert f"{canary_run.folder}/landing {NAME}/{FILE_NAME} absent.csv" == place


def test_a_person_is_asked_in_plain_words(canary_run: CanaryRun) -> None:
    """What strangers wrote stands in a question as text: no markup, no template."""
    (asked,) = [line["body"] for line in canary_run.sent if line["method"] == "ASK"]
    outside_code = re.sub(r"`[^`]*`", "", asked)

    assert "absent" in asked
    assert [] == [letter for letter in "<>{}$;" if letter in outside_code]


def test_a_metric_has_no_word_of_a_stranger(canary_run: CanaryRun) -> None:
    """Names and tags are words of ours, ids, and codes: whatever a collector makes of them."""
    assert [] == [
        line for line in canary_run.metrics if re.fullmatch(r"[\w.,=-]+:[\d.e+-]+\|\w+", line) is None
    ]
    assert [] != [line for line in canary_run.metrics if "orchestration" in line]


def test_no_task_shows_rendered_fields(canary_run: CanaryRun) -> None:
    """Tasks tell Airflow their state and XComs, and of fields that it would render there are none."""
    told_of = {line["path"].rpartition("/")[2] for line in canary_run.sent}

    assert {"state", "return_value", "decision", "manifest"} <= told_of
    assert "rtif" not in told_of


def test_files_are_made_below_the_declared_folders_alone(canary_run: CanaryRun) -> None:
    """A hostile name of a folder is the name of a folder."""
    made = {path.name for path in canary_run.folder.iterdir()}
    staged = [path for path in (canary_run.folder / f"staging {NAME}").rglob("*") if path.is_file()]

    assert {
        "canary.yaml",
        f"contract {NAME}.yaml",
        f"landing {NAME}",
        f"staging {NAME}",
        "home",
        "work",
        PLANTED,
        "sent",
        "events",
    } == made
    assert staged
    assert {f"{FILE_NAME}.csv", f"{FILE_NAME} lines.csv", "objects.json"} == {
        path.name for path in (canary_run.folder / f"landing {NAME}").iterdir()
    }
