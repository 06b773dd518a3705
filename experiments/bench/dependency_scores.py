"""Our scores compared with those of torchmetrics, scikit-learn and SciPy: values on random and odd cases, and speed.

Shapes: N rows, C classes or labels, B resamples.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from dependency_timing import table
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error
from torch import Tensor
from torchmetrics.functional import classification as tm_classes
from torchmetrics.functional import regression as tm_values

from heads.classification import Classification
from heads.multilabel import Multilabel
from heads.regression import Regression

CASES = 100
"""Random cases of each kind."""

CLOSE = 1e-6
"""A larger difference is more than float32 rounding."""


class Case(NamedTuple):
    """The answers for one corpus: classes [N], labels [N, C] (0 or 1) or values [N]."""

    kind: str
    gold: Tensor
    predicted: Tensor
    num_classes: int = 0


Score = Callable[[Case], float | Tensor]
Peers = Mapping[tuple[str, str], Score]
"""Another library's function by our metric and its own name."""


def tables() -> list[str]:
    """The tables of values and of speed."""
    import dependency_speed

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant input and the like: the table has what comes of it
        values = [
            *_compare(list(classifications()), lambda case: classifier(case).score(confusion(case)), CLASSIFICATION),
            *_compare(list(multilabels()), lambda case: tagger(case).score(cells(case).sum(0)), MULTILABEL),
            *_compare(list(regressions()), lambda case: regressor().score(pairs(case)), REGRESSION),
        ]
        header = ["metric", "function", "cases", "equal to ours", "within", "otherwise"]
        return [table(header, values), *dependency_speed.tables()]


# --- cases ------------------------------------------------------------------------------------------------------------


