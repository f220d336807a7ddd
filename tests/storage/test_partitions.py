"""Mode partition: one partition is exchanged, whatever its value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.storage.partitioning import partition_name
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.target import COLUMN_TYPES, MERGE_COLUMNS, STAMP_COLUMNS
from tests.storage.builders import RUN
from tests.storage.conftest import Connect
from tests.storage.furniture import catalog
from tests.storage.modes import (
    BY_DAY,
    PARTITION,
    REPLACE,
    Target,
    leftovers,
    of_day,
    physical,
    publish,
    read,
)
from tests.storage.publications import CONTRACT, KEY, TABLE, Content, content, csv, publication, row


def days(target: Target) -> list[Any]:
    return read(target, f"SELECT since::text, name, count(*) FROM {TABLE} GROUP BY 1, 2 ORDER BY 1")


def test_a_partition_is_exchanged_alone(connect: Connect, target: Target) -> None:
    """The rows of one day are replaced; another day's partition is not touched."""
    publish(connect, of_day(content(3, "One"), "2026-11-21"), PARTITION)
    publish(connect, of_day(content(2, "Two"), "2026-11-22"), PARTITION, run="manual__2")
    untouched = physical(target)[:3]
    publish(connect, of_day(content(1, "New"), "2026-11-22"), PARTITION, run="manual__3")
    assert [("2026-11-21", "One", 3), ("2026-11-22", "New", 1)] == days(target)
    assert untouched == physical(target)[:3]
    made = read(target, "SELECT relname FROM pg_class WHERE relname ~ '^airport_2026' ORDER BY 1")
    assert ["airport_2026_11_21", "airport_2026_11_21_pkey"] == [name for (name,) in made[:2]]
    assert 4 == len(made)


def test_rows_of_several_partitions_are_refused(connect: Connect, target: Target) -> None:
    """Rows with two values of the partitioned column are refused, and both are named."""
    both = Content([*of_day(content(1), "2026-11-21").merged, *of_day(content(1), "2026-11-22").merged])
    with pytest.raises(InputRefusedError, match=r"\(2026-11-21, 2026-11-22\): one publication exchanges one"):
        publish(connect, both, PARTITION)
    assert [] == leftovers(target)


def test_no_rows_exchange_no_partition(connect: Connect, target: Target) -> None:
    """A publication without rows leaves every partition as it is."""
    publish(connect, of_day(content(3, "One"), "2026-11-21"), PARTITION)
    assert 0 == publish(connect, Content([]), PARTITION, run="manual__2").rows_inserted
    assert [("2026-11-21", "One", 3)] == days(target)


