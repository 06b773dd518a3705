"""Metrics of how well probabilities rank positive rows above negative ones. Each public function is a metric.

Each computes the metric in many corpora that are resampled from the same rows, and returns [...] in float64. A corpus
without positive or without negative rows scores 0.

Shapes: N rows, D distinct probabilities.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from heads import scores


def auroc(probabilities: Tensor, gold: Tensor, times: Tensor) -> Tensor:
    """The area under the ROC curve: how often a positive row has a higher probability than a negative one.

    Equal probabilities count one half (Hanley and McNeil 1982).

    Args:
        probabilities: Probability of the positive class, [N].
        gold: Whether the row is positive, [N] (bool).
        times: How many times each corpus contains each row: whole numbers, [..., N].

    >>> float(auroc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]).bool(), torch.ones(4)))
    0.75
    """
    ranked = _ranked(probabilities, gold, times)
    lower_negatives = ranked.negatives.cumsum(-1) - ranked.negatives
    wins = _total(ranked.positives * (lower_negatives + ranked.negatives / 2))
    return scores.ratio(wins, _total(ranked.positives) * _total(ranked.negatives))


def auprc(probabilities: Tensor, gold: Tensor, times: Tensor) -> Tensor:
    """Average precision: the mean over positive rows of the precision at their probability.

    This is scikit-learn's `average_precision_score`, which does not interpolate between the points of the
    precision-recall curve.

    Args:
        probabilities: Probability of the positive class, [N].
        gold: Whether the row is positive, [N] (bool).
        times: How many times each corpus contains each row: whole numbers, [..., N].

    >>> round(float(auprc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]).bool(), torch.ones(4))), 4)
    0.8333
    """
    ranked = _ranked(probabilities, gold, times)
    positives, negatives = ranked.positives.flip(-1), ranked.negatives.flip(-1)  # the highest probability first
    true, false = positives.cumsum(-1), negatives.cumsum(-1)
    precision = scores.ratio(true, true + false)
    is_defined = _total(negatives) > 0
    found = scores.ratio(_total(positives * precision), _total(positives))
    return torch.where(is_defined, found, scores.undefined())


class _Ranked(NamedTuple):
    """The numbers of positive and negative rows at each distinct probability, in ascending order, both [..., D]."""

    positives: Tensor
    negatives: Tensor


def _ranked(probabilities: Tensor, gold: Tensor, times: Tensor) -> _Ranked:
    distinct, position = torch.unique(probabilities, return_inverse=True)  # [D], [N]
    times = times.double()
    none = torch.zeros(*times.shape[:-1], len(distinct), dtype=torch.double)
    positives = none.index_add(-1, position[gold], times[..., gold])
    return _Ranked(positives, none.index_add(-1, position[~gold], times[..., ~gold]))


def _total(values: Tensor) -> Tensor:
    """The sum over the last axis, [..., D] -> [...], added up in order, so that one corpus and many agree exactly."""
    return values.cumsum(-1)[..., -1] if values.shape[-1] else values.sum(-1)
