"""What strangers send to Airflow's api-server, before a task of ours sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.postgres import EmbeddedPostgres
from tests.bad_input.rows import Row, answer_of, check, each_row
from tests.bad_input.server import Server, serving


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[Server]:
    """Airflow's api-server with a Dag of a pipeline file, on PostgreSQL."""
    postgres.create_database("bad_input")
    with serving(postgres.sqlalchemy_uri("bad_input")) as made:
        yield made


@each_row("server")
def test_a_request_is_answered_as_the_catalogue_says(server: Server, row: Row) -> None:
    """The form's schema refuses what it can; what Airflow lets in, the run's first task refuses."""
    check(row, answer_of(lambda: server.trigger(row.given)))