def classifications() -> Iterator[Case]:
    """One class for each row."""
    for _ in range(CASES):
        num_classes, size = int(torch.randint(2, 9, ())), int(torch.randint(2, 300, ()))
        gold, guess = torch.randint(num_classes, (2, size))
        predicted = torch.where(torch.rand(size) < 0.6, gold, guess)
        there = max(1, num_classes // 2)
        yield Case("random, all classes present", *_with_every_class(gold, predicted, num_classes), num_classes)
        yield Case("one class predicted", gold, torch.zeros_like(gold), num_classes)
        yield Case("half of the classes absent", gold % there, predicted % there, num_classes)
        yield Case("one row", gold[:1], predicted[:1], num_classes)
    yield Case("no rows", gold[:0], predicted[:0], num_classes)


def _with_every_class(gold: Tensor, predicted: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    return torch.cat([gold, torch.arange(num_classes)]), torch.cat([predicted, torch.arange(num_classes)])


def multilabels() -> Iterator[Case]:
    """Any number of labels for each row."""
    for _ in range(CASES):
        num_labels, size = int(torch.randint(2, 9, ())), int(torch.randint(2, 300, ()))
        gold, noise = (torch.rand(2, size, num_labels) < torch.tensor([0.3, 0.1])[:, None, None]).long()
        predicted = gold ^ noise
        there = torch.arange(num_labels) < num_labels // 2
        yield Case("random", gold, predicted, num_labels)
        yield Case("nothing predicted", gold, torch.zeros_like(gold), num_labels)
        yield Case("half of the labels absent", gold * there, predicted * there, num_labels)
        yield Case("one row", gold[:1], predicted[:1], num_labels)
    yield Case("no rows", gold[:0], predicted[:0], num_labels)


def regressions() -> Iterator[Case]:
    """A number for each row."""
    for _ in range(CASES):
        size = int(torch.randint(3, 300, ()))
        gold = torch.rand(size, dtype=torch.double) * 4
        predicted = gold + torch.randn(size, dtype=torch.double)
        yield Case("random", gold, predicted)
        yield Case("many ties", gold.round(), predicted.round())
        yield Case("constant prediction", gold, torch.full_like(gold, 0.1))
        yield Case("unit 1e-30", gold * 1e-30, predicted * 1e-30)
        yield Case("unit 1e30", gold * 1e30, predicted * 1e30)
        yield Case("unit 1e200", gold * 1e200, predicted * 1e200)
        yield Case("offset 1e6", gold + 1e6, predicted + 1e6)
        yield Case("one row", gold[:1], predicted[:1])
        yield Case("two rows", gold[:2], predicted[:2])
        yield Case("one prediction is NaN", gold, predicted.where(torch.arange(size) > 0, math.nan))
    yield Case("no rows", gold[:0], predicted[:0])
    for _ in range(5):
        gold, noise = torch.rand(2, 100_000, dtype=torch.double)
        gold = gold.where(torch.rand(100_000) < 0.3, 0.0)
        yield Case("100,000 rows, 70% of the labels 0", gold, gold + noise)


# --- our heads --------------------------------------------------------------------------------------------------------


def classifier(case: Case) -> Classification:
    """A head whose `micro_f1` leaves out the first class, whose `f1` is that of the first class."""
    names = [f"c{number}" for number in range(case.num_classes)]
    return Classification(names, 8, excluded=names[:1], positive=names[0], primary_metric="macro_f1")


def tagger(case: Case) -> Multilabel:
    """A head for the labels of a case."""
    return Multilabel([f"l{number}" for number in range(case.num_classes)], 8, primary_metric="macro_f1")


def regressor(metric: str = "pearson") -> Regression:
    """A head with that primary metric."""
    return Regression((), 8, range=(0, 4), primary_metric=metric)


def confusion(case: Case) -> Tensor:
    """What a classification counts over all rows, [C * C]."""
    return torch.bincount(case.gold * case.num_classes + case.predicted, minlength=case.num_classes**2)


def cells(case: Case) -> Tensor:
    """What a multilabel head counts of each row, [N, 4C + 3]."""
    gold, predicted = case.gold.bool(), case.predicted.bool()
    cells = [gold & predicted, ~gold & predicted, gold & ~predicted, ~gold & ~predicted]
    sizes = gold.sum(1) + predicted.sum(1)
    example_f1 = torch.where(sizes > 0, 2 * cells[0].sum(1) / sizes.double(), 1.0)
    exact = (gold == predicted).all(1).double()
    return torch.cat(
        [*(cell.double() for cell in cells), torch.stack([example_f1, exact, torch.ones_like(exact)], 1)], 1
    )


def pairs(case: Case) -> Tensor:
    """What a regression keeps of each row, [N, 2]."""
    return torch.stack([case.predicted, case.gold], 1)


# --- other libraries --------------------------------------------------------------------------------------------------


def macro_f1(case: Case) -> Tensor:
    """The mean F1 over the classes that occur or are predicted."""
    return tm_classes.multiclass_f1_score(case.predicted, case.gold, case.num_classes, average="macro")


def _of_labels(case: Case, average: str) -> Tensor:
    return tm_classes.multilabel_f1_score(case.predicted, case.gold, case.num_classes, average=average)


def _by_example(case: Case) -> Tensor:
    """F1 row by row, each row a sample with one value of each label."""
    predicted, gold = case.predicted[..., None], case.gold[..., None]
    kwargs = {"average": "micro", "multidim_average": "samplewise", "zero_division": 1}
    return tm_classes.multilabel_f1_score(predicted, gold, case.num_classes, **kwargs).double().mean()


def _sklearn_f1(case: Case, labels: Sequence[int] | None, average: str, **kwargs: float) -> float:
    return f1_score(case.gold, case.predicted, labels=labels, average=average, **({"zero_division": 0} | kwargs))


def _scaled(values: Tensor) -> Tensor:
    """Deviations from the mean in units of the largest, whose squares neither overflow nor vanish."""
    deviations = values - values.mean()
    return deviations / deviations.abs().max()


def rank_correlation(case: Case) -> Tensor:
    """Pearson's correlation by torchmetrics of SciPy's ranks."""
    predicted, gold = (torch.from_numpy(stats.rankdata(values)) for values in (case.predicted, case.gold))
    return tm_values.pearson_corrcoef(predicted, gold)


CLASSIFICATION: Peers = {
    ("accuracy", "torchmetrics, micro"): lambda case: tm_classes.multiclass_accuracy(
        case.predicted, case.gold, case.num_classes, average="micro"
    ),
    ("accuracy", "scikit-learn"): lambda case: accuracy_score(case.gold, case.predicted),
    ("macro_f1", "torchmetrics, macro"): macro_f1,
    ("macro_f1", "scikit-learn"): lambda case: _sklearn_f1(case, None, "macro"),
    ("micro_f1 without a class", "torchmetrics, ignore_index"): lambda case: tm_classes.multiclass_f1_score(
        case.predicted, case.gold, case.num_classes, average="micro", ignore_index=0
    ),
    ("micro_f1 without a class", "scikit-learn, labels=others"): lambda case: _sklearn_f1(
        case, range(1, case.num_classes), "micro"
    ),
    ("f1 of a class", "torchmetrics, binary"): lambda case: tm_classes.binary_f1_score(
        (case.predicted == 0).long(), (case.gold == 0).long()
    ),
    ("f1 of a class", "scikit-learn, labels=[it]"): lambda case: _sklearn_f1(case, [0], "macro"),
}

MULTILABEL: Peers = {
    ("micro_f1 of labels", "torchmetrics"): lambda case: _of_labels(case, "micro"),
    ("micro_f1 of labels", "scikit-learn"): lambda case: _sklearn_f1(case, range(case.num_classes), "micro"),
    ("macro_f1 of labels", "torchmetrics"): lambda case: _of_labels(case, "macro"),
    ("macro_f1 of labels", "scikit-learn"): lambda case: _sklearn_f1(case, range(case.num_classes), "macro"),
    ("example_f1", "torchmetrics, samplewise micro"): _by_example,
    ("example_f1", "scikit-learn, samples"): lambda case: _sklearn_f1(
        case, range(case.num_classes), "samples", zero_division=1
    ),
    ("subset_accuracy", "torchmetrics, exact match"): lambda case: tm_classes.multilabel_exact_match(
        case.predicted, case.gold, case.num_classes
    ),
    ("subset_accuracy", "scikit-learn"): lambda case: accuracy_score(case.gold, case.predicted),
}

REGRESSION: Peers = {
    ("pearson", "torchmetrics"): lambda case: tm_values.pearson_corrcoef(case.predicted, case.gold),
    ("pearson", "torchmetrics, centred and scaled before"): lambda case: tm_values.pearson_corrcoef(
        _scaled(case.predicted), _scaled(case.gold)
    ),
    ("pearson", "SciPy"): lambda case: stats.pearsonr(case.predicted, case.gold).statistic,
    ("spearman", "torchmetrics"): lambda case: tm_values.spearman_corrcoef(case.predicted, case.gold),
    ("spearman", "SciPy"): lambda case: stats.spearmanr(case.predicted, case.gold).statistic,
    ("spearman", "torchmetrics' pearson of SciPy's ranks"): rank_correlation,
    ("mse", "torchmetrics"): lambda case: tm_values.mean_squared_error(case.predicted, case.gold),
    ("mse", "scikit-learn"): lambda case: mean_squared_error(case.gold, case.predicted),
}


# --- values -----------------------------------------------------------------------------------------------------------


def _compare(cases: Sequence[Case], ours: Callable[[Case], dict[str, float]], peers: Peers) -> Iterator[list[object]]:
    """A line for each function: how many cases are equal to ours but for rounding, and what happens otherwise."""
    own = [ours(case) for case in cases]
    for (metric, name), score in peers.items():
        found: dict[str, list[float | None]] = {}
        for case, scores in zip(cases, own, strict=True):
            found.setdefault(case.kind, []).append(_difference(score, case, scores[metric.split()[0]]))
        equal = [distance for distances in found.values() for distance in distances if _is_close(distance)]
        odd = [f"{kind}: {_odd(distances)}" for kind, distances in found.items() if not all(map(_is_close, distances))]
        yield [metric, name, len(cases), len(equal), max(equal), "; ".join(odd)]


def _difference(score: Score, case: Case, ours: float) -> float | None:
    """The distance to our score, relative to a score above 1; None where the function raises."""
    try:
        theirs = float(score(case))
    except Exception:  # each library has its own for what it does not take
        return None
    return 0.0 if theirs == ours else abs(theirs - ours) / max(1.0, abs(ours))


def _is_close(distance: float | None) -> bool:
    return distance is not None and distance <= CLOSE


def _odd(distances: Sequence[float | None]) -> str:
    """What happens in the cases of a kind that differ.

    >>> _odd([0.0, 0.25, float("nan"), None])
    '1 of 4 differ by up to 0.25, 1 NaN, 1 error'
    """
    numbers = [distance for distance in distances if distance is not None and distance > CLOSE]
    undefined = sum(distance is not None and math.isnan(distance) for distance in distances)
    parts = [f"{len(numbers)} of {len(distances)} differ by up to {max(numbers):.2g}"] if numbers else []
    parts += [f"{undefined} NaN"] if undefined else []
    parts += [f"{distances.count(None)} error"] if None in distances else []
    return ", ".join(parts)