def test_a_partition_keeps_name_owner_and_grants(connect: Connect, furnished: Target) -> None:
    """A partition that the author made and granted keeps its name and rights; views of the table stay."""
    definition = "LIKE {0} INCLUDING DEFAULTS INCLUDING GENERATED, id int, PRIMARY KEY (code, since)"
    furnished.execute(f"CREATE TABLE shown.plain AS SELECT * FROM {TABLE} WITH NO DATA")
    furnished.execute("ALTER TABLE shown.plain DROP COLUMN id, DROP COLUMN ticket, DROP COLUMN feet")
    made = definition.format("shown.plain").replace("id int, ", "")
    furnished.execute(f"CREATE TABLE public.split ({made}) PARTITION BY LIST (since)")
    furnished.execute("CREATE INDEX split_names ON public.split (name)")
    furnished.execute("CREATE TABLE public.mine PARTITION OF public.split FOR VALUES IN ('2026-11-22')")
    furnished.execute(
        "GRANT SELECT ON public.mine TO mode_reader; ALTER TABLE public.mine OWNER TO mode_owner"
    )
    furnished.execute("CREATE VIEW shown.by_day AS SELECT since, count(*) FROM public.split GROUP BY 1")
    before = {
        name: found
        for name, found in catalog(furnished, "public.mine").items()
        if name in {"table", "grants"}
    }
    for number in range(2):
        rows = of_day(content(4, f"Run {number}"), "2026-11-22")
        publish(connect, rows, PARTITION, run=f"manual__{number}", table="public.split")
        found = catalog(furnished, "public.mine")
        assert before == {name: found[name] for name in before}
        assert [(4,)] == read(furnished, "SELECT count FROM shown.by_day")
    assert 2 == len(read(furnished, "SELECT FROM pg_index WHERE indrelid = 'public.mine'::regclass"))
    assert [] == read(furnished, "SELECT FROM pg_constraint WHERE conname = 'orchestration_value'")


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ("string", 'it\'s a "b"', "airport_it_s_a_b_260a1dcc"),
        ("string", "Zürich", "airport_z_rich_4251685e"),
        ("string", "a" * 90, None),
        ("integer", "-7", None),
        ("integer", "7", "airport_7"),
        ("boolean", "true", "airport_true"),
        ("number", "1.5", None),
        ("timestamp", "2026-11-22 10:00:00+00", None),
    ],
)
def test_a_partition_of_any_value_is_found_again(
    connect: Connect, target: Target, kind: str, value: str, name: str | None
) -> None:
    """The partition of a value of any type gets a legal name, and the next run exchanges it."""
    place = {"string": 0, "integer": 2, "number": 3, "boolean": 4, "timestamp": 6}[kind]
    column = CONTRACT.columns[place].name
    contract = Contract(name="airports", key=(column, "name"), columns=CONTRACT.columns)
    for run in ("One", "Two"):
        cells = row("c1", run)
        cells[place] = value if kind in {"string", "timestamp"} else {"true": True}.get(value, value)
        rows = Content([cells])
        typed = (
            csv(rows.merged)
            if kind == "string"
            else csv(rows.merged).replace(f'"{value}"'.encode(), value.encode())
        )
        known = publication(
            rows,
            run=replace(RUN, run_id=run),
            publication_key=run,
            mode=PARTITION,
            partition_by=column,
            contract=contract,
        )
        Publisher(connect).publish(known, iter([typed]), iter(()))
    assert [("Two",)] == read(target, f"SELECT name FROM {TABLE}")
    [[found]] = read(
        target, f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{TABLE}'::regclass"
    )
    assert partition_name("airport", value if kind != "timestamp" else found_text(target, column)) == found
    assert name in {None, found}


def found_text(target: Target, column: str) -> str:
    return str(read(target, f"SELECT {column}::text FROM {TABLE}")[0][0])


def test_partition_names_differ_for_values_that_look_alike() -> None:
    """Values that would be cleaned into one name have names of their own."""
    values = ["a b", "a_b", "a-b", "A b", "ab", "a" * 70, "a" * 71, "2026-11-22", "2026_11_22", "", "-"]
    made = [partition_name("t", value) for value in values]
    assert len(values) == len(set(made))
    assert all(len(name) <= 50 for name in made)


def partition_refused(connect: Connect, contract: Contract = BY_DAY) -> str:
    with pytest.raises(InputRefusedError) as refused:
        Publisher(connect).preflight(Publish(table=TABLE, mode=PARTITION, partition_by="since"), contract)
    return str(refused.value)


def test_a_partitioned_target_is_checked(connect: Connect, target: Target) -> None:
    """The key must hold the column, and the table must be divided by it."""
    assert "publish.partition_by: 'since' is no part of the contract's key" in partition_refused(
        connect, CONTRACT
    )
    publish(connect, content(), REPLACE)
    assert "is no table partitioned by list of since" in partition_refused(connect)
    target.execute(f"DROP TABLE {TABLE}")
    Publisher(connect).preflight(Publish(table=TABLE, mode=PARTITION, partition_by="since"), BY_DAY)
    publish(connect, content(), PARTITION)
    Publisher(connect).preflight(Publish(table=TABLE, mode=PARTITION, partition_by="since"), BY_DAY)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("FOR VALUES IN ('2026-11-22', '2026-11-23')", "partition public.theirs of several values"),
        ("DEFAULT", "DEFAULT partition public.theirs"),
    ],
)
def test_partitions_that_are_not_of_one_value_are_refused(
    connect: Connect, target: Target, made: str, named: str
) -> None:
    """The preflight names a partition of several values; of one made since then the publication tells."""
    publish(connect, of_day(content(3, "One"), "2026-11-21"), PARTITION)
    target.execute(f"CREATE TABLE theirs PARTITION OF {TABLE} {made}")
    target.execute(f"INSERT INTO {TABLE} (code, name, since) VALUES ('x', 'Theirs', '2026-11-22')")
    assert f"mode partition can't work beside the {named}; drop or detach it" in partition_refused(connect)
    before = physical(target)
    with pytest.raises(InputRefusedError, match=r"2026-11-22: belongs to a partition .*; detach that"):
        publish(connect, of_day(content(3, "Two"), "2026-11-22"), PARTITION, run="manual__2")
    assert (before, []) == (physical(target), leftovers(target))


