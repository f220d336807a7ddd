"""Which statements does no run of the publish path execute, and why? Whatever else is in the .sql files has to be met."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tests.torture.path_points import names

OUTSIDE = {
    "agents": "a pipeline with agents: the real scheduler is tortured with those",
    "leases": "what agents borrow: the real scheduler is tortured with those",
    "migrations": "the schema is there before a run begins",
    "overview": "the page and the command line read",
    "pruning": "the harness prunes after the run, untortured; tests/prune tortures it",
    "quarantine": "the page and the command line read",
    "reading_session": "the page and the command line read",
    "readings": "the page and the command line read",
    "registry": "jobs that tenants register",
    "trust": "a merge by trust learns from earlier runs; a run here is alone",
}
"""The files whose statements are no business of a run here."""
_PART = "a part of other statements"
NOT_MET = {
    "publish.column_comment": _PART,
    "publish.assignment": _PART,
    "publish.required_column": _PART,
    "publish.optional_column": _PART,
    "publish.partitioning": _PART,
    "queries.degraded_runs": "the Dag that repairs asks which runs to repair; here it is told",
    "queries.manifest": "the page reads it, and the Dag that repairs, for what it tells the assets",
    "queries.decided_gates": "the command line tries other policies on what was decided",
    "swap.analyze_key": "for 10,000 rows and more; a run here has some hundred",
    "swap.cast": _PART,
    "swap.differing": _PART,
    "swap.first_rows": _PART,
}
"""The other statements that no run executes, each with the reason."""


def unexplained(met: Collection[str]) -> list[str]:
    """The statements that were not met and are not listed, and those that are listed and were met."""
    wanted = {name: text for name, text in names().items() if name.partition(".")[0] not in OUTSIDE}
    met_texts = {_words(names()[name]) for name in met if name in names()}  # some stand in two files
    not_met = {name for name, text in wanted.items() if _words(text) not in met_texts}
    return [
        *(f"{name} is met by no run, and not listed" for name in sorted(not_met - NOT_MET.keys())),
        *(f"{name} is listed as met by no run, and is met" for name in sorted(NOT_MET.keys() - not_met)),
    ]


def strangers() -> Mapping[str, str]:
    """What is listed and stands in no file any more."""
    files = {name.partition(".")[0] for name in names()}
    return {name: why for name, why in (OUTSIDE | NOT_MET).items() if name not in files | names().keys()}


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text)
