"""Connections, targets and stores that are not as they should be, on a real PostgreSQL."""

from __future__ import annotations

import pytest

from tests.bad_input.databases import Place, ask
from tests.bad_input.rows import Row, answer_of, check, each_row


@each_row("databases")
def test_a_bad_database_is_told_before_anything_is_done(
    row: Row, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays wrong is a problem with its place; what passes is raised as it is, for a retry."""
    check(row, answer_of(lambda: ask(row.given, Place(dsn=migrated, patch=monkeypatch))))
