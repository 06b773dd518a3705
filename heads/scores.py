"""Scores as plain functions of a confusion matrix: `confusion[i, j]` counts gold class i predicted as class j.

A precision, recall or F1 whose denominator is zero is 0, as in scikit-learn's ``zero_division=0``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from heads import Report


def accuracy(confusion: Tensor) -> float:
    """Share of the diagonal; 0 for an empty matrix.

    >>> import torch
    >>> accuracy(torch.tensor([[3, 1], [0, 4]]))
    0.875
    """
    return _ratio(float(confusion.diagonal().sum()), float(confusion.sum()))


def precision_recall_f1(true: float, predicted: float, gold: float) -> tuple[float, float, float]:
    """Precision, recall and F1 from the number of right, predicted and gold items.

    >>> precision_recall_f1(1, 2, 4)
    (0.5, 0.25, 0.3333333333333333)
    """
    return _ratio(true, predicted), _ratio(true, gold), _ratio(2 * true, predicted + gold)


def micro(confusion: Tensor, classes: Sequence[int]) -> tuple[float, float, float]:
    """Precision, recall and F1 pooled over some classes; errors into and out of the other classes count.

    >>> import torch
    >>> micro(torch.tensor([[5, 1], [1, 3]]), [1])
    (0.75, 0.75, 0.75)
    """
    chosen = list(classes)
    return precision_recall_f1(
        float(confusion.diagonal()[chosen].sum()),
        float(confusion[:, chosen].sum()),
        float(confusion[chosen].sum()),
    )


def macro_f1(confusion: Tensor, classes: Sequence[int]) -> float:
    """Mean F1 over some classes; a class that neither occurs nor is predicted counts 0.

    >>> import torch
    >>> macro_f1(torch.tensor([[2, 0], [0, 2]]), [0, 1])
    1.0
    """
    return _ratio(sum(micro(confusion, [c])[2] for c in classes), len(classes))


def report(confusion: Tensor, names: Sequence[str], classes: Sequence[int]) -> Report:
    """Precision, recall, F1 and support of some classes, with the whole matrix."""
    per_class = {}
    for c in classes:
        precision, recall, f1 = micro(confusion, [c])
        support = float(confusion[c].sum())
        per_class[names[c]] = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    return Report(per_class, tuple(names), [[int(n) for n in line] for line in confusion.tolist()])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
