"""Keeps the page from taking all of the api-server's threads while a store does not answer."""

from __future__ import annotations

from anyio import Semaphore, fail_after
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_orchestration.plugins.answers import UNAVAILABLE, PlainJson

AT_ONCE = 8
"""Ours: of the 40 threads in which an api-server's process runs all routes that wait for a database."""
PATIENCE_SECONDS = 2.0
"""Ours: how long a request waits for its turn, which takes no thread."""
BUSY = "Many are reading this now; it is asked for again in a moment"


class Bounded:
    """Lets some requests at once into those parts of an app that read a store; others are told to come again.

    :param parts: the beginnings of their paths.
    """

    def __init__(self, app: ASGIApp, parts: tuple[str, ...]) -> None:
        self.app = app
        self.parts = parts
        self.turns = Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in turn."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if not path.startswith(self.parts):
            return await self.app(scope, receive, send)
        try:
            with fail_after(PATIENCE_SECONDS):
                await self.turns.acquire()
        except TimeoutError:
            busy = PlainJson({"detail": BUSY}, UNAVAILABLE, {"Retry-After": "5"})
            return await busy(scope, receive, send)
        try:
            return await self.app(scope, receive, send)
        finally:
            self.turns.release()
