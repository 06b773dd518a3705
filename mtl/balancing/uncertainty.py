"""Uncertainty weighting: each task's weight is learned with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl.balancing import Balancing
from mtl.problems import InputError, Problem


class Uncertainty(Balancing):
    """Weighs each task by the inverse of a learned variance (Kendall et al. 2018, https://arxiv.org/abs/1705.07115).

    With a task's log-variance s and its weighted mean loss L, its term is 1/2 exp(-s) L + s/2, whose minimum over s is
    at s = log L. So every task ends up contributing about the same, whatever the scale of its loss. Only steps that
    train a task add its term and move its log-variance.

    Args:
        weights: The tasks with their loss weights, see `Balancing`.
        learning_rate: Peak learning rate of the log-variances, which follows the schedule of the model. AdamW moves a
            parameter by about its learning rate per update, so 1e-3 lets a log-variance move by 1 in 1,000 updates; at
            the learning rate of an encoder it would hardly move.

    Raises:
        InputError: The learning rate is not a finite number above 0.

    >>> balancing = Uncertainty({"gad": 1.0})
    >>> balancing.factor("gad").item(), balancing.offset("gad").item()
    (0.5, 0.0)
    """

    def __init__(self, weights: Mapping[str, float], *, learning_rate: float = 1e-3) -> None:
        super().__init__(weights)
        if not 0 < learning_rate < math.inf:
            message = f"must be a finite number above 0, got {learning_rate!r}."
            raise InputError(Problem("balancing.learning_rate", message))
        self.learning_rate = learning_rate
        self.log_variances = nn.ParameterDict({_key(task): nn.Parameter(torch.zeros(())) for task in weights})

    def factor(self, task: str) -> Tensor:
        factor: Tensor = 0.5 * self.weights[task] * torch.exp(-self.log_variances[_key(task)])
        return factor

    def offset(self, task: str) -> Tensor:
        offset: Tensor = 0.5 * self.log_variances[_key(task)]
        return offset


def _key(task: str) -> str:
    """The task's key in a `ParameterDict`, prefixed so that it cannot equal the name of a method (`copy`)."""
    return f"of_{task}"
