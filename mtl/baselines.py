"""What trivial predictors score, through the same counts as the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from heads import Head, Prediction, Row
from mtl.preparation import TaskData

Scores = dict[str, float]


def trivial_baselines(
    heads: Mapping[str, Head], data: Mapping[str, TaskData], split: str
) -> dict[str, dict[str, Scores]]:
    """The scores of the trivial predictors of each task that has the split, by task and predictor, fitted on train."""
    return {name: _of_task(heads[name], splits, split) for name, splits in data.items() if split in splits}


def _of_task(head: Head, splits: TaskData, split: str) -> dict[str, Scores]:
    usable = [row for row in splits["train"].rows if head.check(row) is None and head.is_labelled(row)]
    scored = [row for row in splits[split].rows if head.check(row) is None and head.is_labelled(row)]
    return {name: _score(head, scored, predict(scored)) for name, predict in head.baselines(usable).items()}


def _score(head: Head, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Scores:
    counts = [head.counts(prediction, row) for prediction, row in zip(predictions, rows, strict=True)]
    return head.score(torch.cat(counts) if head.reduction == "cat" else torch.stack(counts).sum(dim=0))
