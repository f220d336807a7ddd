"""What of a long timeline and of many decisions is about a run's agents, in both stores."""

from __future__ import annotations

from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.storage.store import RunKey, Store
from tests.storage.builders import RUN, Action, Reason, claimed, decision
from tests.unit.insights.agent_builders import assigned


def test_the_last_word_of_each_kind_is_told(store: Store) -> None:
    """Of each agent the newest event of each kind is left, in the order of the timeline, and of others nothing."""
    fence = claimed(store, "agents", 1)
    store.agents.assign(fence, [assigned("a"), assigned("b", 1)])
    for number, (event, agent) in enumerate(
        [
            ("agent_started", "a"),
            ("agent_progress", "a"),
            ("agent_started", "b"),
            ("agent_progress", "a"),
            ("feed_registered", "a"),
            ("agent_finished", "a"),
            ("agent_started", "a"),
        ]
    ):
        store.add_event(fence, event, {"agent": agent, "number": number})
    store.add_event(claimed(store, "agents", 1, run=OTHER), "agent_started", {"agent": "a", "number": 9})
    assert [2, 3, 5, 6] == [event.detail["number"] for event in store.agents.told(RUN)]


def test_every_making_of_agents_is_told(store: Store) -> None:
    """What was said when agents were made stays, each time, and also where none was made."""
    fence = claimed(store, "agents", 1)
    for number in (1, 2):
        store.add_event(fence, "dynamic_data_processing_agent_creation", {"number": number})
    assert [1, 2] == [event.detail["number"] for event in store.agents.told(RUN)]


def test_decisions_about_agents_are_apart(store: Store) -> None:
    """Who was chosen and in which order they begin, with the round, and no other decision."""
    for number, policy in ((1, "agent_selection"), (1, "allocation"), (2, "agent_order")):
        told = Decision(policy=policy, action=Action.PROCEED, reason=Reason.COMPLETE, evidence={})
        store.record_decision(claimed(store, "plan", number), told)
    store.record_decision(claimed(store, "plan", 2, try_number=2), decision())
    assert [(1, "agent_selection"), (2, "agent_order")] == [
        (number, one["policy"]) for number, one in store.agents.decided(RUN)
    ]


OTHER = RunKey(dag_id=RUN.dag_id, run_id="manual__2")
