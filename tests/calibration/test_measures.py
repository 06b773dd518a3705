"""Calibration error, Brier score and likelihood, against torchmetrics and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from mtl.calibration.measures import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)


def drawn(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.6), size=n), rng.integers(classes, size=n)


@given(st.integers(0, 999), st.integers(1, 200), st.integers(2, 5))
def test_the_error_is_that_of_torchmetrics(seed: int, n: int, classes: int) -> None:
    p, gold = drawn(seed, n, classes)
    bins = reliability_bins(p.max(1), (p.argmax(1) == gold).astype(float))
    expected = multiclass_calibration_error(torch.tensor(p), torch.tensor(gold), classes, n_bins=15, norm="l1")
    assert expected_calibration_error(bins) == pytest.approx(float(expected), abs=1e-6)
    assert sum(one.size for one in bins) == n


@given(st.integers(0, 999), st.integers(1, 200))
def test_the_error_of_outcomes_is_that_of_torchmetrics(seed: int, n: int) -> None:
    p, gold = drawn(seed, n, 2)
    expected = binary_calibration_error(torch.tensor(p[:, 1]), torch.tensor(gold), n_bins=15, norm="l1")
    found = expected_calibration_error(reliability_bins(p[:, 1], gold.astype(float)))
    assert found == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_score_and_likelihood_are_those_of_scikit_learn(classes: int) -> None:
    p, gold = drawn(3, 300, classes)
    labels = list(range(classes))
    own = p[:, 1] if classes == 2 else p
    assert brier_score(p, gold) == pytest.approx(brier_score_loss(gold, own, labels=labels))
    assert negative_log_likelihood(p, gold) == pytest.approx(log_loss(gold, p, labels=labels))


def test_scores_of_outcomes_are_those_of_two_classes() -> None:
    p, gold = drawn(5, 100, 2)
    assert brier_score(p[:, 1], gold) == pytest.approx(brier_score(p, gold))
    assert negative_log_likelihood(p[:, 1], gold) == pytest.approx(negative_log_likelihood(p, gold))


def test_probabilities_at_the_edges_are_in_the_first_and_last_bin() -> None:
    bins = reliability_bins(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert [one.size for one in bins] == [1, 1]
    assert expected_calibration_error(bins) == 0
    assert np.isfinite(negative_log_likelihood(np.array([0.0]), np.array([1.0])))
