"""Does trust find who is right? On sets of claims whose truth is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.insights.trust_trial import try_trust
from airflow_orchestration.policies.trust.ballot import Ballot
from airflow_orchestration.policies.trust.calibration import calibrated, calibration_error
from airflow_orchestration.policies.trust.choosing import learned
from airflow_orchestration.policies.trust.history import as_counts, decayed, from_counts, settled
from airflow_orchestration.policies.trust.model import TrustModel, interpolated
from benchmarks.trust_airports import BUNDLED, LISTS, claims_of
from benchmarks.trust_sets import SETS, drawn


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("probes", [0.02, 0.1])
def test_trust_is_never_worse_than_the_vote(name: str, probes: float) -> None:
    """With labels for a few keys, trust is at most a point below the vote on any set."""
    verdict = try_trust(*drawn(SETS[name]), tolerance={}, probes=probes, seed=1)
    assert verdict.trust_accuracy >= verdict.vote_accuracy - 0.01


@pytest.mark.parametrize("name", ["bad majority", "guessing crowd"])
def test_trust_beats_the_vote_where_the_sources_allow_it(name: str) -> None:
    """A tenth of the labels is worth at least 15 points of accuracy where the majority is bad."""
    verdict = try_trust(*drawn(SETS[name]), tolerance={}, probes=0.1, seed=1)
    assert verdict.trust_accuracy >= verdict.vote_accuracy + 0.15


@pytest.mark.parametrize("name", [name for name in SETS if name != "bad majority"])
def test_without_labels_trust_is_not_worse_than_the_vote(name: str) -> None:
    """What the feeds say about one another is enough, unless the majority copies one of them."""
    verdict = try_trust(*drawn(SETS[name]), tolerance={}, probes=0.0, seed=1)
    assert verdict.trust_accuracy >= verdict.vote_accuracy - 0.01


@pytest.mark.parametrize("name", ["copied errors", "guessing crowd", "long tail"])
def test_a_confidence_is_right_so_often(name: str) -> None:
    """The expected calibration error is below 0.05 where a tenth of the keys is labelled."""
    verdict = try_trust(*drawn(SETS[name]), tolerance={}, probes=0.1, seed=1)
    assert verdict.calibration_error < 0.05


def test_trust_holds_on_real_lists() -> None:
    """On the four lists of airports that are not the labels, with a tenth of these known, it is no worse and calibrated."""
    claims, labels = claims_of({name: LISTS[name] for name in BUNDLED})
    some = [one for one in claims if one.cell[0] < "E"]
    verdict = try_trust(some, labels, tolerance={}, probes=0.1, seed=1)
    assert verdict.trust_accuracy >= verdict.vote_accuracy
    assert verdict.calibration_error < 0.05


def test_copiers_are_told_from_friends_that_are_right() -> None:
    """Who shares errors is found; who agrees because both are right is not."""
    copied = try_trust(*drawn(SETS["copied errors"]), tolerance={}, probes=0.0, seed=1).model.copying
    friends = try_trust(*drawn(SETS["good friends"]), tolerance={}, probes=0.0, seed=1).model.copying
    assert ({"s009", "s010", "s011"}, {}) == (set(copied["s004"]), friends)


def test_other_names_change_nothing() -> None:
    """The sources' names don't matter."""
    claims, labels = drawn(SETS["three sources"])
    names = {"s000": "z", "s001": "a", "s002": "m"}
    renamed = [type(one)(source=names[one.source], cell=one.cell, value=one.value) for one in claims]
    verdicts = [try_trust(given_, labels, tolerance={}, probes=0.1, seed=1) for given_ in (claims, renamed)]
    accuracy = [verdict.model.accuracy["a"] for verdict in verdicts]
    assert {names[name]: pytest.approx(share) for name, share in accuracy[0].items()} == accuracy[1]


@given(st.lists(st.floats(0.55, 0.95), min_size=2, max_size=5, unique=True))
def test_who_is_right_more_often_weighs_more(shares: list[float]) -> None:
    """Weight rises with the share of right values, all else equal."""
    model = learned(
        [
            Ballot(attribute="a", sides=((f"s{n}",),), truth=truth, count=count)
            for n, share in enumerate(shares)
            for truth, count in ((0, 200 * share), (-1, 200 * (1 - share)))
        ]
    )
    weights = [model.weight(f"s{n}", "a") for n in range(len(shares))]
    by_share = [weight for _, weight in sorted(zip(shares, weights, strict=True))]
    assert sorted(by_share) == by_share


def test_a_copier_adds_less_than_an_independent_source() -> None:
    """Of two feeds that are equally good, the one that copies its neighbour adds less to its side."""
    accuracy = {"a": {"original": 0.8, "copier": 0.7, "independent": 0.7}}
    model = TrustModel(accuracy=accuracy, spread={"a": 5.0}, copying={"copier": {"original": 0.9}})
    with_copier, with_other = (
        model.scores(Ballot(attribute="a", sides=(("original", other),)))[0]
        for other in ("copier", "independent")
    )
    assert with_copier < with_other


def test_without_anything_to_learn_from_the_vote_remains() -> None:
    """Unknown feeds count equally."""
    model = learned([])
    assert model.weight("one", "a") == model.weight("other", "a") > 0


def test_a_model_comes_back_from_plain_data() -> None:
    """What is stored is what was learned."""
    model = try_trust(*drawn(SETS["three sources"]), tolerance={}, probes=0.5, seed=1).model
    assert model == TrustModel.from_json(model.as_json())


def test_an_old_run_counts_half_after_its_half_life() -> None:
    """Of three runs with a half-life of two, the oldest counts half."""
    run = from_counts({"a": {"x": [8.0, 10.0]}})
    assert [4.0, 5.0] == as_counts(decayed([run, {}, {}], 2))["a"]["x"]


def test_an_unsure_value_settles_nothing() -> None:
    """Two feeds that contradict each other teach nothing; a third one that agrees with one of them does."""
    model = TrustModel(spread={"a": 10.0})
    divided = Ballot(attribute="a", sides=(("x",), ("y",)))
    decided = Ballot(attribute="a", sides=(("x", "z"), ("y",)), count=3)
    taught = as_counts(settled(model, [divided, decided]))
    assert {"a": {"x": [3.0, 3.0], "z": [3.0, 3.0], "y": [0.0, 3.0]}} == taught


def test_calibration_mends_confidence_that_is_too_high() -> None:
    """Values with a raw confidence of 0.99 that are right in 7 of 10 cases get about 0.7."""
    found = [(0.99, n % 10 < 7) for n in range(500)]
    points = calibrated(found)
    mended = [(interpolated(points, raw), right) for raw, right in found]
    assert calibration_error(mended) < 0.03 < calibration_error(found)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200))
def test_calibration_keeps_the_order(found: list[tuple[float, bool]]) -> None:
    """A higher raw confidence never becomes a lower one, nor leaves 0..1."""
    points = calibrated(found)
    heights = [interpolated(points, raw / 50) for raw in range(51)]
    assert sorted(heights) == heights
    assert all(0 <= height <= 1 for height in heights)
