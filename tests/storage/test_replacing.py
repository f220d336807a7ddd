"""Mode replace: another table takes the place, and nothing but the rows is another."""

from __future__ import annotations

import psycopg
import pytest

from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.storage.publishing import Publisher
from tests.storage.conftest import Connect
from tests.storage.furniture import catalog
from tests.storage.modes import (
    REPLACE,
    Target,
    leftovers,
    physical,
    publish,
    read,
)
from tests.storage.publications import CONTRACT, TABLE, content


def test_replace_changes_nothing_but_the_rows(connect: Connect, furnished: Target) -> None:
    """After a swap the catalog says of the table, and of all that reads it, what it said before."""
    before = catalog(furnished)
    Publisher(connect).preflight(Publish(table=TABLE, mode=REPLACE), CONTRACT)
    assert before == catalog(furnished)
    for number in range(2):
        publish(connect, content(5, f"Name {number}"), REPLACE, run=f"manual__{number}")
        found = catalog(furnished)
        assert before == found
    assert [(10, 5)] == read(furnished, f"SELECT (SELECT count FROM shown.counted), count(*) FROM {TABLE}")
    assert [(5, 10)] == read(
        furnished, f"SELECT count(id), max(ticket) FROM {TABLE} WHERE country = 'C' AND id > 5"
    )
    read(furnished, f"INSERT INTO {TABLE} (code) VALUES ('by hand') RETURNING _run_id")


def test_a_view_reads_the_new_rows_for_whom_it_was_granted(connect: Connect, furnished: Target) -> None:
    """A role that reads a view on a view sees the new rows, and one that may not still may not."""
    publish(connect, content(5, "New"), REPLACE)
    furnished.execute("SET ROLE mode_reader")
    assert [("New",)] == read(furnished, "SELECT DISTINCT name FROM shown.higher")
    furnished.execute("SET ROLE mode_writer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        read(furnished, "SELECT * FROM shown.higher")
    furnished.execute("RESET ROLE")


BARRED = {
    "trigger look": """CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER look AFTER INSERT ON {0} EXECUTE FUNCTION look()""",
    "foreign key runway_code_fkey of public.runway": "CREATE TABLE runway (code text REFERENCES {0})",
    "publication news": "CREATE PUBLICATION news FOR TABLE {0}",
    "publication every": "CREATE PUBLICATION every FOR ALL TABLES",
    "materialized view public.kept": "CREATE MATERIALIZED VIEW kept AS SELECT * FROM {0}",
    "row security policy mine": "CREATE POLICY mine ON {0} USING (true)",
    "row security": "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
    "rule silent": "CREATE RULE silent AS ON DELETE TO {0} DO ALSO NOTIFY deleted",
    r"function public.by_row\(public.airport\)": (
        "CREATE FUNCTION by_row(one {0}) RETURNS text LANGUAGE sql AS 'SELECT $1.name'"
    ),
    "column kept of table public.log": "CREATE TABLE log (kept {0}[])",
    r"function public.all_rows\(\)": (
        "CREATE FUNCTION all_rows() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM {0}; END"
    ),
    "inheritance with public.child": "CREATE TABLE child () INHERITS ({0})",
}


@pytest.mark.parametrize(("named", "made"), BARRED.items(), ids=BARRED.keys())
def test_what_a_swap_would_lose_is_refused_by_name(
    connect: Connect, target: Target, named: str, made: str
) -> None:
    """The preflight names what can't be carried over to a new table, and mode upsert allows it."""
    publish(connect, content(), REPLACE)
    target.execute(made.format(TABLE))
    with pytest.raises(InputRefusedError, match=f"mode replace would lose the {named}; drop it"):
        Publisher(connect).preflight(Publish(table=TABLE, mode=REPLACE), CONTRACT)
    Publisher(connect).preflight(Publish(table=TABLE), CONTRACT)


def test_an_unforeseen_dependant_is_named_by_the_rehearsal(connect: Connect, target: Target) -> None:
    """What else depends on the table is found by trying, and nothing is dropped."""
    publish(connect, content(), REPLACE)
    target.execute("CREATE TABLE other (code text)")
    target.execute(f"CREATE POLICY p ON other USING (code IN (SELECT code FROM {TABLE}))")
    with pytest.raises(InputRefusedError, match=r"policy p on table (public\.)?other depends on"):
        Publisher(connect).preflight(Publish(table=TABLE, mode=REPLACE), CONTRACT)
    before = physical(target)
    with pytest.raises(InputRefusedError, match=r"policy p on"):
        publish(connect, content(2), REPLACE, run="manual__2")
    assert (before, []) == (physical(target), leftovers(target))


def test_a_function_on_the_rows_is_refused_while_somebody_reads(connect: Connect, target: Target) -> None:
    """The preflight need not have the table for itself to find what depends on its row type."""
    publish(connect, content(), REPLACE)
    target.execute(f"CREATE FUNCTION by_row(one {TABLE}) RETURNS text LANGUAGE sql AS 'SELECT $1.name'")
    with connect() as reader:
        reader.execute(f"SELECT * FROM {TABLE}")
        with pytest.raises(InputRefusedError, match=r"would lose the function public\.by_row"):
            Publisher(connect).preflight(Publish(table=TABLE, mode=REPLACE), CONTRACT)


@pytest.mark.parametrize("schema", ["public", "order"])
def test_the_sequence_of_an_identity_keeps_its_grants(
    connect: Connect, furnished: Target, schema: str
) -> None:
    """Name, owner, grants and comment of the sequence stay, in a schema of any name."""
    sequence = f'"{schema}".numbers'
    if schema != "public":
        furnished.execute(f'CREATE SCHEMA "{schema}"; ALTER TABLE {TABLE} SET SCHEMA "{schema}"')
        furnished.execute(f'GRANT CREATE ON SCHEMA "{schema}" TO mode_owner')
    furnished.execute(f'ALTER SEQUENCE "{schema}".airport_id_seq RENAME TO numbers')
    furnished.execute(f"GRANT USAGE ON SEQUENCE {sequence} TO mode_reader WITH GRANT OPTION")
    furnished.execute(f"GRANT UPDATE ON SEQUENCE {sequence} TO PUBLIC")
    furnished.execute(f"COMMENT ON SEQUENCE {sequence} IS 'Ours'")
    furnished.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO mode_writer")
    said = (
        "SELECT relowner, array(SELECT unnest(relacl)::text ORDER BY 1), obj_description(oid, 'pg_class') "
        f"FROM pg_class WHERE oid = '{sequence}'::regclass"
    )
    before = read(furnished, said)
    publish(connect, content(3), REPLACE, table=f"{schema}.airport")
    assert before == read(furnished, said)
    assert "Ours" == before[0][2]


def test_a_busy_table_is_not_disturbed_by_a_preflight(connect: Connect) -> None:
    """While somebody reads the table, the rehearsal does without the exchange."""
    publish(connect, content(), REPLACE)
    with connect() as reader:
        reader.execute(f"SELECT * FROM {TABLE}")
        Publisher(connect).preflight(Publish(table=TABLE, mode=REPLACE), CONTRACT)
