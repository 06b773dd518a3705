"""From outputs of heads to scores: decodes each row, counts per document, gathers over ranks and scores once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heads import ClassReport, Example, Head, Prediction, Row
from mtl.batching.batch import Batch
from mtl.data.examples import SplitData, document_ranks
from mtl.distributed import gather, rank, world_size
from mtl.evaluation.predictions import PredictionFiles


@dataclass(frozen=True)
class TaskResult:
    """The scores of one task on one split.

    Args:
        scores: All metrics, with the mean loss as `loss`; NaN if nothing was scored.
        documents: Ids of the documents.
        counts: Counts of each document, in the order of `documents`: [K], or [n, K] if the head concatenates counts.
        report: Scores of each class.
        num_rows: Number of rows that were scored.
    """

    scores: dict[str, float]
    documents: list[str]
    counts: list[Tensor]
    report: ClassReport
    num_rows: int

    def stacked_counts(self) -> dict[str, np.ndarray]:
        """The counts as three arrays: `documents` [D], `counts` [N, K], and `owners` [N], each one's document."""
        rows = [count.reshape(-1, count.shape[-1]).numpy() for count in self.counts]
        return {
            "documents": np.array(self.documents),
            "counts": np.concatenate(rows) if rows else np.zeros((0, 0)),
            "owners": np.repeat(np.arange(len(rows)), [len(row) for row in rows]),
        }


class Evaluator:
    """Collects the outputs of one split and scores them.

    A row is decoded as soon as all its examples have been seen, and its outputs are dropped. If a head tunes its
    decision parameters on dev, its rows are decoded at the end of the pass.

    Args:
        heads: The head of each task.
        splits: The split of each task.
        tune: Tasks whose heads may tune their decision parameters on this split (dev only).
        on_prediction: Called with task, row id and prediction of each row.
        files: Files to which predictions are written; None writes none.
    """

    def __init__(
        self,
        heads: Mapping[str, Head],
        splits: Mapping[str, SplitData],
        *,
        tune: Collection[str],
        on_prediction: Callable[[str, str, Prediction], None] | None = None,
        files: PredictionFiles | None = None,
    ) -> None:
        def take(task: str, row: Row, prediction: Prediction) -> None:
            if on_prediction is not None:
                on_prediction(task, row.id, prediction)
            if files is not None:
                files.add(task, row, prediction)

        self._tasks = {
            name: _TaskEvaluation(name, heads[name], split, tune=name in tune, take=take)
            for name, split in splits.items()
        }

    @torch.no_grad()
    def add(self, batch: Batch, logits: Mapping[str, Tensor]) -> None:
        """Adds a batch.

        Args:
            batch: Batch with the examples of its parts.
            logits: Logits of each part, by task.
        """
        for part in batch.parts:
            self._tasks[part.task].add(
                part.examples, batch.mask[part.start : part.stop], logits[part.task], part.fields
            )

    def finish(self) -> dict[str, TaskResult]:
        """The result of each task, the same on all ranks."""
        return {name: task.finish() for name, task in self._tasks.items()}


def on_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one dtype, moved to the CPU together, so that the host waits for the device only once.

    >>> [tensor.tolist() for tensor in on_cpu([torch.ones(1, 2), torch.zeros(0), torch.tensor([3.0])])]
    [[[1.0, 1.0]], [], [3.0]]
    """
    if not tensors:
        return []
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu()
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


class _TaskEvaluation:
    def __init__(
        self,
        name: str,
        head: Head,
        split: SplitData,
        *,
        tune: bool,
        take: Callable[[str, Row, Prediction], None],
    ) -> None:
        self._name, self._head, self._split, self._tune = name, head, split, tune
        self._take = take
        self._expected = np.bincount(split.example_rows, minlength=len(split.rows))
        self._pending: dict[int, list[tuple[Example, Tensor]]] = defaultdict(list)
        self._counts: dict[str, list[Tensor]] = defaultdict(list)
        self._num_rows = 0
        self._loss = torch.zeros(2, dtype=torch.float64)

    def add(self, examples: Sequence[Example], mask: Tensor, logits: Tensor, fields: Mapping[str, Tensor]) -> None:
        loss, count = self._head.loss(logits, fields)
        # Some devices have no float64, so the sums over batches are kept on the CPU.
        *outputs, sums = on_cpu([*self._head.outputs(logits, mask, fields), torch.stack([loss.float(), count.float()])])
        self._loss += sums.double()
        for example, output in zip(examples, outputs, strict=True):
            row = example["row"]
            self._pending[row].append((example, output))
            if len(self._pending[row]) == self._expected[row] and not self._is_tuned:
                self._score(row)

    def finish(self) -> TaskResult:
        if self._is_tuned:
            self._tune_head()
        for row in [row for row in self._pending if len(self._pending[row]) == self._expected[row]]:
            self._score(row)
        for row in self._rows_without_examples():
            self._score(row)
        counts, num_rows, loss = self._gathered()
        documents = sorted(counts)
        pooled = [self._head.document_counts(counts[document]) for document in documents]
        total = self._head.combined(pooled) if pooled else None
        mean_loss = float(loss[0] / loss[1]) if loss[1] else math.nan
        if total is None:  # the trainer evaluated only some of the batches, and none of them was of this task
            return TaskResult(
                dict.fromkeys(("loss", *self._head.metrics), math.nan), [], [], ClassReport({}, (), None), 0
            )
        scores = self._head.score(total)
        if loss[1] and not math.isfinite(mean_loss):
            scores = dict.fromkeys(scores, math.nan)  # so that predictions from NaN are never selected
        return TaskResult({"loss": mean_loss, **scores}, documents, pooled, self._head.report(total), num_rows)

    @property
    def _is_tuned(self) -> bool:
        return self._tune and self._head.is_tuned

    def _score(self, row_index: int) -> None:
        row = self._split.rows[row_index]
        examples, outputs = _in_order(self._pending.pop(row_index, []))
        prediction = self._head.decode(row, examples, outputs)
        if self._head.is_labelled(row):  # rows that tasks share may have no label for this task
            self._counts[row.document].append(self._head.counts(prediction, row))
            self._num_rows += 1
        self._take(self._name, row, prediction)

    def _rows_without_examples(self) -> list[int]:
        """This rank's rows without examples, which are scored too."""
        ranks = document_ranks(self._split, world_size())
        return [row for row in self._split.example_summary.rows_without_examples if ranks[row] == rank()]

    def _tune_head(self) -> None:
        data = []
        for row_index, pending in self._pending.items():
            piece = self._head.tuning_data(self._split.rows[row_index], *_in_order(pending))
            if piece is not None:
                data.append(piece)
        gathered = [piece for pieces in gather(data) for piece in pieces]
        if gathered:
            self._head.tune(torch.cat(gathered))

    def _gathered(self) -> tuple[dict[str, list[Tensor]], int, Tensor]:
        """The counts by document, the number of rows and the loss over all ranks. A document belongs to one rank."""
        counts: dict[str, list[Tensor]] = {}
        num_rows, loss = 0, torch.zeros(2, dtype=torch.float64)
        for rank_counts, rank_rows, rank_loss in gather((dict(self._counts), self._num_rows, self._loss)):
            counts |= rank_counts
            num_rows += rank_rows
            loss += rank_loss
        return counts, num_rows, loss


def _in_order(pending: Sequence[tuple[Example, Tensor]]) -> tuple[list[Example], list[Tensor]]:
    """The examples and outputs of a row in the order in which the head encoded them."""
    ordered = sorted(pending, key=lambda pair: pair[0]["part"])
    return [example for example, _ in ordered], [output for _, output in ordered]
