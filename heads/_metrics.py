"""Which metrics a head computes: those it shows by default, and those that a mixture asks for by name.

A new metric is one function in `_confusion_metrics`, `_proportions` or `_ranking_metrics`.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from heads import _confusion_metrics, _proportions, _ranking_metrics, scores
from heads._text import choice


def functions_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines, by name: adding a function adds a metric.

    >>> sorted(functions_of(_confusion_metrics))
    ['kappa', 'mcc']
    """
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


AGREEMENT = functions_of(_confusion_metrics)
PROPORTIONS = functions_of(_proportions)
RANKING = functions_of(_ranking_metrics)


def selected_metrics(
    shown: Sequence[str],
    optional: Iterable[str],
    requested: Sequence[str],
    primary: str,
    lower_is_better: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """The names of the metrics to compute: the primary one, those shown by default, and those requested.

    Args:
        shown: Metrics that are always computed.
        optional: Metrics that are computed on request.
        requested: Value of the option `metrics`.
        primary: Value of the option `primary_metric`.
        lower_is_better: Metrics that cannot be primary.

    Raises:
        ValueError: A name is unknown, or the primary metric is one for which lower is better.

    >>> selected_metrics(["accuracy", "f1"], ["auroc", "mcc"], ["mcc"], "auroc")
    ('auroc', 'accuracy', 'f1', 'mcc')
    """
    known = [*shown, *optional]
    choice("primary_metric", primary, [name for name in known if name not in lower_is_better])
    wanted = [choice("metrics", name, known) for name in requested]
    return tuple(dict.fromkeys([primary, *shown, *wanted]))


def mean_over_classes(
    metric: Callable[[Tensor, Tensor, Tensor], Tensor],
    probabilities: Tensor,
    gold: Tensor,
    times: Tensor,
    known: Tensor | None = None,
) -> Tensor:
    """The mean of a ranking metric over the classes that some rows of the corpus have and others have not, [...].

    Args:
        metric: A function of `_ranking_metrics`.
        probabilities: Probability of each class, [N, C].
        gold: Whether the row has the class, [N, C] (bool).
        times: How many times each corpus contains each row, [..., N].
        known: Whether it is known if the row has the class, [N, C] (bool); None if always. Other rows do not count.
    """
    known = torch.ones_like(gold) if known is None else known
    columns = zip(probabilities.T, gold.T, known.T, strict=True)
    values = [metric(p[is_in], g[is_in], times[..., is_in]) for p, g, is_in in columns]
    times = times.double()
    with_class, without = times @ gold.double(), times @ (known & ~gold).double()  # [..., C]
    return scores.mean(torch.stack(values, dim=-1), (with_class > 0) & (without > 0))
