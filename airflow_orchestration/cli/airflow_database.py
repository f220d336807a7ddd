"""What a command asks and tells Airflow itself: it may use Airflow's database, which a task may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.storage.store import RunKey


def quality_results(spec: RunSpec, key: RunKey) -> dict[str, object]:
    """Return what the `quality_task` of each feed left as its XCom, by feed."""
    tasks = {feed.id: feed.quality_task for feed in spec.feeds.values() if feed.quality_task is not None}
    if not tasks:
        return {}
    from airflow.models.xcom import XComModel  # noqa: PLC0415, TID251  # only Airflow's database knows
    from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415, TID251

    asked = XComModel.get_many(
        run_id=key.run_id, key="return_value", task_ids=set(tasks.values()), dag_ids=key.dag_id
    )
    with create_session() as session:
        rows: Iterable[Any] = session.scalars(asked)
        left = {row.task_id: XCom.deserialize_value(row) for row in rows}
    return {feed_id: left.get(task) for feed_id, task in tasks.items()}


def tell_assets(tables: Iterable[str], extra: Mapping[str, Any]) -> dict[str, str]:
    """Send an event of each table's asset, as task `reconcile` does; return why, for those that could not be told.

    The asset of a table has its name. The alias is the one that `operators.reconcile.late_versions` gives.
    """
    from airflow.assets.manager import asset_manager  # noqa: PLC0415  # a second that other commands don't pay
    from airflow.models.asset import AssetModel  # noqa: PLC0415, TID251  # only Airflow's database knows
    from airflow.utils.session import create_session  # noqa: PLC0415, TID251
    from sqlalchemy import select  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    untold = {}
    for table in tables:
        named = select(AssetModel).where(AssetModel.name == table, AssetModel.active.has())
        try:
            with create_session() as session:
                asset = session.scalar(named)
                if asset is None:
                    untold[table] = "Airflow knows no asset of this name"
                else:
                    alias = f"{table} late"
                    asset_manager.register_asset_change(
                        asset=asset, extra=dict(extra), source_alias_names=[alias], session=session
                    )
        except SQLAlchemyError as error:
            untold[table] = type(error).__name__
    return untold
