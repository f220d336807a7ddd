"""Records what this release writes to its store: `python -m tests.storage.upgrades.record`.

Run it before the first migration of the next release is added. It plays the runs that `test_upgrading.py` tells of by
the real workflow, on a database of its own, and writes every row to a file named by the newest migration. Files of
earlier releases are never written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql

from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance, ResourceRequirements
from airflow_orchestration.storage.leases import LeaseRequest
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from demo.postgres import EmbeddedPostgres
from tests.reconcile.world import World
from tests.storage.test_stream_positions import FEED, MONDAY, TUESDAY, branch, close, register, span
from tests.unit.workflow.rounds import Round

TABLE = "public.thing"
FEEDS = {"good": 2.0, "poor": 1.0, "late": 1.0}
LINES = {"good": "a,1,x\nb,2,y\nc,3,z\n", "poor": "a,1,x\nb,9,y\nd,-4,q\n", "late": "e,5,v\n"}
TERMS = {"sync": {"deadline": 60, "floor": 0.5}, "merge": {"attributes": {"size": "trust"}}}
COLUMNS = """SELECT attname FROM pg_attribute
             WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"""
TABLES = """SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname NOT IN ('migration', 'lease_capacity')
            AND relnamespace = 'orchestration'::regnamespace ORDER BY pg_class.oid"""
NUMBERED = """SELECT attrelid::regclass::text, attname FROM pg_attribute
              WHERE attidentity <> '' AND attrelid::regclass::text LIKE 'orchestration.%' ORDER BY 1"""
DEFINED = """SELECT string_agg(format('%%I %%s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
             FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"""


def play(folder: Path, dsn: str) -> None:
    """Play a run that is repaired, one that lacks a feed, one that begins, one with agents, and what stands beside runs."""
    files = {(number, name): f"code,size,name\n{text}" for number in range(3) for name, text in LINES.items()}
    connect = partial(psycopg.connect, dsn)
    world = World(folder=folder, table=TABLE, feeds=FEEDS, files=files, connect=connect, changes=TERMS)
    with PostgresStore(connect) as store:
        world.store = store  # type: ignore[assignment]  # the one that is recorded
        world.land([(0, "good"), (0, "poor")])
        world.run(0)
        world.land([(0, "late")])
        world.reconcile(0)
        world.land([(1, "good"), (1, "poor")])
        world.run(1)
        world.start(2)
        world.work(2)
        register(store, branch(store, MONDAY), span(0, 10), span(3, 5, "t[1]"))
        register(store, branch(store, TUESDAY), span(10, 12))
        store.streams.give_back(close(store, TUESDAY), [FEED])
        _employ(folder, store)


def _employ(folder: Path, store: PostgresStore) -> None:
    round_ = Round(folder / "agents", {"planes": {"source_type": "streaming"}, "sales": {}}, store=store)
    agent = next(agent for agent in round_.hire() if agent.position >= 0)
    fence = round_.step(f"agent:{agent.agent_id}").fence
    done = AgentPerformance(execution_time=timedelta(seconds=2), data_quality_score=0.9, records=100)
    known = {"agent_id": agent.agent_id, "agent_type": agent.specification.agent_type, "kind": "csv"}
    outcome = AgentOutcome(**known, batch="planes", succeeded=True, performance=done)
    store.agents.record(fence, "north", outcome)
    for holder, cpu in (("north/a", 1000), ("north/b", 4000)):
        needed = ResourceRequirements(cpu_millicores=cpu, memory_mb=256, connections=1)
        store.leases.set_capacity(
            "north", ResourceRequirements(cpu_millicores=4000, memory_mb=8000, connections=5)
        )
        store.leases.ask(LeaseRequest(holder=holder, tenant="north", needed=needed, epoch=fence.epoch))
    files = (("sales.yaml", "id: sales\n"), ("sales.odcs.yaml", "kind: DataContract\n"))
    store.registry.put("north", "sales", files, changed_by="a")
    store.registry.put("south", "stock", (("stock.yaml", "id: stock\n"),), changed_by="b")
    store.registry.remove("south", "stock", changed_by="b")


def written(connection: psycopg.Connection[Any], folder: Path) -> str:
    """Return statements that write every row again, with a placeholder for the folder."""
    return "\n".join(_statements(connection)).replace(str(folder), "@folder@")


def _statements(connection: psycopg.Connection[Any]) -> Iterator[str]:
    for (table,) in connection.execute(TABLES).fetchall():
        yield from _rows(connection, table)
    yield from _rows(connection, "orchestration.lease_capacity", sql.SQL("WHERE tenant <> ''"))
    [(epoch,)] = connection.execute("SELECT last_value FROM orchestration.epoch").fetchall()
    yield f"SELECT setval('orchestration.epoch', {epoch});\n"
    for table, column in connection.execute(NUMBERED).fetchall():
        yield f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT max({column}) FROM {table}));\n"
    [(columns,)] = connection.execute(DEFINED, [TABLE]).fetchall()
    yield f"CREATE TABLE {TABLE} ({columns}, PRIMARY KEY (code));\n"
    yield from _rows(connection, TABLE)


def _rows(connection: psycopg.Connection[Any], table: str, where: sql.SQL | None = None) -> Iterator[str]:
    names = [name for (name,) in connection.execute(COLUMNS, [table]).fetchall()]
    cells = sql.SQL(", ").join(
        sql.SQL("quote_nullable({}::text)").format(sql.Identifier(name)) for name in names
    )
    query = sql.SQL("SELECT concat_ws(', ', {}) FROM {} {}").format(
        cells, sql.Identifier(*table.split(".")), where or sql.SQL("")
    )
    rows = [f"({row})" for (row,) in connection.execute(query)]
    if rows:
        told = ",\n".join(rows)
        yield f"INSERT INTO {table} ({', '.join(names)}) OVERRIDING SYSTEM VALUE VALUES\n{told};\n"


def main() -> None:
    """Record, on a server of its own."""
    with TemporaryDirectory(prefix="orchestration-", ignore_cleanup_errors=True) as place:
        server, folder = EmbeddedPostgres(Path(place) / "postgres"), Path(place) / "files"
        server.start()
        try:
            server.create_database("recorded")
            with psycopg.connect(server.dsn("recorded")) as connection:
                newest = migrate(connection)[-1]
            play(folder, server.dsn("recorded"))
            with psycopg.connect(server.dsn("recorded")) as connection:
                Path(__file__).with_name(f"{newest}.sql").write_text(written(connection, folder))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
