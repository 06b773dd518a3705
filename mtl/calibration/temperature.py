"""The temperature of a task (Guo et al. 2017, "On calibration of modern neural networks").

Shapes: n decisions, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heads import IGNORE, Decisions
from heads._softening import softened, softened_labels

LIMIT = 20.0
"""The temperature lies between 1 / LIMIT and LIMIT: without errors on dev, it would otherwise go to 0."""


def fit_temperature(decisions: Decisions) -> float:
    """The temperature with the least mean negative log-likelihood of the gold.

    Found by L-BFGS over the logarithm of the temperature. The likelihood has one optimum.

    Args:
        decisions: Decisions with gold; those without are ignored. There must be at least one.
    """
    probabilities, gold = known(decisions)
    log_temperature = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, tolerance_change=1e-12, line_search_fn="strong_wolfe")
    bound = math.log(LIMIT)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mean_nll(at_temperature(probabilities, gold, log_temperature.clamp(-bound, bound).exp()), gold)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().clamp(-bound, bound).exp())


def known(decisions: Decisions) -> tuple[Tensor, Tensor]:
    """The probabilities, in float64, and the gold of the decisions whose gold is known."""
    is_known = (decisions.gold != IGNORE).reshape(len(decisions.gold), -1).all(1)
    return decisions.probabilities[is_known].double(), decisions.gold[is_known]


def at_temperature(probabilities: Tensor, gold: Tensor, temperature: Tensor | float) -> Tensor:
    """Probabilities at a temperature, [n, C]; the gold has the shape [n, C] if labels do not exclude each other."""
    soften = softened if gold.dim() == 1 else softened_labels
    return soften(probabilities, temperature)  # type: ignore[arg-type]  # a tensor while it is fitted


def mean_nll(probabilities: Tensor, gold: Tensor) -> Tensor:
    """The mean negative log-likelihood of the gold, in nats; with several labels, the mean over them too."""
    least = torch.finfo(torch.double).tiny
    if gold.dim() == 1:
        return -probabilities.gather(1, gold[:, None]).clamp(min=least).log().mean()
    right = torch.where(gold == 1, probabilities, 1 - probabilities)
    return -right.clamp(min=least).log().mean()
