"""How long our scores and those of torchmetrics take, for one corpus and for many resampled ones.

Shapes: N rows, C classes, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from dependency_scores import (
    CLASSIFICATION,
    MULTILABEL,
    REGRESSION,
    Case,
    Peers,
    cells,
    classifications,
    classifier,
    confusion,
    macro_f1,
    multilabels,
    pairs,
    rank_correlation,
    regressions,
    regressor,
    tagger,
)
from dependency_timing import milliseconds, table
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.regression import mean_squared_error, pearson_corrcoef, spearman_corrcoef

RESAMPLES = 1_000

Work = Callable[[], Any]
Correlation = Callable[[Tensor, Tensor], Tensor]


def tables() -> list[str]:
    """The tables of `score` and of the bootstrap."""
    header = ["head, metrics", "rows", "function", "ms", "times ours"]
    scores = [line for size in (1_000, 100_000) for line in _score_lines(size)]
    bootstrap = [line for size in (300, 3_000) for line in _bootstrap_lines(size)]
    return [table(header, scores), table([*header, "largest difference"], bootstrap)]


# --- all metrics of one corpus ----------------------------------------------------------------------------------------


def _score_lines(size: int) -> Iterator[list[object]]:
    case = _sized(classifications(), size)
    counts = confusion(case)
    peers: dict[str, Work] = {
        "functions, pairs": lambda: _by_torchmetrics(CLASSIFICATION, case),
        "functions, pairs made of the matrix": lambda: _by_torchmetrics(CLASSIFICATION, _expanded(counts, case)),
        "classes, given the counts": lambda: _from_counts(counts, case),
    }
    yield from _beside(["classification, 4", size], lambda: classifier(case).score(counts), peers)

    labels = _sized(multilabels(), size)
    summed = cells(labels).sum(0)
    peers = {"functions, pairs": lambda: _by_torchmetrics(MULTILABEL, labels)}
    yield from _beside(["multilabel, 4", size], lambda: tagger(labels).score(summed), peers)

    numbers = _sized(regressions(), size)
    predicted, gold = numbers.predicted, numbers.gold
    peers = {
        "functions": lambda: _by_torchmetrics(REGRESSION, numbers),
        "functions, ranks by SciPy": lambda: [
            pearson_corrcoef(predicted, gold),
            rank_correlation(numbers),
            mean_squared_error(predicted, gold),
        ],
    }
    yield from _beside(["regression, 3", size], lambda: regressor().score(pairs(numbers)), peers)


def _by_torchmetrics(peers: Peers, case: Case) -> dict[str, float | Tensor]:
    """The first of torchmetrics' functions for each metric."""
    found: dict[str, float | Tensor] = {}
    for (metric, name), score in peers.items():
        if metric not in found and name.startswith("torchmetrics"):
            found[metric] = score(case)
    return found


