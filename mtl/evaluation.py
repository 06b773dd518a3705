"""From what heads put out to scores: predictions per row, counts per document, gathered over ranks, scored once."""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from heads import Example, Head, Prediction, Report, Row
from mtl.batch import Batch
from mtl.preparation import SplitData, document_ranks


@dataclass(frozen=True)
class Result:
    """The scores of one task on one split.

    Args:
        scores: All metrics, with the mean loss as `loss`; not a number where nothing was scored.
        documents: The id of each document.
        counts: Per document, in the same order: [K], or [n, K] where the head concatenates.
        report: Class by class.
        num_rows: Rows that were scored.
    """

    scores: dict[str, float]
    documents: list[str]
    counts: list[Tensor]
    report: Report
    num_rows: int

    def stacked_counts(self) -> dict[str, np.ndarray]:
        """The counts in three arrays: `documents` [D], `counts` [N, K], and `owners` [N], each one's document."""
        rows = [count.reshape(-1, count.shape[-1]).numpy() for count in self.counts]
        return {
            "documents": np.array(self.documents),
            "counts": np.concatenate(rows) if rows else np.zeros((0, 0)),
            "owners": np.repeat(np.arange(len(rows)), [len(row) for row in rows]),
        }


class Evaluator:
    """Collects the outputs of one split and scores them.

    A row is decoded as soon as all its examples have been seen, and its outputs are dropped. Heads that tune
    something on dev wait for the end of the pass.

    Args:
        heads: By task.
        splits: The split of each task.
        tune: Whether heads may fit their decision parameters on this split (dev only).
        on_prediction: Called with task, row id and prediction.
        files: Where predictions are kept.
    """

    def __init__(
        self,
        heads: Mapping[str, Head],
        splits: Mapping[str, SplitData],
        *,
        tune: bool,
        on_prediction: Callable[[str, str, Prediction], None] | None = None,
        files: PredictionFiles | None = None,
    ) -> None:
        def take(task: str, row: Row, prediction: Prediction) -> None:
            if on_prediction is not None:
                on_prediction(task, row.id, prediction)
            if files is not None:
                files.add(task, row, prediction)

        self._tasks = {
            name: _TaskEvaluation(name, heads[name], split, tune=tune, take=take) for name, split in splits.items()
        }

    @torch.no_grad()
    def add(self, batch: Batch, logits: Mapping[str, Tensor]) -> None:
        """Takes the logits of each part of a batch."""
        for part in batch.parts:
            self._tasks[part.task].add(
                part.examples, batch.mask[part.start : part.stop], logits[part.task], part.fields
            )

    def finish(self) -> dict[str, Result]:
        """The result of each task, the same on all ranks."""
        return {name: task.finish() for name, task in self._tasks.items()}


class PredictionFiles:
    """Predictions of a split in a file per task, a line per row, written as rows are decoded.

    ``{"id": "dev-1", "prediction": "yes"}``

    Each rank writes a part of its own, beside the place of the whole, so all must see the same folder.

    Args:
        folder: Of the split.
        tasks: That are predicted.
        with_text: Whether lines carry the texts of their rows.
    """

    def __init__(self, folder: Path, tasks: Iterable[str], *, with_text: bool = False) -> None:
        self._folder, self._tasks, self._with_text = folder, list(tasks), with_text
        folder.mkdir(parents=True, exist_ok=True)
        self._open = {task: self._part(task, _rank()).open("w", encoding="utf-8") for task in self._tasks}

    def add(self, task: str, row: Row, prediction: Prediction) -> None:
        texts = {"text": row.text, "text_pair": row.text_pair} if self._with_text else {}
        line = {"id": row.id, "prediction": prediction, **texts}
        self._open[task].write(f"{json.dumps(line, ensure_ascii=False)}\n")

    def close(self) -> None:
        """Ends this rank's parts, and waits for those of the others."""
        self._close()
        gather(None)

    def merge(self) -> list[Path]:
        """Makes one file of all ranks' parts for each task; to be called by one rank, after `close`."""
        merged = []
        for task in self._tasks:
            path = self._folder / f"{task}.jsonl"
            first, *others = (self._part(task, rank) for rank in range(_world_size()))
            with first.open("ab") as whole:
                for other in others:
                    with other.open("rb") as part:
                        shutil.copyfileobj(part, whole)
            first.replace(path)
            merged.append(path)
        self.discard()
        return merged

    def discard(self) -> None:
        """Removes the parts of all ranks."""
        self._close()
        for path in (self._part(task, rank) for task in self._tasks for rank in range(_world_size())):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # unless it holds what an earlier evaluation left
            self._folder.rmdir()

    def _close(self) -> None:
        for file in self._open.values():
            file.close()

    def _part(self, task: str, rank: int) -> Path:
        return self._folder / f".{task}-{rank}.part"


