"""Where does the Orchestration page show a Dag, or one run of it?"""

from __future__ import annotations

from urllib.parse import urlencode


def page_path(dag_id: str, run_id: str | None = None) -> str:
    """Return the page's path from Airflow's base URL on, without a slash before it.

    >>> page_path("airports", "manual__2026-11-23T06:00:00+00:00")
    'orchestration/page?dag_id=airports&run_id=manual__2026-11-23T06%3A00%3A00%2B00%3A00'
    """
    return f"orchestration/page?{urlencode({'dag_id': dag_id, **({} if run_id is None else {'run_id': run_id})})}"
