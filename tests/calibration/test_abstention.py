"""Risk and coverage by hand, and conformal sets against MAPIE and their promise."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from scipy.stats import betabinom
from sklearn.linear_model import LogisticRegression

from mtl.calibration.abstention import (
    COVERAGES,
    area_under_risk_coverage,
    conformal_quantile,
    prediction_sets,
    risk_coverage,
)


def test_risks_are_shares_of_errors_among_the_most_confident() -> None:
    confidence, right = np.array([0.6, 0.9, 0.8, 0.7]), np.array([1.0, 1.0, 0.0, 1.0])
    assert risk_coverage(confidence, right).tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert area_under_risk_coverage(confidence, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.integers(0, 1)), min_size=1, max_size=6))
def test_ties_count_with_the_mean_of_all_their_orders(items: list[tuple[float, int]]) -> None:
    confidence, right = (np.array(own, dtype=float) for own in zip(*items, strict=True))
    curves = []
    for order in permutations(range(len(items))):
        ranked = sorted(order, key=lambda i: -confidence[i])  # a stable sort
        curves.append(np.cumsum(1 - right[ranked]) / np.arange(1, len(items) + 1))
    assert risk_coverage(confidence, right) == pytest.approx(np.mean(curves, axis=0))


def test_a_better_ranking_has_a_smaller_area() -> None:
    right = np.array([1.0] * 8 + [0.0] * 2)
    best, worst = np.linspace(1, 0, 10), np.linspace(0, 1, 10)
    assert area_under_risk_coverage(best, right) < area_under_risk_coverage(worst, right)


@pytest.mark.parametrize("coverage", COVERAGES)
def test_sets_are_those_of_mapie(coverage: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 3))
    y = (x @ rng.normal(size=(3, 4)) + rng.gumbel(size=(700, 4))).argmax(1)
    model = LogisticRegression().fit(x[:200], y[:200])
    oracle = SplitConformalClassifier(model, confidence_level=coverage, conformity_score="lac", prefit=True)
    oracle.conformalize(x[200:450], y[200:450])
    expected = oracle.predict_set(x[450:])[1][:, :, 0]
    dev = model.predict_proba(x[200:450])
    quantile = conformal_quantile(dev[np.arange(250), y[200:450]], coverage)
    assert (prediction_sets(model.predict_proba(x[450:]), quantile) == expected).all()


@pytest.mark.parametrize("coverage", COVERAGES)
def test_the_coverage_of_exchangeable_data_is_as_stated(coverage: float) -> None:
    """The number of covered texts of test is beta-binomial (Vovk 2012), so its limits are known."""
    n, m = 400, 500
    rank = int(np.ceil((n + 1) * coverage))
    low, high = betabinom(m, rank, n + 1 - rank).ppf([1e-6, 1 - 1e-6])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.ones(3), size=n + m)
        gold = np.array([rng.choice(3, p=one) for one in p])
        quantile = conformal_quantile(p[np.arange(n), gold[:n]], coverage)
        covered = prediction_sets(p[n:], quantile)[np.arange(m), gold[n:]].sum()
        assert low <= covered <= high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from(COVERAGES))
def test_at_least_the_stated_share_of_dev_is_covered(of_gold: list[float], coverage: float) -> None:
    own = np.array(of_gold)
    quantile = conformal_quantile(own, coverage)
    assert (1 - own <= quantile).mean() >= coverage
    few = len(own) + 1 < 1 / (1 - coverage) - 1e-6
    assert not few or quantile == 1


def test_a_quantile_at_a_whole_number_needs_no_further_score() -> None:
    assert conformal_quantile(1 - np.arange(1, 10) / 10, 0.9) == pytest.approx(0.9)
