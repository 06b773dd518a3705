"""Scores as pure functions of confusion matrices: `confusion[..., i, j]` counts gold class i predicted as class j.

All functions take the counts of one corpus or of many corpora at once. A score whose denominator is 0 is 0, as in
scikit-learn with ``zero_division=0``, unless `undefined_as` sets another value. All scores are float64.

Shapes: C classes, G selected classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from heads import ClassReport

_UNDEFINED: ContextVar[float] = ContextVar("_UNDEFINED", default=0.0)


@contextmanager
def undefined_as(value: float) -> Iterator[None]:
    """A context in which undefined scores have another value than 0: a score that then differs is undefined.

    F1 and precision count as undefined without gold, where even a perfect prediction has none. Such scores say how
    often a class occurs, not how well it is predicted.

    >>> with undefined_as(1.0):
    ...     ratio(torch.tensor([1, 0]), torch.tensor([4, 0])).tolist()
    [0.25, 1.0]
    """
    token = _UNDEFINED.set(value)
    try:
        yield
    finally:
        _UNDEFINED.reset(token)


def undefined() -> float:
    """The value of an undefined score: 0, or that of `undefined_as`."""
    return _UNDEFINED.get()


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part divided by whole; `undefined`, which is 0, where the whole is 0.

    >>> ratio(torch.tensor([1, 0]), torch.tensor([4, 0])).tolist()
    [0.25, 0.0]
    """
    return torch.where(whole != 0, part.double() / whole, undefined())


def mean(values: Tensor, is_defined: Tensor | None = None) -> Tensor:
    """The mean over the last axis, [..., G] -> [...]; 0 if no value is defined.

    Args:
        values: The values, [..., G].
        is_defined: Which values belong to the mean, [..., G] (bool); None means all.

    >>> float(mean(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([True, False, True])))
    0.75
    """
    counted = torch.ones_like(values) if is_defined is None else is_defined.double()
    return ratio(_total(values * counted), _total(counted))


def accuracy(confusion: Tensor) -> Tensor:
    """The share of the diagonal, [..., C, C] -> [...].

    >>> float(accuracy(torch.tensor([[3, 1], [0, 4]])))
    0.875
    """
    return ratio(confusion.diagonal(dim1=-2, dim2=-1).sum(-1), confusion.sum((-2, -1)))


def precision_recall_f1(true: Tensor, predicted: Tensor, gold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F1, each [...].

    Args:
        true: Number of correctly predicted items, [...].
        predicted: Number of predicted items, [...].
        gold: Number of gold items, [...].

    >>> [float(score) for score in precision_recall_f1(torch.tensor(1), torch.tensor(2), torch.tensor(4))]
    [0.5, 0.25, 0.3333333333333333]
    """
    has_gold = gold != 0
    precision, f1 = ratio(true, predicted), ratio(2 * true, predicted + gold)
    return torch.where(has_gold, precision, undefined()), ratio(true, gold), torch.where(has_gold, f1, undefined())


def micro(confusion: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F1 pooled over the given classes. Confusions with other classes count as errors.

    >>> [float(score) for score in micro(torch.tensor([[5, 1], [1, 3]]), [1])]
    [0.75, 0.75, 0.75]
    """
    return precision_recall_f1(*(items.sum(-1) for items in _items(confusion, classes)))


def macro_f1(confusion: Tensor, classes: Sequence[int]) -> Tensor:
    """The mean F1 over those of the given classes that occur or are predicted, as in scikit-learn by default.

    >>> float(macro_f1(torch.tensor([[2, 0, 0], [0, 2, 0], [0, 0, 0]]), [0, 1, 2]))
    1.0
    """
    true, predicted, gold = _items(confusion, classes)
    return mean(ratio(2 * true, predicted + gold), predicted + gold > 0)


def against_others(confusion: Tensor, positive: int) -> Tensor:
    """The 2 x 2 table of one class against all others, [..., C, C] -> [..., 2, 2].

    >>> against_others(torch.tensor([[5, 1, 0], [2, 6, 1], [0, 0, 7]]), 1).tolist()
    [[12, 1], [3, 6]]
    """
    true = confusion[..., positive, positive]
    false_negative = confusion[..., positive, :].sum(-1) - true
    false_positive = confusion[..., :, positive].sum(-1) - true
    true_negative = confusion.sum((-2, -1)) - true - false_negative - false_positive
    return two_by_two(true, false_positive, false_negative, true_negative)


def two_by_two(true: Tensor, false_positive: Tensor, false_negative: Tensor, true_negative: Tensor) -> Tensor:
    """The confusion matrix [..., 2, 2] of negative (0) and positive (1) cases from its four cells, each [...].

    >>> two_by_two(*torch.tensor([6, 1, 3, 12])).tolist()
    [[12, 1], [3, 6]]
    """
    lines = [torch.stack([true_negative, false_positive], dim=-1), torch.stack([false_negative, true], dim=-1)]
    return torch.stack(lines, dim=-2)


def report(confusion: Tensor, names: Sequence[str], classes: Sequence[int]) -> ClassReport:
    """Precision, recall, F1 and support of the given classes, with the whole confusion matrix.

    Args:
        confusion: Confusion matrix, [C, C].
        names: Names of all C classes.
        classes: Indices of the classes that get scores.
    """
    items = _items(confusion, classes)
    lines = torch.stack([*precision_recall_f1(*items), items[2].double()], dim=1).tolist()  # [G, 4]
    per_class = {
        names[c]: dict(zip(("precision", "recall", "f1", "support"), line, strict=True))
        for c, line in zip(classes, lines, strict=True)
    }
    return ClassReport(per_class, tuple(names), [[int(n) for n in line] for line in confusion.tolist()])


def _total(values: Tensor) -> Tensor:
    # Added up in a fixed order: torch's own sum depends on the shape, so many corpora would differ from one in the last
    # digit.
    total: Tensor = sum(values.unbind(-1), torch.zeros((), dtype=torch.double))
    return total


def _items(confusion: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The numbers of correct, predicted and gold items of each given class, [..., C, C] -> three times [..., G]."""
    selected = list(classes)
    correct = confusion.diagonal(dim1=-2, dim2=-1)
    return correct[..., selected], confusion.sum(-2)[..., selected], confusion.sum(-1)[..., selected]
