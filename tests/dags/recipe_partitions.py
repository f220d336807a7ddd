"""A gate inside each run, and Airflow's `MinimumCount` between the runs: two of three shops make a report."""

from __future__ import annotations

from typing import Any

from airflow.sdk import (
    Asset,
    FixedKeyMapper,
    MinimumCount,
    PartitionedAssetTimetable,
    PartitionedAtRuntime,
    RollupMapper,
    SegmentWindow,
    dag,
    task,
)

from airflow_orchestration.insights.completeness import completeness
from airflow_orchestration.operators.require_completeness import RequireCompleteness
from airflow_orchestration.sensors.quorum_gate import quorum_gate

SALES = Asset(name="shop_sales", uri="file:///sales/shops")
TWO_OF_THREE = RollupMapper(
    upstream_mapper=FixedKeyMapper("all_shops"),
    window=SegmentWindow(["berlin", "paris", "rome"]),
    wait_policy=MinimumCount(2),
)


@dag(schedule=PartitionedAtRuntime(), params={"shop": "berlin"}, tags=["recipe"])
def recipe_shop():
    @task
    def load(till: int) -> int:
        if till == 3:
            raise RuntimeError("the till is offline")
        return till

    @task(outlets=[SALES])
    def publish(decision: dict[str, Any], params: Any = None, outlet_events: Any = None) -> None:
        outlet_events[SALES].extra = completeness(decision)
        outlet_events[SALES].add_partitions(params["shop"])

    publish(quorum_gate([load.expand(till=[1, 2, 3, 4])], deadline=600, floor=0.75))


@dag(
    schedule=PartitionedAssetTimetable(assets=SALES, default_partition_mapper=TWO_OF_THREE),
    catchup=False,
    tags=["recipe"],
)
def recipe_shops():
    @task
    def report() -> str:
        return "made"

    RequireCompleteness(task_id="complete", min_share=0.7) >> report()


recipe_shop()
recipe_shops()
