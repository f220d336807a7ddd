"""Whose fault is a failure of PostgreSQL: of what was asked, which stays wrong, or of the moment, which passes?"""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from airflow_orchestration.exceptions import OrchestrationError

MENDABLE = (OrchestrationError, psycopg.OperationalError, errors.InsufficientPrivilege)
"""What a person can mend, or time: told in a sentence, without a traceback. Anything else is our mistake."""
AT_THE_DOOR = ("28", "3D")
IN_THE_REQUEST = (
    *AT_THE_DOOR,
    "0A",  # not supported
    "0L",  # invalid grantor
    "0P",  # invalid role
    "22",  # data; 23 is left out: with no rows, only a race for the same new table breaks a constraint
    "25006",  # the server only reads
    "2F",  # routine
    "38",  # external routine
    "39",  # external routine invocation
    "3F",  # no such schema
    "42",  # no such object, no privilege, wrong type
    "44",  # check option
    "54",  # too many columns
    "55000",  # a table that can't be updated
    "P0",  # raised by a trigger
)
# A connection that fails has no SQLSTATE in libpq, only the words of the server or of a pooler.
TURNED_AWAY = re.compile(
    r"""FATAL:\s+(
            .*authentication\ failed.*
          | (?:role|database)\ .*\ does\ not\ exist
          | no\ such\ (?:database|user).*
          | role\ .*\ is\ not\ permitted\ to\ log\ in
          | permission\ denied\ for\ database.*
          | no\ pg_hba\.conf\ entry.*
          | pg_hba\.conf\ rejects.*)
      | (no\ password\ supplied)""",
    re.VERBOSE,
)


def turned_away(error: psycopg.OperationalError) -> str | None:
    """Why the server will never let this connection in; None when it did not answer, or may do so later."""
    if (error.sqlstate or "").startswith(AT_THE_DOOR):
        return error.diag.message_primary or type(error).__name__
    found = TURNED_AWAY.search(str(error))
    return (found[1] or found[2]) if found else None


def stays(error: psycopg.Error) -> bool:
    """Would the same request fail again; false for locks, lost connections and troubles of the server."""
    return (error.sqlstate or "").startswith(IN_THE_REQUEST)
