"""What are tasks called that others than the Dag factory speak of? A page links to them."""

from __future__ import annotations


def group_id(round_number: int) -> str:
    """Name the task group of a round."""
    return f"round_{round_number}"


def ask_task(question: str) -> str:
    """Name the task that asks a person, and its work unit; its id in a Dag has the round's group before it.

    >>> ask_task("gate")
    'ask_gate'
    """
    return f"ask_{question}"


def asking_task_id(round_number: int, question: str) -> str:
    """Return the whole id of the task that asks a person in a round.

    >>> asking_task_id(1, "gate")
    'round_1.ask_gate'
    """
    return f"{group_id(round_number)}.{ask_task(question)}"
