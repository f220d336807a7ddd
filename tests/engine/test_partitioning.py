"""Checked rows as Hive-partitioned Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.output import output_problems
from airflow_orchestration.engine.partitioning import Place, give_name, write_partitions
from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import feed

RULES = Contract.model_validate(
    {
        "name": "visits",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "place", "type": "string"},
            {"name": "day", "type": "date"},
        ],
    }
)
AWKWARD = ["a/../../b", "..", "", "x=1 %é'\"", "a", "A", None, "__HIVE_DEFAULT_PARTITION__", "line\nend"]


def with_output(*columns: str) -> Feed:
    return feed(output={"uri": "out/visits", "partition_by": list(columns)})


def staged(folder: Path, places: list[str | None]) -> Path:
    path = folder / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE rows (id BIGINT, place VARCHAR, day DATE, _position BIGINT)")
        rows = [(number, place, None, number) for number, place in enumerate(places)]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
        connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")
    return path


def place_in(folder: Path, run: str = "0123") -> Place:
    (folder / "out").mkdir(exist_ok=True)
    return Place(root=folder / "out", folder=folder / "out" / "visits", run=run)


def write(folder: Path, places: list[str | None], *columns: str, epoch: int = 1, run: str = "0123") -> Place:
    scratch, place = folder / f"scratch-{epoch}-{run}", place_in(folder, run)
    scratch.mkdir(exist_ok=True)
    rows = staged(scratch, places)
    write_partitions(with_output(*columns), rows, place, epoch, contract=RULES, scratch=scratch)
    return place


def read(place: Place) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        found = f"read_parquet('{place.folder}/*/**/*.parquet', hive_partitioning = true)"
        return connection.execute(f"SELECT id, place FROM {found} ORDER BY id").fetchall()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_value_is_read_back_and_none_leads_elsewhere(tmp_path: Path) -> None:
    """Values with slashes, points, quotes and nothing at all become folders of the run, and values again."""
    place = write(tmp_path, AWKWARD, "place")
    give_name(place, 1)

    assert list(enumerate(AWKWARD)) == read(place)
    assert all(name.startswith("visits/run=0123/place=") for name in files(tmp_path / "out"))
    assert len(AWKWARD) == len(files(tmp_path / "out"))


def test_without_columns_a_run_is_one_file(tmp_path: Path) -> None:
    """The run is the only partition then."""
    assert 1 == give_name(write(tmp_path, ["a", "b"]), 1)
    assert ["visits/run=0123/part-0.parquet"] == files(tmp_path / "out")


def test_nobody_reads_a_draft(tmp_path: Path) -> None:
    """Before it has its name, and after an execution died, what was written is in a hidden folder."""
    write(tmp_path, ["a"], "place", epoch=1)
    place = write(tmp_path, ["b"], "place", epoch=2)

    assert not place.final.exists()
    give_name(place, 2)
    assert ["visits/run=0123/place=b/part-0.parquet"] == files(tmp_path / "out")


def test_a_run_replaces_what_it_wrote_before_and_nothing_else(tmp_path: Path) -> None:
    """A partition that the second execution does not have is gone; another run keeps its own."""
    give_name(write(tmp_path, ["x"], "place", run="other"), 1)
    give_name(write(tmp_path, ["a", "b"], "place", epoch=1), 1)
    give_name(write(tmp_path, ["b"], "place", epoch=2), 2)

    assert ["visits/run=0123/place=b/part-0.parquet", "visits/run=other/place=x/part-0.parquet"] == files(
        tmp_path / "out"
    )


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    """Nothing is written through a link that leads out of the root."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "visits").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FeedError, match="leads out of its root"):
        write(tmp_path, ["a"], "place")
    assert [] == files(tmp_path / "elsewhere")


def test_too_many_partitions_are_refused(tmp_path: Path) -> None:
    """A column with a value for each row makes no partitions."""
    with pytest.raises(FeedError, match="would have 1,001 partitions, 1,000 are allowed"):
        write(tmp_path, [str(number) for number in range(1001)], "id")


def test_a_value_that_no_folder_can_hold_fails_the_feed(tmp_path: Path) -> None:
    """A text that is longer than a file system allows is no fault of the machine, and is not told."""
    with pytest.raises(FeedError, match=r"output can't be written: File name too long; .*place") as failed:
        write(tmp_path, ["secret" * 60], "place")
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("output", "roots", "path", "message"),
    [
        ({"uri": "lake/visits"}, {"out": "/out"}, "output.uri", "is no declared root; these are: out"),
        ({"uri": "out/visits"}, {"out": "s3://lake/out"}, "output.uri", "is an object store"),
        (
            {"uri": "out/v", "partition_by": ["town"]},
            {"out": "/out"},
            "output.partition_by[0]",
            "is no column",
        ),
        (
            {"uri": "out/v", "partition_by": ["day", "day"]},
            {"out": "/out"},
            "output.partition_by[1]",
            "twice",
        ),
        (
            {"uri": "out/v", "partition_by": ["id", "day", "place"]},
            {"out": "/out"},
            "output.partition_by",
            "leaves no column for the files",
        ),
    ],
)
def test_what_an_output_asks_in_vain(
    output: dict[str, Any], roots: dict[str, str], path: str, message: str
) -> None:
    """A pipeline file's output is checked before anything runs."""
    found = {
        problem.path: problem.message
        for problem in output_problems(feed(output=output), "output", roots, RULES)
    }

    assert message in found[path]
