"""Serves the page's files, and answers its questions with what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import airflow_orchestration
from airflow_orchestration.plugins.answers import CONTENT_SECURITY_POLICY

STATIC = Path(airflow_orchestration.__file__).parent / "plugins" / "static"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PAGE_OF_EVENTS = 200


class JsonServer:
    """Answers by the last word of a path: what is set here, as JSON; text as it is; 404 for what is not set."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.statuses: dict[str, int] = {}
        self.asked: list[str] = []
        self.tag: str | None = None
        """The tag of every answer; who has it is told that nothing is new."""

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """The status, kind and body of an answer."""
        parts = urlsplit(path)
        name = parts.path.rpartition("/")[2]
        file = STATIC / ("page.html" if name == "page" else name)
        if file.is_file():
            return 200, KINDS[file.suffix], file.read_bytes()
        self.asked.append(name)
        if name == "timeline":
            before = int(parse_qs(parts.query).get("before", ["0"])[0])
            return 200, "application/json", json.dumps(self._events(before)).encode()
        found = self.answers.get(name)
        status = self.statuses.get(name, 404 if found is None else 200)
        body = found if isinstance(found, str) else json.dumps(found)
        return status, "application/json", body.encode()

    def _events(self, before: int) -> dict[str, Any]:
        found = [event for event in reversed(self.events) if not before or event["id"] < before]
        shown = found[:PAGE_OF_EVENTS]
        return {"events": shown, "before": shown[-1]["id"] if len(found) > PAGE_OF_EVENTS else None}


@contextmanager
def json_server() -> Iterator[JsonServer]:
    """Serve on a free port until the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = told.answer(self.path)
            if told.tag and told.tag == self.headers["If-None-Match"]:
                status, body = 304, b""
            self.send_response(status)
            if told.tag:
                self.send_header("ETag", told.tag)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = JsonServer(f"http://127.0.0.1:{server.server_port}/orchestration/page")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()
