"""Everything below `/orchestration`: the page with its data, and the job registry. All of it asks who calls.

Nothing but the static files, which hold no data, is served to somebody whom Airflow does not know. Who opens the
page without being logged in is sent to Airflow's login, and back.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from airflow_orchestration.plugins.access import authenticated
from airflow_orchestration.plugins.answers import PlainJson, Protected
from airflow_orchestration.plugins.bounded import Bounded
from airflow_orchestration.plugins.failures import tell_errors
from airflow_orchestration.plugins.jobs_api import router as jobs
from airflow_orchestration.plugins.page_api import router as page_data

STATIC = Path(__file__).parent / "static"
NOT_LOGGED_IN = frozenset({401, 403})
"""What Airflow answers without credentials, and with bad ones."""
DESCRIPTION = """\
What a person sees of runs, as data, and the job registry.

Every route asks for Airflow's token (`POST /auth/token`), as bearer or cookie, and for the right to read the Dag that it
is about, or to do with it what the route does. All times are ISO 8601 in UTC; null is what nobody knows.
"""


class ProtectedApp(FastAPI):
    """An app whose every answer is protected, also the one to a mistake of ours."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the headers around everything: what Starlette adds as middleware stands inside of its error 500."""
        return Protected(super().build_middleware_stack(), kept="/static/")


app = ProtectedApp(
    title="Orchestration",
    description=DESCRIPTION,
    version="1",
    servers=[{"url": "/orchestration", "description": "Below the address of Airflow"}],
    dependencies=[Depends(authenticated)],
    default_response_class=PlainJson,
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    redirect_slashes=False,
)
app.add_middleware(Bounded, parts=("/api/", "/jobs"))
app.include_router(page_data)
app.include_router(jobs)
app.mount("/static", StaticFiles(directory=STATIC))
tell_errors(app)


@app.get("/page", include_in_schema=False)
def page() -> FileResponse:
    """The page, which asks for its data itself."""
    return FileResponse(STATIC / "page.html", media_type="text/html")


@app.get("/api/openapi.json", include_in_schema=False)
def openapi() -> JSONResponse:
    """The description of this API."""
    return PlainJson(app.openapi())


def openapi_text() -> str:
    """The description of this API, as the text of a file."""
    return json.dumps(app.openapi(), indent=2) + "\n"


@app.exception_handler(HTTPException)
def told(request: Request, error: HTTPException) -> Response:
    """Answer an error, or lead a person who opens the page to the login."""
    if request.scope.get("endpoint") is page and error.status_code in NOT_LOGGED_IN:
        return RedirectResponse(f"../api/v2/auth/login?{urlencode({'next': _address(request)})}")
    return PlainJson({"detail": error.detail}, error.status_code, error.headers)


def _address(request: Request) -> str:
    """Where the person wanted to go, as a path on this site: a name of a host would have to be believed."""
    query = request.url.query
    return f"{request.scope['root_path']}/page{f'?{query}' if query else ''}"