def test_partitions_of_one_odd_value_are_fine(connect: Connect, target: Target) -> None:
    """Quotes, commas and brackets in a value don't make it several."""
    contract = Contract(name="airports", key=("code", "name"), columns=CONTRACT.columns)
    terms: dict[str, Any] = {"partition_by": "name", "contract": contract}
    odd = ["it's, 'so'", "(a)", "", "DEFAULT", "a, b", "x'), ('y"]
    for number, value in enumerate(odd):
        publish(connect, Content([row("c1", value)]), PARTITION, run=f"manual__{number}", **terms)
    publisher = Publisher(connect)
    publisher.preflight(Publish(table=TABLE, mode=PARTITION, partition_by="name"), contract)
    assert len(odd) == len(read(target, f"SELECT FROM {TABLE}"))


@pytest.mark.parametrize(
    ("column", "kind"), [("seen_at", "timestamp"), ("elevation", "numeric(21,2)"), ("name", "varchar")]
)
def test_a_later_version_finds_a_partition_of_the_tables_own_type(
    connect: Connect, target: Target, column: str, kind: str
) -> None:
    """The column of the table may be of another type than the contract's: its partition is found all the same."""
    contract = Contract(name="airports", key=("code", column), columns=CONTRACT.columns)
    terms: dict[str, Any] = {"partition_by": column, "contract": contract}
    kinds = {one.name: COLUMN_TYPES[one.type] for one in CONTRACT.columns}
    kinds |= {**MERGE_COLUMNS, **STAMP_COLUMNS, column: kind}
    columns = ", ".join(f"{name} {its}" for name, its in kinds.items())
    target.execute(
        f"CREATE TABLE {TABLE} ({columns}, PRIMARY KEY (code, {column})) PARTITION BY LIST ({column})"
    )
    Publisher(connect).preflight(Publish(table=TABLE, mode=PARTITION, partition_by=column), contract)
    publish(connect, Content([row("c1")]), PARTITION, **terms)
    late: dict[str, Any] = {"version": 2, "after": KEY, "publication_key": f"{KEY}@2"}
    published = publish(connect, Content([row("c1"), row("c2")]), PARTITION, **terms, **late)
    assert (1, 0, 1) == (published.rows_inserted, published.rows_updated, published.rows_unchanged)


@pytest.mark.parametrize("stem", ["a" * 52, "ü" * 31])
def test_partitions_with_long_names_keep_apart(connect: Connect, target: Target, stem: str) -> None:
    """Partitions of others whose long names begin alike are each exchanged, with their indexes."""
    publish(connect, of_day(content(2, "One"), "2026-11-20"), PARTITION)
    for day, suffix in (("2026-11-21", "a"), ("2026-11-22", "b")):
        target.execute(f"CREATE TABLE {stem}{suffix} PARTITION OF {TABLE} FOR VALUES IN ('{day}')")
    for number, day in enumerate(("2026-11-21", "2026-11-22") * 2):
        publish(connect, of_day(content(2, f"Run {number}"), day), PARTITION, run=f"run {number}")
    assert [("2026-11-20", "One", 2), ("2026-11-21", "Run 2", 2), ("2026-11-22", "Run 3", 2)] == days(target)
