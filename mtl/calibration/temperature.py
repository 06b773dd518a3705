"""The temperature of a task (Guo et al. 2017, "On calibration of modern neural networks").

Shapes: n decisions, C classes, m decisions or labels with gold.
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
"""The temperature lies between 1 / LIMIT and LIMIT."""


def fit_temperature(decisions: Decisions) -> float:
    """The temperature with the least mean negative log-likelihood of the gold.

    Found by Brent's method over the logarithm of the temperature. There is one optimum, because the likelihood is
    convex in 1 / temperature. A method with gradients can step over a limit, where the gradient is 0, and stop there.
    Without an error on dev, the likelihood rises as the temperature goes to 0, which says nothing about new data; the
    temperature is then 1.

    Args:
        decisions: Decisions; those without gold, or labels without, are ignored. There must be one with gold.
    """
    probabilities, gold = known(decisions)
    logits = class_logits(probabilities) if probabilities.dim() == 2 else label_logits(probabilities)
    if has_no_error(probabilities, gold):
        return 1.0
    bound = math.log(LIMIT)

    @torch.no_grad()
    def loss(log_temperature: float) -> float:
        return float(_nll(logits / math.exp(log_temperature), gold))

    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-9})
    return math.exp(float(found.x))


def has_no_error(probabilities: Tensor, gold: Tensor) -> bool:
    """Whether the most probable class is always the gold, [m, C] and [m], or each label above 0.5 and no other is."""
    best = probabilities.argmax(1) if probabilities.dim() == 2 else (probabilities > 0.5).long()
    return bool((best == gold).all())


def known(decisions: Decisions) -> tuple[Tensor, Tensor]:
    """The probabilities and the gold of what has gold: decisions, [m, C] and [m], or single labels, [m] and [m]."""
    is_known = known_mask(decisions)
    return decisions.probabilities[is_known], decisions.gold[is_known]


def known_mask(decisions: Decisions) -> Tensor:
    """What has gold: which decisions, [n], or which labels of each, [n, C] (bool)."""
    return decisions.gold != IGNORE


def at_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities of classes, [n, C], or of single labels, [n], at a temperature."""
    return (softened if probabilities.dim() == 2 else softened_labels)(probabilities, temperature)


def _nll(logits: Tensor, gold: Tensor) -> Tensor:
    if logits.dim() == 2:
        return F.cross_entropy(logits, gold)
    return F.binary_cross_entropy_with_logits(logits, gold.double())
