"""What is answered when something can't be answered, in words that give nothing away; and how it is described."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import errors

from airflow_orchestration.exceptions import (
    InputRefusedError,
    OrchestrationError,
    ProblemCode,
    UnknownRunError,
)
from airflow_orchestration.plugins.access import NO_RUN
from airflow_orchestration.plugins.answers import (
    BROKEN,
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    REFUSED,
    UNAVAILABLE,
    UNKNOWN_CALLER,
    PlainJson,
)
from airflow_orchestration.plugins.run_shapes import Shape

log = logging.getLogger(__name__)

SILENT = "The store does not answer in time; try again, or ask who runs it"


class Told(Shape):
    """What is wrong, and what helps."""

    detail: str
    """In a sentence."""


class NotKnown(Shape):
    """Why there is no such run."""

    known: bool
    """Never true."""
    reason: str
    """In a sentence."""


class NoRun(Shape):
    """What is answered of a run that the store does not know."""

    detail: NotKnown
    """Why."""


class MalformedPart(Shape):
    """What is wrong with one part of a request."""

    loc: list[str | int]
    """Where: `query` and its name, for instance."""
    msg: str
    """What."""


class Malformed(Shape):
    """What is wrong with a request that can't be asked."""

    detail: list[MalformedPart]
    """All of it."""


class RefusedPart(Shape):
    """One thing that is wrong with an input."""

    code: ProblemCode
    """What kind of problem it is."""
    path: str
    """Where; empty when it is about the whole."""
    message: str
    """What, and what to do about it."""


class Refusal(Shape):
    """Everything that is wrong with an input."""

    subject: str
    """What was refused."""
    problems: list[RefusedPart]
    """All of it."""


class RefusedInput(Shape):
    """What is answered to an input that is refused; nothing was changed."""

    detail: Refusal
    """Why."""


ERRORS: Mapping[int | str, dict[str, Any]] = {
    UNKNOWN_CALLER: {"model": Told, "description": "Nobody is logged in"},
    FORBIDDEN: {"model": Told, "description": "You lack a right"},
    INVALID: {"model": Malformed, "description": "It can't be asked like this"},
    UNAVAILABLE: {
        "model": Told,
        "description": "The store can't be used now; `Retry-After` says when to come again if others are in the way",
    },
}
"""What every route may answer instead, as its description tells."""


def tell_errors(app: FastAPI) -> None:
    """Let an app answer errors in our words."""
    app.exception_handler(RequestValidationError)(malformed)
    app.exception_handler(InputRefusedError)(refused)
    app.exception_handler(UnknownRunError)(unknown)
    app.exception_handler(OrchestrationError)(unusable)
    app.exception_handler(psycopg.OperationalError)(unreachable)
    app.exception_handler(errors.InsufficientPrivilege)(ungranted)
    app.exception_handler(Exception)(broken)


def malformed(request: Request, error: RequestValidationError) -> JSONResponse:  # noqa: ARG001  # FastAPI's own signature
    """Say what is wrong with a request, and repeat nothing of it but names."""
    problems = [{"loc": found["loc"], "msg": found["msg"]} for found in error.errors()]
    return PlainJson({"detail": problems}, INVALID)


def refused(request: Request, error: InputRefusedError) -> JSONResponse:  # noqa: ARG001
    """Answer with every problem and its place."""
    problems = [problem.as_json() for problem in error.problems]
    return PlainJson({"detail": {"subject": error.subject, "problems": problems}}, REFUSED)


def unknown(request: Request, error: UnknownRunError) -> JSONResponse:  # noqa: ARG001
    """Say that there is no such run, in the words for a run that one may not know of."""
    return PlainJson({"detail": NO_RUN}, NOT_FOUND)


def unusable(request: Request, error: OrchestrationError) -> JSONResponse:  # noqa: ARG001
    """Say what kind of trouble it is, with its remedy. The words of the error may name hosts and folders."""
    log.warning("%s: %s", type(error).__name__, error)
    return PlainJson({"detail": error.in_general()}, UNAVAILABLE)


def unreachable(request: Request, error: psycopg.OperationalError) -> JSONResponse:  # noqa: ARG001
    """Say that the store does not answer, and not where it is."""
    log.warning("the store does not answer: %s", error)
    return PlainJson({"detail": SILENT}, UNAVAILABLE)


def ungranted(request: Request, error: errors.InsufficientPrivilege) -> JSONResponse:  # noqa: ARG001
    """Say which right the connection's role lacks; PostgreSQL names the table alone."""
    detail = f"The role of the store's connection lacks a right: {error.diag.message_primary}; grant it"
    return PlainJson({"detail": detail}, UNAVAILABLE)


def broken(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """Say that the mistake is ours; the server's log has it."""
    return PlainJson({"detail": "Something is broken here; the api-server's log tells what"}, BROKEN)
