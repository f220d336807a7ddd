"""What becomes of a late feed in the modes in which a run does not update the rows of another one."""

from __future__ import annotations

from typing import Any

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from tests.reconcile.conftest import Connect, MakeWorld
from tests.reconcile.world import World

FEEDS = {"heavy": 5.0, "light": 1.0}


def files(*names: str) -> dict[tuple[int, str], str]:
    """Per run a heavy feed with a and b, and a light one with b and c, all of one name."""
    return {
        (number, feed): "\n".join(
            ["code,size,name", *(f"{code},{number}{size},{name}" for code in codes), ""]
        )
        for number, name in enumerate(names)
        for feed, codes, size in (("heavy", "ab", 1), ("light", "bc", 2))
    }


def into(name: str, mode: str, **terms: Any) -> dict[str, Any]:
    return {"publish": {"table": f"public.{name}", "mode": mode, **terms}}


def seen(world: World, connect: Connect) -> list[tuple[Any, ...]]:
    with connect() as connection:
        query = f"SELECT code, size::int, _run_id FROM {world.table} ORDER BY _run_id, code"
        return [(code, size, int(run[-1])) for code, size, run in connection.execute(query)]


def play(world: World, runs: int) -> World:
    """All runs without the first one's light feed; then that."""
    for number in range(runs):
        world.land([(number, "heavy")] if number == 0 else [(number, "heavy"), (number, "light")])
        world.run(number)
    world.land([(0, "light")])
    assert world.reconcile(0) is not None
    return world


def test_a_late_feed_of_the_last_run_joins_the_replaced_table(
    make_world: MakeWorld, connect: Connect
) -> None:
    """Nobody has replaced the table since: the late rows come in, the others stay."""
    world = play(make_world("swapped", FEEDS, files("x"), **into("swapped", "replace")), 1)
    assert [("a", 1, 0), ("b", 1, 0), ("c", 2, 0)] == seen(world, connect)


def test_a_late_feed_does_not_return_to_a_replaced_table(make_world: MakeWorld, connect: Connect) -> None:
    """A later run has replaced the table: it would have done so with the late rows as well."""
    later = {**files("x", "x"), (1, "light"): "code,size,name\nz,12,x\n"}
    world = play(make_world("gone", FEEDS, later, **into("gone", "replace")), 2)
    assert [("a", 11, 1), ("b", 11, 1), ("z", 12, 1)] == seen(world, connect)


def test_a_late_feed_is_appended_beside_later_runs(make_world: MakeWorld, connect: Connect) -> None:
    """Rows of later runs with the same keys keep nothing out, and are not touched."""
    world = play(make_world("added", FEEDS, files("x", "x"), **into("added", "append")), 2)
    assert [("a", 1, 0), ("b", 1, 0), ("c", 2, 0), ("a", 11, 1), ("b", 11, 1), ("c", 12, 1)] == seen(
        world, connect
    )


def test_a_late_feed_joins_its_partition_unless_that_was_exchanged(
    make_world: MakeWorld, connect: Connect
) -> None:
    """Runs of other partitions change nothing; a run of the same one has exchanged it for good."""
    columns = tuple(
        Column(name=name, type=kind, required=name != "size")
        for name, kind in (
            ("code", ColumnType.STRING),
            ("size", ColumnType.NUMBER),
            ("name", ColumnType.STRING),
        )
    )
    keyed = Contract(name="thing", key=("code", "name"), columns=columns)
    other_day = [("a", 11, 1), ("b", 11, 1), ("z", 12, 1)]
    for name, names, expected in (
        ("apart", ("x", "y"), [("a", 1, 0), ("b", 1, 0), ("c", 2, 0), *other_day]),
        ("exchanged", ("x", "x"), other_day),
    ):
        landing = {**files(*names), (1, "light"): f"code,size,name\nz,12,{names[1]}\n"}
        world = make_world(name, FEEDS, landing, **into(name, "partition", partition_by="name"))
        world.contracts = (keyed,)
        assert expected == seen(play(world, 2), connect)
