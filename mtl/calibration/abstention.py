"""What withholding uncertain predictions gains, and sets of classes that contain the right one as often as asked.

Shapes: n outcomes or texts, C classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COVERAGES = (0.8, 0.9, 0.95, 0.99)
"""The coverages whose quantiles are fitted and saved."""


def risk_coverage(confidence: Array, is_right: Array) -> Array:
    """The share of errors among the k most confident predictions, for k from 1 to n, [n].

    Equally confident predictions are in random order, so each counts with the mean error of all of them.

    Args:
        confidence: Confidence in each prediction, [n].
        is_right: Whether it is right, [n], 0 or 1.

    >>> risk_coverage(np.array([0.9, 0.5, 0.7]), np.array([1.0, 0.0, 1.0])).round(3).tolist()
    [0.0, 0.0, 0.333]
    """
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=1 - is_right, minlength=len(sizes)) / sizes
    return np.cumsum(np.repeat(errors, sizes)) / np.arange(1, len(confidence) + 1)


def area_under_risk_coverage(confidence: Array, is_right: Array) -> float:
    """The mean risk over all coverages (AURC; Geifman, Uziel and El-Yaniv 2019); 0 is best.

    >>> round(area_under_risk_coverage(np.array([0.9, 0.5, 0.7]), np.array([1.0, 0.0, 1.0])), 4)
    0.1111
    """
    return float(risk_coverage(confidence, is_right).mean()) if len(confidence) else float("nan")


def conformal_quantile(of_gold: Array, coverage: float) -> float:
    """The threshold of split conformal prediction (Vovk et al. 2005; the score is that of Sadinle et al. 2019).

    It is the k-th smallest of 1 - p(gold), with k = ceil((n + 1) * coverage). If there is no k-th, it is 1, and sets
    have all classes.

    Args:
        of_gold: Probability of the gold class of each text of dev, [n].
        coverage: The share of sets that shall contain the gold class.

    >>> conformal_quantile(np.array([0.9, 0.8, 0.6, 0.5]), 0.5)
    0.4
    >>> conformal_quantile(np.array([0.9, 0.8, 0.6, 0.5]), 0.9)
    1.0
    """
    # Without the tolerance, (9 + 1) * 0.9 could be 9.000000000000002 and need a tenth score.
    place = math.ceil((len(of_gold) + 1) * coverage - 1e-9)
    return 1.0 if place > len(of_gold) else float(np.sort(1 - of_gold)[place - 1])


def prediction_sets(probabilities: Array, quantile: float) -> NDArray[np.bool_]:
    """Which classes are in the set of each text, [n, C]: those with 1 - p of at most the quantile.

    >>> prediction_sets(np.array([[0.75, 0.25], [0.5, 0.5]]), 0.5).tolist()
    [[True, False], [True, True]]
    """
    return 1 - probabilities <= quantile
