"""A small client of Airflow's REST API, on the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from demo.errors import ApiError, StackError
from demo.processes import wait_until

ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.5
PAGE = 100
FINAL_STATES = frozenset({"success", "failed"})

_local = build_opener(ProxyHandler({}))  # the API is on this machine: no proxy


class AirflowApi:
    """Speaks for one user; logs in when first needed, and again when the token has run out."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        self._token = ""

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, json: object) -> Any:
        return self._call("POST", path, json)

    def patch(self, path: str, json: object) -> Any:
        return self._call("PATCH", path, json)

    def health(self) -> dict[str, dict[str, str | None]]:
        """The state of each part of Airflow, by its name; needs no login."""
        answer: dict[str, dict[str, str | None]] = self._send("GET", "/api/v2/monitor/health")
        return answer

    def wait_for_dag(self, dag_id: str, seconds: float = 120) -> None:
        """Return when Airflow knows the Dag; after `seconds`, raise with the import errors."""
        if not wait_until(lambda: self._knows(dag_id), seconds, every=POLL_SECONDS):
            errors = self.get("/api/v2/importErrors")["import_errors"]
            traces = "\n".join(error["stack_trace"] for error in errors) or "no import errors"
            raise StackError(f"Dag {dag_id!r} has not appeared within {seconds:g} s: {traces}")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run and return its id."""
        answer = self.post(_runs(dag_id), {"logical_date": None, "conf": dict(conf or {})})
        return str(answer["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self.get(_run(dag_id, run_id))["state"])

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = 300) -> str:
        """Return the final state of a run, or raise with the state it is in after `seconds`."""
        wait_until(lambda: self.run_state(dag_id, run_id) in FINAL_STATES, seconds, every=POLL_SECONDS)
        if (state := self.run_state(dag_id, run_id)) not in FINAL_STATES:
            raise StackError(f"Run {run_id!r} of {dag_id!r} is still {state} after {seconds:g} s")
        return state

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run, mapped ones included."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(f"{_run(dag_id, run_id)}/taskInstances?limit={PAGE}&offset={len(found)}")
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def _knows(self, dag_id: str) -> bool:
        try:
            self.get(f"/api/v2/dags/{quote(dag_id, safe='')}")
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _call(self, method: str, path: str, payload: object = None) -> Any:
        self._token = self._token or self._login()
        try:
            return self._send(method, path, payload)
        except ApiError as error:
            if error.status != 401:
                raise
        self._token = self._login()
        return self._send(method, path, payload)

    def _login(self) -> str:
        self._token = ""
        return str(self._send("POST", "/auth/token", self._credentials)["access_token"])

    def _send(self, method: str, path: str, payload: object = None) -> Any:
        request = Request(self.url + path, method=method, headers={"Content-Type": "application/json"})
        request.data = None if payload is None else json.dumps(payload).encode()
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with _local.open(request, timeout=ANSWER_SECONDS) as response:
                return json.load(response)
        except HTTPError as error:
            raise ApiError(f"{method} {path}", error.code, _detail(error)) from error
        except (URLError, OSError) as error:
            raise ApiError(f"{method} {path}", None, f"no answer ({error})") from error


def _detail(error: HTTPError) -> str:
    """What the server says about its refusal."""
    body = error.read().decode(errors="replace")
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return body or str(error.reason)
    return detail if isinstance(detail, str) else json.dumps(detail)


def _runs(dag_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns"


def _run(dag_id: str, run_id: str) -> str:
    return f"{_runs(dag_id)}/{quote(run_id, safe='')}"
