"""The kinds of input: how often each is made, who makes it, and who looks at what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from tests.fuzz.data import look_at_data
from tests.fuzz.inputs import Made
from tests.fuzz.jobs import look_at_agent, look_at_job, make_agent, make_job
from tests.fuzz.judging import Look
from tests.fuzz.others import look_at_other, make_other
from tests.fuzz.parquet import make_parquet
from tests.fuzz.pipelines import (
    look_at_conf,
    look_at_contract,
    look_at_pipeline,
    make_conf,
    make_contract,
    make_pipeline,
)
from tests.fuzz.tables import make_csv, make_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of input."""

    share: int
    """Of a hundred inputs."""
    make: Callable[[Random], Made]
    look: Look


KINDS: Mapping[str, Kind] = {
    "conf": Kind(share=45, make=make_conf, look=look_at_conf),
    "pipeline": Kind(share=12, make=make_pipeline, look=look_at_pipeline),
    "contract": Kind(share=8, make=make_contract, look=look_at_contract),
    "job": Kind(share=8, make=make_job, look=look_at_job),
    "agent": Kind(share=5, make=make_agent, look=look_at_agent),
    "other": Kind(share=7, make=make_other, look=look_at_other),
    "csv": Kind(share=7, make=make_csv, look=look_at_data),
    "json": Kind(share=5, make=make_json, look=look_at_data),
    "parquet": Kind(share=3, make=make_parquet, look=look_at_data),
}
"""Ours: as many as can be had; a feed takes a hundred times the time of a conf."""
LOOKS: Mapping[str, Look] = {name: kind.look for name, kind in KINDS.items()}


def made_for(seed: int, number: int, wanted: tuple[str, ...]) -> Made:
    """The input of a number: the same for ever, whoever makes it and whatever was made before."""
    names = wanted or tuple(KINDS)
    dice = Random(f"{seed}/{number}")  # no secret hangs on it
    (name,) = dice.choices(names, [KINDS[one].share for one in names])
    return KINDS[name].make(dice)
