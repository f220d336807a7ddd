"""Waits for an agent's turn to be lent what it needs; no worker is held meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from airflow.sdk import timezone
from airflow.triggers.base import TriggerEvent

from airflow_orchestration.policies.leasing import LeaseAction, LeaseDecision
from airflow_orchestration.storage.gate_facts import is_over
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers.branch_wait import FIRST_LOOK_SECONDS
from airflow_orchestration.triggers.poller import Poller, shared
from airflow_orchestration.triggers.polling import PollingTrigger
from airflow_orchestration.triggers.shared_store import AboutRound, rounds_poller, shared_store


class LeaseWaitTrigger(PollingTrigger[TriggerEvent]):
    """Resumes a task when it is its holder's turn, when waiting can't help any more, or when the time is over.

    Each look keeps the holder's place in the queue and lends nothing, because nobody could renew a lease while no
    worker runs: the task asks, and may have to wait again. What the event says is only for the log.

    :param until: ISO moment at which waiting ends, with its time zone.
    :param round_number: the round of the batches, with which waiting ends too; None for a queue.
    """

    def __init__(
        self, orchestration_conn_id: str, holder: str, until: str, round_number: int | None = None
    ) -> None:
        super().__init__()
        self.orchestration_conn_id = orchestration_conn_id
        self.holder = holder
        self.until = until
        self.round_number = round_number

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "orchestration_conn_id": self.orchestration_conn_id,
                "holder": self.holder,
                "until": self.until,
                "round_number": self.round_number,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: `grant`, `refuse`, `gone` when the place or the round is, or `wait` when the time is over."""
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        yield await self.found()

    async def look(self) -> TriggerEvent | None:
        """Look whether the waiting is over."""
        looks = leases_poller(self.orchestration_conn_id).answer(self.holder), self._round_is_over()
        decision, round_is_over = await asyncio.gather(*looks)
        over = timezone.utcnow() >= datetime.fromisoformat(self.until)
        if decision is None or round_is_over:
            return TriggerEvent({"holder": self.holder, "action": "gone"})
        if decision.action is LeaseAction.WAIT and not over:
            return None
        self.log.info("%s", decision.explanation())
        return TriggerEvent({"holder": self.holder, "action": decision.action.value})

    async def _round_is_over(self) -> bool:
        if self.round_number is None:
            return False
        where = self.coordinates()
        run = RunKey(dag_id=where["dag_id"], run_id=where["run_id"])
        asked = AboutRound(run=run, number=self.round_number, answer=lambda _, facts: is_over(facts))
        found: bool = await rounds_poller(self.orchestration_conn_id).answer(asked)
        return found


def leases_poller(conn_id: str) -> Poller[str, LeaseDecision | None]:
    """Return what all triggers over one connection ask about their holders' turns."""

    async def look(holders: frozenset[str]) -> Mapping[str, LeaseDecision | None]:
        decisions = await shared_store(conn_id).call(lambda store: store.leases.turns(holders))
        return {holder: decisions.get(holder) for holder in holders}

    return shared(("leases", conn_id), lambda: Poller(look))
