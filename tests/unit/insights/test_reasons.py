"""Every reason that a policy can give has a sentence."""

from __future__ import annotations

import pkgutil
from enum import StrEnum
from importlib import import_module

import pytest

from airflow_orchestration import policies
from airflow_orchestration.insights.reasons import MEANINGS, meaning_of

REASONS = {
    found
    for module in pkgutil.iter_modules(policies.__path__, f"{policies.__name__}.")
    for name, found in vars(import_module(module.name)).items()
    if name.endswith("Reason") and isinstance(found, type) and issubclass(found, StrEnum)
}


@pytest.mark.parametrize("reasons", sorted(REASONS, key=lambda it: it.__name__), ids=lambda it: it.__name__)
def test_every_reason_has_a_sentence(reasons: type[StrEnum]) -> None:
    """Some policy's sentences tell all of them, by these very reasons."""
    assert any(
        set(reasons) <= {one for one in told if isinstance(one, StrEnum)} for told in MEANINGS.values()
    )


def test_sentences_are_short_and_tell_reasons_apart() -> None:
    """Each is one line with a full stop, and of a policy no two are the same."""
    for policy, told in MEANINGS.items():
        assert len(told) == len(set(told.values())), policy
        assert [] == [one for one in told.values() if len(one) > 80 or not one.endswith(".")]


def test_a_reason_of_another_version_has_no_sentence() -> None:
    """It is shown as it was recorded."""
    assert None is meaning_of({"policy": "quorum_gate", "reason": "hunch"})
    assert None is meaning_of({"policy": "oracle", "reason": "all_arrived"})
    assert "Everything that was expected has arrived." == meaning_of(
        {"policy": "quorum_gate", "reason": "all_arrived"}
    )
