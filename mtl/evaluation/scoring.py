"""Scores of predictions that are already there, counted per document like those of an evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from torch import Tensor

from heads import Head, Prediction, Row
from mtl.evaluation.evaluator import TaskResult

DECIDES_RESULTS = False


def score_rows(head: Head, predicted: Iterable[tuple[Row, Prediction]]) -> TaskResult:
    """The scores of one prediction for each row, without a loss; there must be at least one row.

    Args:
        head: Head of the task.
        predicted: Rows that the head can score, each with its prediction.
    """
    of_rows: defaultdict[str, list[Tensor]] = defaultdict(list)
    num_rows = 0
    for row, prediction in predicted:
        of_rows[row.document].append(head.counts(prediction, row))
        num_rows += 1
    documents = sorted(of_rows)
    counts = [head.document_counts(of_rows[document]) for document in documents]
    total = head.combined(counts)
    return TaskResult(head.score(total), documents, counts, head.report(total), num_rows)
