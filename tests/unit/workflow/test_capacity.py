"""What a machine has, and what a branch may use of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_orchestration.domain.pipeline import Capacity
from airflow_orchestration.workflow import capacity
from airflow_orchestration.workflow.capacity import (
    MEMORY_PER_BRANCH_MB,
    Container,
    available_memory_mb,
    measure_capacity,
)


def container(folder: Path, limit: str, used: str) -> Container:
    """The files in which Linux tells the memory of a container."""
    for name, text in (("limit", limit), ("used", used)):
        (folder / name).write_text(text)
    return Container(folder=folder, limit="limit", used="used", given_up="inactive_file")


def test_a_container_has_what_its_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much its machine has; a container without a limit has what the machine has."""
    monkeypatch.setattr(capacity, "CONTAINERS", (container(tmp_path, "209715200\n", "104857600\n"),))
    limited = available_memory_mb()
    monkeypatch.setattr(capacity, "CONTAINERS", (container(tmp_path, "max\n", "104857600\n"),))

    assert (100, True) == (limited, available_memory_mb() > 200)


def test_pages_of_files_that_were_read_are_not_memory_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux gives them up as soon as somebody wants memory, so they are left."""
    monkeypatch.setattr(capacity, "CONTAINERS", (container(tmp_path, "209715200\n", "199229440\n"),))
    (tmp_path / "memory.stat").write_text(
        "anon 52428800\nfile 146800640\ninactive_file 94371840\nactive_file 52428800\n"
    )

    assert 100 == available_memory_mb()


def test_a_full_container_has_nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not less than nothing."""
    monkeypatch.setattr(capacity, "CONTAINERS", (container(tmp_path, "100", "209715200"),))

    assert 0 == available_memory_mb()
    assert (1, 0) == (measure_capacity(Capacity()).workers, measure_capacity(Capacity()).memory_mb)


def test_no_more_workers_than_the_memory_has_room_for() -> None:
    """Each needs what the smallest engine's process may hold."""
    found = measure_capacity(Capacity(memory_mb=2 * MEMORY_PER_BRANCH_MB))

    assert found.workers <= 2
