"""Names of tables, columns, Dags and roots: what a stranger writes there is a name, or refused before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.definitions._internal.node import validate_key
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from airflow_orchestration.domain.contract import Column
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.domain.source import Database, Outbox
from airflow_orchestration.domain.strict import Identifier

NAMES = [
    'airport"; DROP TABLE x; --', "airport; DROP TABLE x", "airport'--", "airport/**/", "airport\n", "airport\0x", " airport",
    "Airport", "aírport", "\u0430irport", "airp\u200bort", "\u202eairport", "1airport", "airport.x.y", "a" * 64, "",
    "*", "%s", "%(x)s", "{x}", "{{ x }}", "$1", "\\x", "a-b", "a b", 'U&"\\0061"', "pg_catalog.pg_authid\n", "../airport",
    "\ud800", "-rf",
]  # fmt: skip
"""Names that SQL, a shell or a path would give another meaning, that look like another one, or are cut."""


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize(
    "named",
    [
        lambda name: Publish.model_validate({"table": f"reference.{name}"}),
        lambda name: Publish.model_validate({"table": f"{name}.airport"}),
        lambda name: Database.model_validate({"conn_id": "x", "table": f"reference.{name}"}),
        lambda name: Outbox.model_validate({"conn_id": "x", "table": "a.b", "payload": name}),
        lambda name: Column.model_validate({"name": name, "type": "string"}),
    ],
    ids=["table", "schema", "source", "outbox", "column"],
)
def test_a_name_for_sql_is_a_plain_word(name: str, named: Any) -> None:
    """Lower case letters, digits and underscores, as many as PostgreSQL keeps; anything else is refused."""
    with pytest.raises(ValidationError) as refused:
        named(name)
    assert 1 == len(refused.value.errors())


@given(st.text(max_size=70) | st.from_regex(r"[a-z][a-z0-9_]*\s?", fullmatch=True))
@example("abc\n")
@example("a" * 64)
@example("..")
@example("\u0430bc")
def test_an_id_is_one_for_airflow_the_file_system_and_sql(name: str) -> None:
    """Of all texts those are ids that are plain ASCII words of at most 63 letters."""
    plain = (
        0 < len(name) < 64
        and name.isascii()
        and name[0].isalpha()
        and name == name.lower()
        and name.replace("_", "a").isalnum()
    )
    try:
        TypeAdapter(Identifier).validate_python(name)
    except ValidationError:
        assert not plain
    else:
        assert plain
        validate_key(name)
