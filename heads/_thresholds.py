"""Thresholds of probabilities: fixed, with the best F1 on dev, or at a clinical operating point chosen on dev.

Shapes: N rows, D candidate thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from heads import scores
from heads._metrics import PROPORTIONS
from heads._text import choice

Threshold = float | Literal["tuned"] | Mapping[str, float]
"""A probability; "tuned" for the best F1 on dev; or an operating point such as ``{sensitivity: 0.95}``."""


class Goal(NamedTuple):
    """What a threshold is chosen for on dev: the best F1, or the least value of a proportion.

    Args:
        metric: "f1", "sensitivity", "specificity", "ppv" or "npv".
        at_least: The least value of the proportion; without effect for "f1".
    """

    metric: str
    at_least: float = 0.0


_COUNTERPARTS = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "sensitivity", "npv": "specificity"}
"""What is traded against each proportion, and so is to be as high as possible."""


def goal_of(threshold: Threshold) -> Goal | None:
    """The goal for which a threshold is chosen on dev; None if the threshold is fixed.

    Raises:
        ValueError: The value is not a probability, "tuned", or one operating point.

    >>> goal_of({"sensitivity": 0.95})
    Goal(metric='sensitivity', at_least=0.95)
    """
    if isinstance(threshold, str):
        return Goal("f1")
    if isinstance(threshold, int | float):
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be 'tuned', an operating point or between 0 and 1, got {threshold}")
        return None
    if len(threshold) != 1:
        raise ValueError(f"threshold must name one operating point such as {{sensitivity: 0.95}}, got {len(threshold)}")
    [(metric, least)] = threshold.items()
    choice("threshold", metric, _COUNTERPARTS)
    if not 0 < least <= 1:
        raise ValueError(f"threshold.{metric} must be above 0 and at most 1, got {least}")
    return Goal(metric, least)


def best_threshold(probabilities: Tensor, gold: Tensor, goal: Goal | None = None) -> float:
    """The threshold t for which ``probability >= t`` serves the goal best; of equally good ones the nearest to 0.5.

    For a proportion, that is the threshold with the best counterpart (specificity for sensitivity and NPV, otherwise
    sensitivity) among those that reach the least value. If none reaches it, the least value is replaced by the highest
    one that any threshold has.

    The predictions change only at the probabilities themselves, so one candidate in each gap between neighbouring
    probabilities is enough: 0.5 if it lies in the gap, otherwise the midpoint, which leaves a margin on both sides.

    Args:
        probabilities: Predicted probabilities of one label, [N].
        gold: Whether the label applies, [N] (bool).
        goal: What to choose the threshold for; None means the best F1.

    >>> best_threshold(torch.tensor([0.125, 0.25, 0.375]), torch.tensor([False, True, True]))
    0.1875
    >>> best_threshold(torch.tensor([0.125, 0.625]), torch.tensor([False, True]))
    0.5
    >>> best_threshold(torch.tensor([0.25, 0.5, 0.75]), torch.tensor([True, False, True]), Goal("sensitivity", 0.9))
    0.125
    """
    candidates = _candidates(probabilities)
    quality = _quality(_tables(candidates, probabilities, gold), goal or Goal("f1"))
    nearest = torch.where(quality == quality.max(), (candidates - 0.5).abs(), torch.inf)
    return float(candidates[nearest.argmin()])


def reaching_threshold(probabilities: Tensor, gold: Tensor, goal: Goal) -> float | None:
    """As `best_threshold`; None if no threshold reaches the least value of the goal.

    Without rows of the class from which the proportion is computed, nothing says that the value cannot be reached.

    Args:
        probabilities: Predicted probabilities of one label, [N].
        gold: Whether the label applies, [N] (bool).
        goal: What to choose the threshold for.

    >>> gold = torch.tensor([True, False, False, False])
    >>> reaching_threshold(torch.full((4,), 0.25), gold, Goal("sensitivity", 0.9))
    0.125
    >>> reaching_threshold(torch.full((4,), 0.25), gold, Goal("ppv", 0.9)) is None
    True
    """
    threshold = best_threshold(probabilities, gold, goal)
    has_cases = (gold if goal.metric in {"sensitivity", "ppv"} else ~gold).any()
    if goal.metric == "f1" or not has_cases:
        return threshold
    table = _tables(torch.tensor([threshold], dtype=probabilities.dtype), probabilities, gold)
    reached = float(scores.ratio(*PROPORTIONS[goal.metric](table)))
    return threshold if reached >= goal.at_least else None


def _candidates(probabilities: Tensor) -> Tensor:
    """One threshold in each gap between neighbouring probabilities, [D]."""
    edges = torch.cat([torch.zeros(1), torch.unique(probabilities), torch.ones(1)])
    low, high = edges[:-1], edges[1:]  # no probability lies strictly between the two
    middle = (low + high) / 2
    middle = torch.where(middle > low, middle, high)  # there is no float between two adjacent floats
    return torch.where((low < 0.5) & (high >= 0.5), torch.tensor(0.5), middle)


def _tables(candidates: Tensor, probabilities: Tensor, gold: Tensor) -> Tensor:
    """The 2 x 2 table of gold and prediction at each candidate, [D, 2, 2]."""
    # The number of probabilities at or above a candidate is N minus its insertion point among the sorted ones.
    descending = probabilities.argsort(descending=True)
    true_positives = torch.cat([torch.zeros(1, dtype=torch.long), gold[descending].long().cumsum(0)])
    predicted = len(probabilities) - torch.searchsorted(probabilities.sort().values, candidates)
    true = true_positives[predicted]
    false_positive, false_negative = predicted - true, gold.sum() - true
    true_negative = len(probabilities) - predicted - false_negative
    return scores.two_by_two(true, false_positive, false_negative, true_negative)


def _quality(tables: Tensor, goal: Goal) -> Tensor:
    """How well each candidate serves the goal, [D]."""
    if goal.metric == "f1":
        return scores.micro(tables, [1])[2]
    reached = scores.ratio(*PROPORTIONS[goal.metric](tables))
    counterpart = scores.ratio(*PROPORTIONS[_COUNTERPARTS[goal.metric]](tables))
    return torch.where(reached >= min(goal.at_least, float(reached.max())), counterpart, -1.0)
