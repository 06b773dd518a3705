"""What trivial predictors score, through the same counts as the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from heads import Head, Prediction, Row
from mtl.data.examples import TaskData

Scores = dict[str, float]


def trivial_baselines(
    heads: Mapping[str, Head], data: Mapping[str, TaskData], split: str
) -> dict[str, dict[str, Scores]]:
    """The scores of the trivial predictors of each task that has the split, by task and predictor, fitted on train.

    They are scored on the rows that the model is scored on.
    """
    return {name: _of_task(heads[name], splits, split) for name, splits in data.items() if split in splits}


def _of_task(head: Head, splits: TaskData, split: str) -> dict[str, Scores]:
    rows = _usable(head, splits[split].rows)
    predictors = head.baselines(_usable(head, splits["train"].rows)) if rows else {}
    return {name: _score(head, rows, predict(rows)) for name, predict in predictors.items()}


def _usable(head: Head, rows: Iterable[Row]) -> list[Row]:
    """What is left of the rows when those are gone that this head can't read or that have nothing to score."""
    return [row for row in rows if isinstance(row, head.row_type) and head.check(row) is None and head.is_labelled(row)]


def _score(head: Head, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Scores:
    counts = [head.counts(prediction, row) for prediction, row in zip(predictions, rows, strict=True)]
    return head.score(torch.cat(counts) if head.reduction == "cat" else torch.stack(counts).sum(dim=0))
