"""The temperature of a task (Guo et al. 2017, "On calibration of modern neural networks").

Shapes: n decisions, C classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from heads import IGNORE, Decisions
from heads._softening import class_logits, label_logits, softened, softened_labels

LIMIT = 20.0
"""The temperature lies between 1 / LIMIT and LIMIT: without errors on dev, it would otherwise go to 0."""


def fit_temperature(decisions: Decisions) -> float:
    """The temperature with the least mean negative log-likelihood of the gold.

    Found by Brent's method over the logarithm of the temperature. There is one optimum, because the likelihood is
    convex in 1 / temperature. A method with gradients can step over a limit, where the gradient is 0, and stop there.

    Args:
        decisions: Decisions with gold; those without are ignored. There must be at least one.
    """
    probabilities, gold = known(decisions)
    logits = class_logits(probabilities) if gold.dim() == 1 else label_logits(probabilities)
    bound = math.log(LIMIT)

    @torch.no_grad()
    def loss(log_temperature: float) -> float:
        return float(_nll(logits / math.exp(log_temperature), gold))

    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-9})
    return math.exp(float(found.x))


def known(decisions: Decisions) -> tuple[Tensor, Tensor]:
    """The probabilities and the gold of the decisions whose gold is known."""
    is_known = known_mask(decisions)
    return decisions.probabilities[is_known], decisions.gold[is_known]


def known_mask(decisions: Decisions) -> Tensor:
    """Which decisions have gold, [n] (bool)."""
    is_known = decisions.gold != IGNORE
    return is_known if decisions.gold.dim() == 1 else is_known.all(1)


def at_temperature(probabilities: Tensor, gold: Tensor, temperature: float) -> Tensor:
    """Probabilities at a temperature, [n, C]; the gold has the shape [n, C] if labels do not exclude each other."""
    return (softened if gold.dim() == 1 else softened_labels)(probabilities, temperature)


def _nll(logits: Tensor, gold: Tensor) -> Tensor:
    if gold.dim() == 1:
        return F.cross_entropy(logits, gold)
    return F.binary_cross_entropy_with_logits(logits, gold.double())