def _expanded(counts: Tensor, case: Case) -> Case:
    """Pairs that have this confusion matrix [C * C]."""
    places = torch.arange(len(counts)).repeat_interleave(counts)
    return case._replace(gold=places // case.num_classes, predicted=places % case.num_classes)


def _from_counts(counts: Tensor, case: Case) -> dict[str, Tensor]:
    """The metrics of our classification head by torchmetrics' classes, from confusion matrices [B, C * C]."""
    matrices = counts.double().reshape(-1, case.num_classes, case.num_classes)
    right = matrices.diagonal(dim1=1, dim2=2)
    state = {"tp": right, "fp": matrices.sum(1) - right, "fn": matrices.sum(2) - right}
    state["tn"] = matrices.sum((1, 2))[:, None] - sum(state.values())
    others = {name: value[:, 1:] for name, value in state.items()}
    f1 = _computed(MulticlassF1Score, "none", state)
    macro_f1 = _computed(MulticlassF1Score, "macro", state)
    accuracy = _computed(MulticlassAccuracy, "micro", state)
    micro_f1 = _computed(MulticlassF1Score, "micro", others) if case.num_classes > 2 else f1[:, 1]
    return {"accuracy": accuracy, "macro_f1": macro_f1, "micro_f1": micro_f1, "f1": f1[:, 0]}


def _computed(
    kind: type[MulticlassF1Score] | type[MulticlassAccuracy], average: str, state: Mapping[str, Tensor]
) -> Tensor:
    """A metric of each corpus [B] from true and false positives and negatives [B, C].

    `merge_state` is public, but made for metrics that were updated: `compute` warns that this one was not.
    """
    num_classes = state["tp"].shape[1]
    metric = kind(num_classes, average=average, multidim_average="samplewise", validate_args=False)
    metric.merge_state({name: [value] for name, value in state.items()})
    found: Tensor = metric.compute()
    return found


# --- the primary metric of many corpora -------------------------------------------------------------------------------


def _bootstrap_lines(size: int) -> Iterator[list[object]]:
    places = torch.randint(size, (RESAMPLES, size))
    times = torch.zeros(RESAMPLES, size).scatter_add_(1, places, torch.ones(RESAMPLES, size))

    case = _sized(classifications(), size)
    one_hot = torch.nn.functional.one_hot(case.gold * case.num_classes + case.predicted, case.num_classes**2)
    peers: dict[str, Work] = {
        "functions, call by call": lambda: torch.stack([macro_f1(drawn) for drawn in _drawn(case, places)]),
        "classes, given the counts": lambda: _from_counts(times.double() @ one_hot.double(), case)["macro_f1"],
    }
    ours = partial(classifier(case).primary_scores, one_hot, times)
    yield from _with_difference(_beside(["classification, macro_f1", size], ours, peers), ours, peers)

    numbers = _sized(regressions(), size)
    for metric, function in (("pearson", pearson_corrcoef), ("spearman", spearman_corrcoef)):
        peers = {
            "functions, call by call": partial(_one_by_one, function, numbers, places),
            "functions, resamples as outputs [N, B]": partial(_together, function, numbers, places),
        }
        ours = partial(regressor(metric).primary_scores, pairs(numbers), times)
        yield from _with_difference(_beside([f"regression, {metric}", size], ours, peers), ours, peers)


def _drawn(case: Case, places: Tensor) -> Iterator[Case]:
    return (case._replace(gold=case.gold[line], predicted=case.predicted[line]) for line in places)


def _one_by_one(function: Correlation, case: Case, places: Tensor) -> Tensor:
    return torch.stack([function(drawn.predicted, drawn.gold) for drawn in _drawn(case, places)])


def _together(function: Correlation, case: Case, places: Tensor) -> Tensor:
    return function(case.predicted[places].T, case.gold[places].T)


def _with_difference(lines: Iterator[list[object]], ours: Work, peers: Mapping[str, Work]) -> Iterator[list[object]]:
    """The lines with the largest difference between a function's scores and ours."""
    expected = ours()
    yield [*next(lines), ""]
    for line, work in zip(lines, peers.values(), strict=True):
        yield [*line, float((work().double() - expected).abs().max())]


# --- both -------------------------------------------------------------------------------------------------------------


def _beside(names: Sequence[object], ours: Work, peers: Mapping[str, Work]) -> Iterator[list[object]]:
    own = milliseconds(ours)
    yield [*names, "ours", own, 1.0]
    for name, work in peers.items():
        time = milliseconds(work)
        yield [*names, f"torchmetrics' {name}", time, time / own]


def _sized(cases: Iterator[Case], size: int) -> Case:
    """The first case with its rows repeated, or cut, to a number of rows; numbers get noise against ties."""
    case = next(cases)
    places = torch.arange(size) % len(case.gold)
    gold, predicted = case.gold[places], case.predicted[places]
    if gold.is_floating_point():
        gold, predicted = gold + 0.01 * torch.randn(size), predicted + 0.01 * torch.randn(size)
    return case._replace(gold=gold, predicted=predicted)
