"""Scores as plain functions of confusion matrices: `confusion[..., i, j]` counts gold class i predicted as class j.

All take the counts of one corpus or of many at once. A precision, recall or F1 whose denominator is zero is 0, as in
scikit-learn's ``zero_division=0``.

Shapes: C classes, G chosen ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heads import ClassReport


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole, float64; 0 where the whole is.

    >>> ratio(torch.tensor([1, 0]), torch.tensor([4, 0])).tolist()
    [0.25, 0.0]
    """
    return torch.where(whole != 0, part.double() / whole, 0.0)


def mean(values: Tensor) -> Tensor:
    """The mean over the last axis, [..., G] -> [...], added up from the first to the last."""
    # torch adds many corpora in another order than one, and their last digits would differ.
    total: Tensor = sum(values.unbind(-1), torch.zeros((), dtype=torch.double))
    return total / values.shape[-1]


def accuracy(confusion: Tensor) -> Tensor:
    """Share of the diagonal, [..., C, C] -> [...]; 0 for an empty matrix.

    >>> float(accuracy(torch.tensor([[3, 1], [0, 4]])))
    0.875
    """
    return ratio(confusion.diagonal(dim1=-2, dim2=-1).sum(-1), confusion.sum((-2, -1)))


def precision_recall_f1(true: Tensor, predicted: Tensor, gold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F1 from the number of right, predicted and gold items, all [...].

    >>> [float(score) for score in precision_recall_f1(torch.tensor(1), torch.tensor(2), torch.tensor(4))]
    [0.5, 0.25, 0.3333333333333333]
    """
    return ratio(true, predicted), ratio(true, gold), ratio(2 * true, predicted + gold)


def micro(confusion: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F1 pooled over some classes; errors into and out of the other classes count.

    >>> [float(score) for score in micro(torch.tensor([[5, 1], [1, 3]]), [1])]
    [0.75, 0.75, 0.75]
    """
    return precision_recall_f1(*(items.sum(-1) for items in _items(confusion, classes)))


def macro_f1(confusion: Tensor, classes: Sequence[int]) -> Tensor:
    """Mean F1 over some classes; a class that neither occurs nor is predicted counts 0.

    >>> float(macro_f1(torch.tensor([[2, 0], [0, 2]]), [0, 1]))
    1.0
    """
    return mean(precision_recall_f1(*_items(confusion, classes))[2])


def report(confusion: Tensor, names: Sequence[str], classes: Sequence[int]) -> ClassReport:
    """Precision, recall, F1 and support of some classes, with the whole matrix [C, C]."""
    items = _items(confusion, classes)
    lines = torch.stack([*precision_recall_f1(*items), items[2].double()], dim=1).tolist()  # [G, 4]
    per_class = {
        names[c]: dict(zip(("precision", "recall", "f1", "support"), line, strict=True))
        for c, line in zip(classes, lines, strict=True)
    }
    return ClassReport(per_class, tuple(names), [[int(n) for n in line] for line in confusion.tolist()])


def _items(confusion: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The right, predicted and gold items of each chosen class, [..., C, C] -> three times [..., G]."""
    chosen = list(classes)
    right = confusion.diagonal(dim1=-2, dim2=-1)
    return right[..., chosen], confusion.sum(-2)[..., chosen], confusion.sum(-1)[..., chosen]
