"""What all answers below `/orchestration` have in common: JSON in ASCII, errors with their remedy, headers that protect."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED, FORBIDDEN, NOT_FOUND, TAKEN, UNSUPPORTED_MEDIA, INVALID, UNAVAILABLE = (
    400,
    403,
    404,
    409,
    415,
    422,
    503,
)
NOT_MODIFIED, UNKNOWN_CALLER, BROKEN = 304, 401, 500
TAG_DIGITS = 32
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
        return json.dumps(content, allow_nan=False).encode("ascii")


def entity_tag(text: str, *, rows_shown: bool) -> str:
    """Return an `ETag` for what a text stands for; who may see rows of data is told something else."""
    digest = sha256(f"{rows_shown}/{text}".encode()).hexdigest()
    return f'W/"{digest[:TAG_DIGITS]}"'


def is_known(tag: str, if_none_match: str | None) -> bool:
    """Whether the caller has what a tag stands for; a proxy that compresses may have weakened the tag."""
    told = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return tag.removeprefix("W/") in told


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
