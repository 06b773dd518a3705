"""Rows to batches, and outputs to decoded predictions: one chunk of rows at a time, in the order of the rows.

Tasks with the same input share one forward pass of the encoder. Tasks that relate or label mentions, and whose rows
have none, wait until the entity tasks of the chunk are decoded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from heads import Example, Head, Prediction, Row, SpanRow, sequence_lengths
from mtl.batching.batch import EMPTY, Batch, ExampleGroup, collate
from mtl.batching.batcher import by_length
from mtl.batching.loaders import EVALUATION_TOKENS
from mtl.prediction.mentions import Linker, Sources, by_surface, with_mentions
from mtl.prediction.row_fitting import as_read_by, completed, lacks_mentions
from mtl.training.checkpoints import TrainedRows

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture

CHUNK = 64
"""Number of rows that are encoded together. A row's prediction depends in the last bits on the rows of its chunk."""

_PATIENCE = 100
"""Number of empty batches to wait for outputs; Lightning fetches one or two batches ahead."""


class Decoded(NamedTuple):
    """The prediction of one task for one row.

    Args:
        row: The row as the task read it, with predicted mentions if the task reads them.
        prediction: The prediction.
        scores: Scores of the predicted mentions by start, end and type; empty if the mentions were in the input.
    """

    row: Row
    prediction: Prediction
    scores: dict[tuple[int, int, str], float]


@dataclass
class _Waiting:
    """A row whose predictions are not complete; `tasks` has each task's row and number of examples."""

    row: Row
    tasks: dict[str, tuple[Row, int]] = field(default_factory=dict)
    decoded: dict[str, Decoded] = field(default_factory=dict)
    scores: dict[str, dict[tuple[int, int, str], float]] = field(default_factory=dict)