def on_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one type, brought to the CPU together: a device is waited for once, and not for each of them.

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
        # Not every device has float64, so the sums over batches are kept on the CPU.
        *outputs, sums = on_cpu([*self._head.outputs(logits, mask, fields), torch.stack([loss.float(), count.float()])])
        self._loss += sums.double()
        for example, output in zip(examples, outputs, strict=True):
            row = example["row"]
            self._pending[row].append((example, output))
            if len(self._pending[row]) == self._expected[row] and not self._waits:
                self._score(row)

    def finish(self) -> Result:
        if self._waits:
            self._tune_head()
        for row in [row for row in self._pending if len(self._pending[row]) == self._expected[row]]:
            self._score(row)
        for row in self._bare_rows():
            self._score(row)
        counts, num_rows, loss = self._gathered()
        documents = sorted(counts)
        pooled = [_pool(counts[document], self._head.reduction) for document in documents]
        total = _pool(pooled, self._head.reduction) if pooled else None
        mean_loss = float(loss[0] / loss[1]) if loss[1] else math.nan
        if total is None:  # the trainer was told to evaluate a few batches only, and none was of this task
            return Result(dict.fromkeys(("loss", *self._head.metrics), math.nan), [], [], Report({}, (), None), 0)
        return Result(
            {"loss": mean_loss, **self._head.score(total)}, documents, pooled, self._head.report(total), num_rows
        )

    @property
    def _waits(self) -> bool:
        return self._tune and type(self._head).tune is not Head.tune

    def _score(self, row_index: int) -> None:
        row = self._split.rows[row_index]
        examples, outputs = _in_order(self._pending.pop(row_index, []))
        prediction = self._head.decode(row, examples, outputs)
        if self._head.is_labelled(row):  # another task's row may not be: they share their texts
            self._counts[row.document].append(self._head.counts(prediction, row))
            self._num_rows += 1
        self._take(self._name, row, prediction)

    def _bare_rows(self) -> list[int]:
        """This rank's rows that have gold, or could have, and no example."""
        ranks = document_ranks(self._split, _world_size())
        return [row for row in self._split.example_summary.bare_rows if ranks[row] == _rank()]

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
        """Counts by document, number of rows and loss over all ranks. A document belongs to one rank."""
        counts: dict[str, list[Tensor]] = {}
        num_rows, loss = 0, torch.zeros(2, dtype=torch.float64)
        for rank_counts, rank_rows, rank_loss in gather((dict(self._counts), self._num_rows, self._loss)):
            counts |= rank_counts
            num_rows += rank_rows
            loss += rank_loss
        return counts, num_rows, loss


def _in_order(pending: Sequence[tuple[Example, Tensor]]) -> tuple[list[Example], list[Tensor]]:
    """Examples and outputs of a row in the order in which the head made them."""
    ordered = sorted(pending, key=lambda pair: pair[0]["part"])
    return [example for example, _ in ordered], [output for _, output in ordered]


def _pool(counts: Sequence[Tensor], reduction: str) -> Tensor:
    return torch.cat(list(counts)) if reduction == "cat" else torch.stack(list(counts)).sum(dim=0)


def gather(value: Any) -> list[Any]:
    """The value of every rank; the process's own alone where there is no group."""
    if _world_size() == 1:
        return [value]
    values: list[Any] = [None] * _world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def _rank() -> int:
    return torch.distributed.get_rank() if _world_size() > 1 else 0


def _world_size() -> int:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1
