"""How well probabilities are calibrated.

Shapes: n outcomes, B bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NUM_BINS = 15


class Bin(NamedTuple):
    """A bin of a reliability diagram.

    Args:
        confidence: Mean confidence of its outcomes.
        frequency: Share of them that happened.
        size: Number of them.
    """

    confidence: float
    frequency: float
    size: int


def reliability_bins(confidence: Array, happened: Array, num_bins: int = NUM_BINS) -> list[Bin]:
    """The bins of equal width that are not empty; an outcome at an edge belongs to the lower bin.

    Args:
        confidence: Probability of each outcome, [n].
        happened: Whether it happened, [n], 0 or 1.
        num_bins: B.

    >>> reliability_bins(np.array([0.2, 0.9, 0.7]), np.array([0.0, 1.0, 1.0]), num_bins=2)
    [Bin(confidence=0.2, frequency=0.0, size=1), Bin(confidence=0.8, frequency=1.0, size=2)]
    """
    places = bin_places(confidence, num_bins)
    own = [places == place for place in range(num_bins) if (places == place).any()]
    return [Bin(float(confidence[b].mean()), float(happened[b].mean()), int(b.sum())) for b in own]


def bin_places(confidence: Array, num_bins: int) -> NDArray[np.intp]:
    """The number of each outcome's bin, [n]."""
    return np.clip(np.ceil(confidence * num_bins).astype(np.intp) - 1, 0, num_bins - 1)


def expected_calibration_error(bins: list[Bin]) -> float:
    """The mean distance between confidence and frequency of the bins, weighted by size (Naeini et al. 2015).

    >>> expected_calibration_error([Bin(0.75, 0.5, 1), Bin(1.0, 0.5, 3)])
    0.4375
    """
    total = sum(one.size for one in bins)
    return sum(one.size * abs(one.confidence - one.frequency) for one in bins) / total if total else float("nan")


def brier_score(probabilities: Array, gold: Array) -> float:
    """The mean squared error of probabilities (Brier 1950), as in scikit-learn: halved with two classes.

    Args:
        probabilities: Of the classes, [n, C], or of an outcome, [n].
        gold: Index of the class, [n] (int), or whether the outcome happened, [n].

    >>> brier_score(np.array([[0.75, 0.25]]), np.array([0]))
    0.0625
    >>> brier_score(np.array([0.75]), np.array([1.0]))
    0.0625
    """
    return float(squared_errors(probabilities, gold).mean())


def squared_errors(probabilities: Array, gold: Array) -> Array:
    """The squared error of each outcome, [n], whose mean is the Brier score."""
    if probabilities.ndim == 1:
        return (probabilities - gold) ** 2
    squares = ((probabilities - np.eye(probabilities.shape[1])[gold.astype(int)]) ** 2).sum(axis=1)
    found: Array = squares / 2 if probabilities.shape[1] == 2 else squares
    return found


def negative_log_likelihood(probabilities: Array, gold: Array) -> float:
    """The mean negative log-likelihood in nats, of classes, [n, C], or of an outcome, [n]; as scikit-learn's log loss.

    >>> round(negative_log_likelihood(np.array([0.5, 0.25]), np.array([1.0, 0.0])), 4)
    0.4904
    """
    return float(log_losses(probabilities, gold).mean())


def log_losses(probabilities: Array, gold: Array) -> Array:
    """The negative log-likelihood of each outcome in nats, [n]."""
    if probabilities.ndim == 1:
        right = np.where(gold == 1, probabilities, 1 - probabilities)
    else:
        right = probabilities[np.arange(len(gold)), gold.astype(int)]
    found: Array = -np.log(np.clip(right, np.finfo(np.float64).eps, 1))
    return found
