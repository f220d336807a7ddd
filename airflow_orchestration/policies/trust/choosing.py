"""What should be believed of the feeds? Learns in several ways, and keeps the one that known values support.

The ways differ in what they lean on: `probes` on known values alone, `settled` on what earlier runs settled,
`agreement` on what the feeds say now, `both` on known values and on what the feeds say now. Of the known values
each fifth in turn is hidden, and the way that gets most of them right is taken; the vote is one of them. So the
result is not worse than the vote where there are known values enough to tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from airflow_orchestration.policies.trust.ballot import Ballot, Tallies
from airflow_orchestration.policies.trust.calibration import Observation, calibrated
from airflow_orchestration.policies.trust.copying import (
    Agreements,
    accuracies_from_agreement,
    agreements,
    copied_shares,
)
from airflow_orchestration.policies.trust.learning import (
    count_right,
    effective_spread,
    estimated,
    known_posterior,
    vote_posterior,
)
from airflow_orchestration.policies.trust.model import TrustModel

FOLDS = 5
LEAST_KNOWN = 8
"""With fewer known values there is nothing to choose by."""
MOST_ASKED = 20_000
"""Feeds' values of known truth that take part while ways are compared."""
MOST_HIDDEN = 30_000
"""Other values that take part where ways are compared: what was tried is what is used."""
MOST_LEARNED = 200_000
"""Values that take part where no truth is known."""
ROUNDS = 8
"""How often the open values are guessed."""
TRIAL_ROUNDS = 4
"""The same, while ways are compared."""
LAST_LOOK = 3
"""After so many rounds, who copies whom is looked for no more."""
FAVOUR = 0.12
"""What the first of the ways is given before the others, in roots of the number of known values."""
FIRST_SPREAD = 5.0
"""The spread with which agreement is explained before anything is known."""
VOTE = TrustModel(method="vote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Everything to learn from: ballots with known truth, others, earlier runs, and who agrees with whom."""

    known: Sequence[Ballot]
    open: Sequence[Ballot]
    settled: Tallies
    agreed: Agreements
    rounds: int = ROUNDS


Way = Callable[[Lesson], TrustModel]


def learned(ballots: Sequence[Ballot], settled: Tallies | None = None) -> TrustModel:
    """Return what to believe of the feeds, with calibrated confidence where values are known."""
    known = [ballot for ballot in ballots if ballot.truth is not None]
    hidden = together(ballot for ballot in ballots if ballot.truth is None)
    agreed = agreements(together(replace(ballot, truth=None) for ballot in ballots))
    lesson = Lesson(known=known, open=hidden, settled=settled or {}, agreed=agreed)
    if sum(ballot.count for ballot in known) < LEAST_KNOWN:
        return _everything(replace(lesson, open=thinned(hidden, MOST_LEARNED)))
    lesson = replace(lesson, open=thinned(hidden, MOST_HIDDEN))
    trials = _trials(replace(lesson, known=thinned(known, MOST_ASKED), rounds=TRIAL_ROUNDS))
    name = best_way(trials)
    return replace(WAYS[name](lesson), method=name, calibration=calibrated(trials[name]))


def thinned(ballots: Sequence[Ballot], most: int) -> Sequence[Ballot]:
    """Leave out ballots evenly until the feeds' values in them are few enough."""
    values = sum(ballot.voters for ballot in ballots)
    return ballots[:: math.ceil(values / most)] if values > most else ballots


def together(ballots: Iterable[Ballot]) -> list[Ballot]:
    """Make one ballot of those with equal sides, in the order in which they came."""
    counts: dict[tuple[str, tuple[tuple[str, ...], ...], int | None], float] = {}
    for one in ballots:
        key = (one.attribute, one.sides, one.truth)
        counts[key] = counts.get(key, 0.0) + one.count
    return [
        Ballot(attribute=attribute, sides=sides, truth=truth, count=count)
        for (attribute, sides, truth), count in counts.items()
    ]


def winner(model: TrustModel, ballot: Ballot) -> tuple[int, float]:
    """Return the most probable side of a ballot, the first of equal ones, and its raw confidence."""
    found = model.raw_confidence(ballot)
    best = max(range(len(found)), key=found.__getitem__)
    return best, found[best]


def _vote(lesson: Lesson) -> TrustModel:
    ballots = [*lesson.known, *lesson.open]
    spread = effective_spread((ballot, _believed(None, ballot)) for ballot in ballots)
    return replace(VOTE, spread=spread)


def _from_probes(lesson: Lesson) -> TrustModel:
    """Known values alone, and who copies whom, told from them."""
    known = [(ballot, known_posterior(ballot)) for ballot in lesson.known]
    model = estimated(count_right(known), effective_spread(known), "probes")
    return replace(model, copying=copied_shares(lesson.agreed, model))


def _from_settled(lesson: Lesson) -> TrustModel:
    """Known values, and those that earlier runs settled."""
    known = [(ballot, known_posterior(ballot)) for ballot in lesson.known]
    model = estimated(count_right(known, start=lesson.settled), _vote(lesson).spread, "settled")
    return replace(model, copying=copied_shares(lesson.agreed, model))


def _from_agreement(lesson: Lesson) -> TrustModel:
    """The accuracies that explain how often the feeds agree."""
    spread = dict.fromkeys(lesson.agreed, FIRST_SPREAD)
    model = TrustModel(accuracy=accuracies_from_agreement(lesson.agreed, spread), spread=spread)
    return replace(model, copying=copied_shares(lesson.agreed, model))


def _everything(lesson: Lesson) -> TrustModel:
    """Guess the open values, learn from the guesses, and again (expectation maximization)."""
    if lesson.known:
        model = _from_probes(lesson)
    elif lesson.settled:
        model = _from_settled(lesson)
    else:
        model = _from_agreement(lesson)
    return _repeated(lesson, model)


def _repeated(lesson: Lesson, model: TrustModel) -> TrustModel:
    ballots = [*lesson.known, *lesson.open]
    for number in range(lesson.rounds):
        guessed = [(ballot, _believed(model, ballot)) for ballot in ballots]
        tallies = count_right(guessed, start=lesson.settled)
        copying = model.copying
        model = estimated(tallies, effective_spread(guessed), "both" if lesson.known else "agreement")
        copying = copied_shares(lesson.agreed, model) if number < LAST_LOOK else copying
        model = replace(model, copying=copying)
    return model


def _believed(model: TrustModel | None, ballot: Ballot) -> Sequence[float]:
    if ballot.truth is not None:
        return known_posterior(ballot)
    return vote_posterior(ballot) if model is None else model.raw_confidence(ballot)


WAYS: dict[str, Way] = {
    "both": _everything,
    "probes": _from_probes,
    "settled": _from_settled,
    "agreement": lambda lesson: _repeated(replace(lesson, known=()), _from_agreement(lesson)),
    "vote": _vote,
}
"""By name; of equal merit the first is taken."""
BLIND = ("agreement", "vote")
"""The ways that do not look at known values, and so need be tried but once."""


def _trials(lesson: Lesson) -> dict[str, list[Observation]]:
    """Each way's answers about the known values, each asked of those who did not know it."""
    ways = {name: way for name, way in WAYS.items() if name != "settled" or lesson.settled}
    found = {name: _asked(way, lesson, FOLDS) for name, way in ways.items() if name not in BLIND}
    return found | {name: _asked(WAYS[name], lesson, 1) for name in BLIND}


def _asked(way: Way, lesson: Lesson, folds: int) -> list[Observation]:
    found: list[Observation] = []
    for fold in range(folds):
        asked = lesson.known[fold::folds]
        rest = [ballot for at, ballot in enumerate(lesson.known) if at % folds != fold]
        hidden = [*lesson.open, *(replace(ballot, truth=None) for ballot in asked)]
        model = way(replace(lesson, known=rest, open=hidden))
        found += (answer for ballot in asked for answer in _answers(model, ballot))
    return found


def _answers(model: TrustModel, ballot: Ballot) -> list[Observation]:
    best, raw = winner(model, ballot)
    return [(raw, best == ballot.truth)] * max(1, round(ballot.count))


def best_way(trials: Mapping[str, Sequence[Observation]]) -> str:
    """Return the way with most merit; the first is left only for one that is better by more than chance."""
    first, *_ = trials
    start = FAVOUR / math.sqrt(max(1, len(trials[first])))
    return max(trials, key=lambda way: _merit(trials[way]) + (start if way == first else 0.0))


def _merit(found: Sequence[Observation]) -> float:
    """Right answers, and a little for answers that were as sure as they should be."""
    if not found:
        return 0.0
    right = sum(right for _, right in found)
    surprise = math.fsum((raw - right) ** 2 for raw, right in found)
    return (right - 0.5 * surprise) / len(found)
