"""However late feeds come, and in whatever order, the table ends as if all had been on time.

More orders: `ORDERS=1000 python -m pytest tests/reconcile/test_orders.py`.
"""

from __future__ import annotations

import os
import random

from tests.reconcile.conftest import MakeWorld
from tests.reconcile.world import Arrival, World, random_files

ORDERS = int(os.environ.get("ORDERS", "10"))
FEEDS = ("red", "green", "blue", "grey")


def test_any_order_of_arrival_ends_in_the_same_table(
    make_world: MakeWorld,
) -> None:
    """Two runs, up to four feeds, any of them late, merged one by one or together: row for row the same."""
    for seed in range(ORDERS):
        dice = random.Random(seed)
        feeds = {name: dice.choice([1.0, 1.0, 2.0, 5.0]) for name in FEEDS[: dice.randint(2, 4)]}
        files = random_files(dice, 2, list(feeds))
        worlds = {name: make_world(f"{name}_{seed}", feeds, files) for name in ("on_time", "late")}
        everything = list(files)
        worlds["on_time"].land(everything)
        for number in range(2):
            worlds["on_time"].run(number)
        play_late(worlds["late"], dice, everything)

        assert worlds["on_time"].rows() == worlds["late"].rows(), f"seed {seed}"


def play_late(world: World, dice: random.Random, everything: list[Arrival]) -> None:
    """Run on what is there, with arrivals and reconciliations strewn in between; in the end all has come."""
    late = some_late(world, dice, everything)
    for number in range(2):
        world.land([arrival for arrival in everything if arrival[0] == number and arrival not in late])
        world.run(number)
        for arrival in [one for one in late if one[0] <= number and dice.random() < 0.5]:
            late.remove(arrival)
            arrive(world, dice, arrival)
    for arrival in late:
        arrive(world, dice, arrival)
    for number in dice.sample(range(2), 2):
        world.reconcile(number)
        assert world.reconcile(number) is None


def some_late(world: World, dice: random.Random, everything: list[Arrival]) -> list[Arrival]:
    """Choose who is late, in the order of their coming; each run has at least one feed in time."""
    late = [arrival for arrival in everything if dice.random() < 0.5]
    for number in range(2):
        if all((number, feed_id) in late for feed_id in world.feeds):
            late.remove((number, next(iter(world.feeds))))
    dice.shuffle(late)
    return late


def arrive(world: World, dice: random.Random, arrival: Arrival) -> None:
    """Land a late file, and perhaps reconcile its run at once."""
    world.land([arrival])
    if dice.random() < 0.6:
        world.reconcile(arrival[0])
