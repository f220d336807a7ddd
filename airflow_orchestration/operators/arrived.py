"""What did the tasks return that a gate saw arrive? By name, never by position."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow.sdk import get_current_context

INSTANCE = re.compile(r"(?P<task_id>.+)\[(?P<map_index>\d+)\]")


def arrived(decision: Mapping[str, Any], *, key: str = "return_value") -> dict[str, Any]:
    """Return `{member: value}` of exactly those that had arrived when the gate decided.

    A member is a `task_id`, or `task_id[map_index]` of a mapped task. One that returned nothing has the
    value None. Call it in a task of the gate's own run; each value is asked of Airflow singly, because a
    list of them would have no gap where an instance failed (apache/airflow#40321).

        @task
        def merge(decision):
            return {member: len(rows) for member, rows in arrived(decision).items()}

    :param decision: what the gate returned.
    :param key: the XCom key.
    """
    ti: Any = get_current_context()["ti"]
    values: dict[str, Any] = {}
    for member in decision["evidence"]["arrived_ids"]:
        task_id, map_index = instance_of(member)
        values[member] = ti.xcom_pull(task_ids=task_id, map_indexes=map_index, key=key)
    return values


def instance_of(member: str) -> tuple[str, int]:
    """Return the task id and the map index of a member; -1 for a task that is not mapped.

    >>> instance_of("extract.load[3]"), instance_of("airports")
    (('extract.load', 3), ('airports', -1))
    """
    found = INSTANCE.fullmatch(member)
    return (found["task_id"], int(found["map_index"])) if found else (member, -1)
