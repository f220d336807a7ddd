"""What a container knows of itself, for processes that only play one."""

from __future__ import annotations

import os


def hostname() -> str:
    """The name of the container, by which Airflow calls its tasks and its logs."""
    return os.environ["HOSTNAME"]
