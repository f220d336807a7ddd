"""What all answers below `/orchestration` have in common: JSON in ASCII, errors with their remedy, headers that protect."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_orchestration.exceptions import InputRefusedError, OrchestrationError

REFUSED, FORBIDDEN, NOT_FOUND, TAKEN, UNSUPPORTED_MEDIA, INVALID, UNAVAILABLE = (
    400,
    403,
    404,
    409,
    415,
    422,
    503,
)
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Airflow shows the page in a frame of its own site, and the page loads what stands beside it; nothing else."""
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
NEVER_KEPT, ASKED_ABOUT = "no-store", "no-cache"
"""Data depends on who asks, so no cache keeps it; a static file may be kept, and is asked about each time."""


class PlainJson(JSONResponse):
    """JSON in ASCII, which every text can be written in: an error repeats words that fit into no encoding."""

    def render(self, content: Any) -> bytes:
        """Write the body."""
        return json.dumps(content).encode("ascii")


class Protected:
    """Puts the headers that protect on every answer of an app.

    :param kept: the path below the app whose files a browser may keep.
    """

    def __init__(self, app: ASGIApp, kept: str) -> None:
        self.app = app
        self.kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        cache = ASKED_ABOUT if path.startswith(self.kept) else NEVER_KEPT

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**HEADERS, "Cache-Control": cache})
            await send(message)

        await self.app(scope, receive, protected)


def tell_errors(app: FastAPI) -> None:
    """Let an app answer errors in our words."""
    app.exception_handler(RequestValidationError)(malformed)
    app.exception_handler(InputRefusedError)(refused)
    app.exception_handler(OrchestrationError)(unusable)
    app.exception_handler(psycopg.OperationalError)(unreachable)


def malformed(request: Request, error: RequestValidationError) -> JSONResponse:  # noqa: ARG001  # FastAPI's own signature
    """Say what is wrong with a request, and repeat nothing of it but names."""
    problems = [{"loc": found["loc"], "msg": found["msg"]} for found in error.errors()]
    return PlainJson({"detail": problems}, INVALID)


def refused(request: Request, error: InputRefusedError) -> JSONResponse:  # noqa: ARG001
    """Answer with every problem and its place."""
    problems = [{"path": problem.path, "message": problem.message} for problem in error.problems]
    return PlainJson({"detail": {"subject": error.subject, "problems": problems}}, REFUSED)


def unusable(request: Request, error: OrchestrationError) -> JSONResponse:  # noqa: ARG001
    """Say what is wrong with the store."""
    return PlainJson({"detail": str(error)}, UNAVAILABLE)


def unreachable(request: Request, error: psycopg.OperationalError) -> JSONResponse:  # noqa: ARG001
    """Say that the store does not answer, and not where it is."""
    return PlainJson({"detail": "The store does not answer; try again, or ask who runs it"}, UNAVAILABLE)
