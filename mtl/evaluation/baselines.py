"""Scores of trivial predictors, from the same counts as the model's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from heads import Head, Prediction, Row
from mtl.data.examples import TaskData

Scores = dict[str, float]


def trivial_baselines(
    heads: Mapping[str, Head], data: Mapping[str, TaskData], split: str
) -> dict[str, dict[str, Scores]]:
    """The scores of trivial predictors, fitted on train, by task and predictor.

    They are scored on the rows that the model is scored on. Tasks without the split are left out.

    Args:
        heads: The head of each task.
        data: The splits of each task.
        split: Name of the split to score.
    """
    return {name: _of_task(heads[name], splits, split) for name, splits in data.items() if split in splits}


def _of_task(head: Head, splits: TaskData, split: str) -> dict[str, Scores]:
    rows = usable_rows(head, splits[split].rows)
    predictors = head.baselines(usable_rows(head, splits["train"].rows)) if rows else {}
    return {name: _score(head, rows, predict(rows)) for name, predict in predictors.items()}


def usable_rows(head: Head, rows: Iterable[Row]) -> list[Row]:
    """The rows that this head can read and score."""
    return [row for row in rows if isinstance(row, head.row_type) and head.check(row) is None and head.is_labelled(row)]


def _score(head: Head, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Scores:
    counts: dict[str, list[Tensor]] = defaultdict(list)
    for prediction, row in zip(predictions, rows, strict=True):
        counts[row.document].append(head.counts(prediction, row))
    return head.score(head.combined([head.document_counts(own) for own in counts.values()]))
