"""Metrics of agreement between gold and predicted classes. Each public function is a metric under its own name.

Each takes the confusion matrices [..., C, C] of one or many corpora, where `confusion[..., i, j]` counts gold class i
predicted as class j, and returns [...] in float64. A metric whose denominator is 0 is 0.
"""

from __future__ import annotations

from torch import Tensor

from heads import scores


def mcc(confusion: Tensor) -> Tensor:
    """Matthews' correlation coefficient, for more than two classes R_k (Gorodkin 2004).

    >>> import torch
    >>> float(mcc(torch.tensor([[3, 1], [1, 3]])))
    0.5
    """
    confusion = confusion.double()
    gold, predicted = confusion.sum(-1), confusion.sum(-2)
    total, correct = gold.sum(-1), confusion.diagonal(dim1=-2, dim2=-1).sum(-1)
    covariance = correct * total - (gold * predicted).sum(-1)
    variances = (total**2 - (gold**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return scores.ratio(covariance, variances.sqrt())


def kappa(confusion: Tensor) -> Tensor:
    """Cohen's kappa, unweighted (Cohen 1960).

    >>> import torch
    >>> float(kappa(torch.tensor([[3, 1], [1, 3]])))
    0.5
    """
    confusion = confusion.double()
    gold, predicted = confusion.sum(-1), confusion.sum(-2)
    total, correct = gold.sum(-1), confusion.diagonal(dim1=-2, dim2=-1).sum(-1)
    by_chance = (gold * predicted).sum(-1)
    return scores.ratio(correct * total - by_chance, total**2 - by_chance)
