"""Records of a stream that a later one of the same batch replaces: the newest stays, whatever the batch's bounds are."""

from __future__ import annotations

import json

import pytest

from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from tests.engine.builders import PLACES, Bench, rows_of

STREAM = Feed.model_validate(
    {
        "id": "events",
        "source_type": "streaming",
        "outbox": {"conn_id": "app", "table": "public.outbox"},
        "columns": {"id": "id", "name": "name", "size": "size"},
    }
)


def read(bench: Bench, *partitions: str) -> Ingested:
    """Ingest a batch, a text for each partition."""
    written = [bench.write(text.encode(), f"{number}.ndjson") for number, text in enumerate(partitions)]
    files = tuple(SourceFile(path=path, root=path.parent, origin=path.stem) for path in written)
    found = Fetched(files=files, format=FeedFormat.NDJSON)
    return ingest(STREAM, fetched=found, contract=PLACES, scratch=bench.scratch())


def record(key: str, size: object, name: str | None = "n") -> str:
    """One line of a stream."""
    return json.dumps({"id": key, "name": name, "size": size}) + "\n"


def test_the_last_record_of_a_key_stays(bench: Bench) -> None:
    """Three states of A: the last is staged, the others are aside with their places and count against nothing."""
    done = read(bench, record("A", 1) + record("B", 7) + record("A", 2) + record("A", 3))
    assert [("B", 7), ("A", 3)] == rows_of(done.staged, "id, size")
    assert [(1, "superseded"), (3, "superseded")] == rows_of(done.quarantine, "position, rule")
    assert (4, 2, 2, 2) == (done.rows_in, done.rows_staged, done.rows_quarantined, done.rows_out_of_scope)
    measured = done.measures
    assert (1.0, 1.0, 1.0) == (measured.completeness, measured.validity, measured.uniqueness)


def test_the_order_of_partitions_decides_between_them(bench: Bench) -> None:
    """A key in two partitions: the record of the later one stays, and the other's cells are not counted."""
    done = read(bench, record("A", 1) + record("B", 1, None), record("C", 2) + record("A", 2, None))
    assert [("B", 1), ("C", 2), ("A", 2)] == rows_of(done.staged, "id, size")
    assert [("0", 1, "superseded")] == rows_of(done.quarantine, "origin, position, rule")
    assert 7 / 9 == pytest.approx(done.measures.completeness)


def test_a_record_that_breaks_a_rule_supersedes_nothing(bench: Bench) -> None:
    """The last valid record of a key stays, and the bad one counts against quality."""
    done = read(bench, record("A", 1) + record("A", 2) + record("A", "much"))
    assert [("A", 2)] == rows_of(done.staged, "id, size")
    assert {"superseded": 1, "type": 1} == done.rejects
    assert 0.5 == done.measures.validity
