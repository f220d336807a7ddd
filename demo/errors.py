"""What can go wrong with the local stack."""

from __future__ import annotations


class StackError(Exception):
    """The local stack could not do what was asked; the message says why and what to do."""


class ApiError(StackError):
    """Airflow's API refused a request, or did not answer (then `status` is None)."""

    def __init__(self, request: str, status: int | None, detail: str) -> None:
        super().__init__(f"{request}: {detail}" if status is None else f"{request}: {status}, {detail}")
        self.status = status
        self.detail = detail