class Pipeline:
    """Makes batches of rows and decodes their outputs.

    Iterating gives batches. Each batch's outputs are passed to `add`, not necessarily before the next batch is taken.
    `take_finished` gives the rows that are complete.

    Args:
        rows: The rows, without bad ones.
        heads: Head of each task to predict, and of the entity tasks that they need.
        tokenizer: Tokenizer of the encoder.
        mixture: Mixture that sets the maximum lengths and batch sizes.
        trained_rows: The kind of rows on which each task was trained.
        sources: The entity tasks that find the mentions of each task that reads mentions.
        linkers: How each relation task finds the concepts of predicted mentions; by their text if it has none.
        predicts_all_mentions: Whether mentions of the rows are replaced by predicted ones.
        completes: Whether rows get what their task had in training and they lack, see `completed`.
        temperatures: The temperature of each task whose probabilities are calibrated.
        tagging: Tasks whose predictions get the probabilities of the tags of each word.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        heads: Mapping[str, Head],
        tokenizer: Any,
        mixture: Mixture,
        trained_rows: TrainedRows,
        *,
        sources: Sources | None = None,
        linkers: Mapping[str, Linker] | None = None,
        predicts_all_mentions: bool = False,
        completes: bool = False,
        temperatures: Mapping[str, float] | None = None,
        tagging: Collection[str] = (),
    ) -> None:
        self._rows, self._heads, self._tokenizer, self._mixture = rows, dict(heads), tokenizer, mixture
        self._trained_rows = trained_rows
        self._sources, self._linkers = sources or {}, linkers or {}
        self._predicts_all = predicts_all_mentions
        self._completes = completes
        self._temperatures, self._tagging = temperatures or {}, tagging
        self._waiting: dict[int, _Waiting] = {}
        self._outputs: dict[tuple[int, str], list[tuple[Example, Tensor]]] = defaultdict(list)
        self._next = 0
        self.num_cut: Counter[str] = Counter()
        """Number of rows that each task read cut at its maximum length."""

    @property
    def num_waiting(self) -> int:
        """Number of rows whose predictions are not complete."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Batch]:
        numbered = enumerate(self._rows)
        while chunk := list(islice(numbered, CHUNK)):
            self._waiting |= {number: _Waiting(row) for number, row in chunk}
            yield from self._batches(
                {
                    name: [
                        (number, self._read(name, row)) for number, row in chunk if not self._needs_mentions(name, row)
                    ]
                    for name in self._heads
                }
            )
            later = {name: [place for place in chunk if self._needs_mentions(name, place[1])] for name in self._sources}
            if any(later.values()):
                yield from self._until_mentions_are_known({number for places in later.values() for number, _ in places})
                yield from self._batches(
                    {
                        name: [(number, self._with_found_mentions(name, number)) for number, _ in own]
                        for name, own in later.items()
                    }
                )

    def add(self, batch: Batch, outputs: Mapping[str, Sequence[Tensor]]) -> None:
        """Adds the outputs of each part of a batch, by task."""
        for part in batch.parts:
            for example, output in zip(part.examples, outputs[part.task], strict=True):
                self._outputs[example["row"], part.task].append((example, output))

    def take_finished(self) -> Iterator[tuple[Row, dict[str, Decoded]]]:
        """The next rows whose predictions are complete, in the order of the input."""
        while self._next in self._waiting and self._is_finished(self._next):
            waiting = self._waiting[self._next]
            decoded = {name: self._decoded(self._next, name) for name in self._heads}
            del self._waiting[self._next]
            self._next += 1
            yield waiting.row, decoded

    def _needs_mentions(self, name: str, row: Row) -> bool:
        if name not in self._sources:
            return False
        return self._predicts_all or lacks_mentions(self._heads[name], row, SpanRow.__name__)

    def _until_mentions_are_known(self, numbers: set[int]) -> Iterator[Batch]:
        """Empty batches until all entity tasks of these rows have their outputs."""
        finders = {finder for names in self._sources.values() for finder in names}
        for _ in range(_PATIENCE):
            if all(self._has_outputs(number, finder) for number in numbers for finder in finders):
                return
            yield EMPTY
        raise AssertionError("outputs were not passed to `add`")

    def _read(self, name: str, row: Row) -> Row:
        """A row with its own mentions, as a task reads it."""
        return self._completed(name, as_read_by(self._heads[name], row, self._trained_rows.row_types.get(name)))

    def _completed(self, name: str, row: Row) -> Row:
        return completed(self._heads[name], row, self._trained_rows, name) if self._completes else row

    def _with_found_mentions(self, name: str, number: int) -> Row:
        """The row with the mentions that the entity tasks of another task found."""
        waiting = self._waiting[number]
        found = [self._decoded(number, finder).prediction for finder in self._sources[name]]
        row = as_read_by(self._heads[name], waiting.row, SpanRow.__name__)
        assert isinstance(row, SpanRow)
        waiting.scores[name] = {
            (e["start"], e["end"], e["type"]): e["score"] for prediction in found for e in prediction["entities"]
        }
        linked = with_mentions(row, self._heads[name], found, self._linkers.get(name, by_surface))
        return self._completed(name, linked)

    def _batches(self, rows: Mapping[str, Sequence[tuple[int, Row]]]) -> Iterator[Batch]:
        encoded = {name: self._encode(name, own) for name, own in rows.items()}
        for names, inputs in _grouped(encoded).items():
            lengths = np.array([len(by_task[names[0]]["input_ids"]) for by_task in inputs], dtype=np.int64)
            for indices in by_length(np.arange(len(inputs)), lengths, 4 * self._mixture.batch_size, EVALUATION_TOKENS):
                taken = {name: [inputs[i][name] for i in indices] for name in names}
                yield collate([ExampleGroup(taken)], self._heads, keep_examples=True)

    def _encode(self, name: str, numbered: Sequence[tuple[int, Row]]) -> list[Example]:
        rows = [row for _, row in numbered]
        examples = self._heads[name].encode(rows, self._tokenizer, self._mixture.max_length_of(name), training=False)
        self.num_cut[name] += len({example["row"] for example in examples if example["truncated"]})
        sizes = np.bincount([example["row"] for example in examples], minlength=len(rows))
        for (number, row), size in zip(numbered, sizes, strict=True):
            self._waiting[number].tasks[name] = (row, int(size))
        renumbered = [{**example, "row": numbered[example["row"]][0]} for example in examples]
        return [{**example, "part": part} for part, example in enumerate(renumbered)]

    def _has_outputs(self, number: int, name: str) -> bool:
        waiting = self._waiting[number]
        is_encoded = name in waiting.tasks
        return name in waiting.decoded or (is_encoded and len(self._outputs[number, name]) == waiting.tasks[name][1])

    def _is_finished(self, number: int) -> bool:
        return all(self._has_outputs(number, name) for name in self._heads)

    def _decoded(self, number: int, name: str) -> Decoded:
        waiting = self._waiting[number]
        if name not in waiting.decoded:
            pending = sorted(self._outputs.pop((number, name), []), key=lambda pair: pair[0]["part"])
            row = waiting.tasks[name][0]
            examples, outputs = [example for example, _ in pending], [output for _, output in pending]
            prediction = self._decode(name, row, examples, outputs)
            waiting.decoded[name] = Decoded(row, prediction, waiting.scores.get(name, {}))
        return waiting.decoded[name]

    def _decode(self, name: str, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        head, temperature = self._heads[name], self._temperatures.get(name)
        if temperature is None:
            prediction = head.decode(row, examples, outputs)
        else:
            prediction = head.decode_calibrated(row, examples, outputs, temperature)
        if name in self._tagging:
            words = head.word_probabilities(row, examples, outputs, temperature or 1.0)
            prediction = {**prediction, "probabilities": [word._asdict() for word in words]}
        return prediction


def _grouped(encoded: Mapping[str, Sequence[Example]]) -> dict[tuple[str, ...], list[dict[str, Example]]]:
    """Each distinct input with the example of each task, grouped by the set of tasks that share it."""
    by_input: dict[tuple[Any, ...], dict[str, Example]] = defaultdict(dict)
    for name, examples in encoded.items():
        times: Counter[tuple[Any, ...]] = Counter()  # two candidate pairs of a task may have the same input
        for example in examples:
            key = (example["row"], tuple(example["input_ids"]), tuple(sequence_lengths(example)))
            by_input[*key, times[key]][name] = example
            times[key] += 1
    groups: dict[tuple[str, ...], list[dict[str, Example]]] = defaultdict(list)
    for by_task in by_input.values():
        groups[tuple(by_task)].append(by_task)
    return groups
