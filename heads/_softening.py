"""Probabilities at another temperature (Guo et al. 2017, "On calibration of modern neural networks").

Dividing logits by a temperature is the same as raising the probabilities to the power 1 / temperature and scaling them
to a sum of 1, so it can be done after the softmax. The order of the classes stays.

Shapes: n decisions, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heads import Decisions

DECIDES_RESULTS = False

_LEAST = torch.finfo(torch.float32).tiny
_MOST = 1 - torch.finfo(torch.float32).eps / 4  # the middle between 1 and the float32 below it


def softened(probabilities: Tensor, temperature: float) -> Tensor:
    """The softmax of logits / temperature, in float64, from the softmax of the logits, [..., C].

    >>> softened(torch.tensor([0.8, 0.2]), 2.0).tolist()
    [0.6666666666666666, 0.3333333333333333]
    """
    if temperature == 1:
        return probabilities.double()
    return (class_logits(probabilities) / temperature).softmax(-1)


def softened_labels(probabilities: Tensor, temperature: float) -> Tensor:
    """The sigmoid of logits / temperature, in float64, from the sigmoid of the logits, [...].

    >>> [round(p, 4) for p in softened_labels(torch.tensor([0.5, 0.8]), 2.0).tolist()]
    [0.5, 0.6667]
    """
    if temperature == 1:
        return probabilities.double()
    return (label_logits(probabilities) / temperature).sigmoid()


def class_logits(probabilities: Tensor) -> Tensor:
    """Logits of which float32 probabilities are the softmax, in float64, [..., C]."""
    return probabilities.double().clamp(min=_LEAST).log()


def label_logits(probabilities: Tensor) -> Tensor:
    """Logits of which float32 probabilities are the sigmoid, in float64, [...].

    A probability of 1 is taken as the middle between 1 and the next smaller float32.
    """
    return probabilities.double().clamp(_LEAST, _MOST).logit()


def class_decisions(outputs: Sequence[Tensor], gold: Sequence[Sequence[int]], num_classes: int) -> Decisions:
    """The decisions of a head that chooses the most probable class of each example, the first of equals.

    Args:
        outputs: Probabilities of each example, [C].
        gold: Gold classes of each example; an example with several counts once for each, one without any not at all.
        num_classes: C.
    """
    pairs = [(output, label) for output, labels in zip(outputs, gold, strict=True) for label in labels]
    if not pairs:
        none = torch.zeros(0, dtype=torch.long)
        return Decisions(torch.zeros(0, num_classes), none, none)
    probabilities = torch.stack([output for output, _ in pairs])
    chosen = torch.from_numpy(probabilities.numpy().argmax(axis=1))
    return Decisions(probabilities, torch.tensor([label for _, label in pairs]), chosen)
