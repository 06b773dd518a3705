"""The results of the folds of a run as one result: the predictions on all test folds, scored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from heads import Head
from mtl.study.design.run_spec import Finished


def pooled(folds: Sequence[Finished], heads: Mapping[str, Head]) -> Finished:
    """The result of a cross-validated run.

    The counts of all test folds are put together and scored once, because a corpus metric such as F1 is not the mean
    of its values on parts of the corpus (Forman and Scholz 2010). Dev scores are means over folds, and so are those on
    seen and unseen mentions, since each fold has seen other mentions.

    Args:
        folds: The results of the folds, in order; each document is in the test set of one of them.
        heads: Head of each task.
    """
    first = folds[0].result
    counts = {target: _together([fold.counts[target] for fold in folds]) for target in first["test"]}
    return Finished(
        {
            **first,
            "test": {target: _scores(heads[target], counts[target]["counts"]) for target in counts},
            "dev": _means([fold.result["dev"] for fold in folds]),
            "surfaces": _surfaces([fold.result.get("surfaces", {}) for fold in folds]),
            "curve": [
                {"updates": points[0]["updates"], "dev": _means([point["dev"] for point in points])}
                for points in zip(*(fold.result["curve"] for fold in folds), strict=True)
            ],
        },
        counts,
    )


def fold_scores(folds: Sequence[Finished], target: str, metric: str) -> list[float]:
    """The test score of each fold; NaN where it is undefined."""
    found = [fold.result["test"][target][metric] for fold in folds]
    return [float("nan") if score is None else float(score) for score in found]


def _together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several sets of documents as those of one set."""
    starts = np.cumsum([0, *(len(part["documents"]) for part in parts)])
    return {
        "documents": np.concatenate([part["documents"] for part in parts]),
        "counts": np.concatenate([part["counts"] for part in parts if len(part["counts"])]),
        "owners": np.concatenate([part["owners"] + start for part, start in zip(parts, starts, strict=False)]),
    }


def _scores(head: Head, counts: np.ndarray) -> dict[str, float | None]:
    values = torch.as_tensor(counts)
    scores = head.score(values if head.reduction == "cat" else values.sum(dim=0))
    return {name: value if np.isfinite(value) else None for name, value in scores.items()}


def _means(folds: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """The mean of each score over the folds; None if a fold has none."""
    return {
        target: {metric: _mean([fold[target][metric] for fold in folds]) for metric in scores}
        for target, scores in folds[0].items()
    }


def _surfaces(folds: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """The mean of each score on seen or unseen mentions; None if a fold has none, such as without unseen mentions."""
    targets = [target for target in folds[0] if all(fold.get(target) for fold in folds)]
    return {
        target: {name: _mean([fold[target].get(name) for fold in folds]) for name in folds[0][target]}
        for target in targets
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
