"""The input of one pass of the encoder, for one task or several, and the part of it that each head reads.

An example is one sequence, or several that its head reads together; the encoder computes each sequence alone.

Shapes: S sequences, N tokens of all sequences together, T tokens of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heads import Example, Head, sequence_lengths
from mtl.encoder.packing import Layout


class UpdateShare(NamedTuple):
    """The share of one task in an update of the weights.

    Args:
        targets: Number of the task's targets in the whole update, over all ranks, accumulated steps and mixed batches.
            The summed loss of the task is divided by it.
        share: The task's share of the update's batches. The shares of all tasks add up to at most 1.
    """

    targets: int = 1
    share: float = 1.0


EVERYTHING = UpdateShare()
"""The share of a task whose batch is the whole update, as in evaluation."""


@dataclass
class TaskPart:
    """The part of a batch that one head reads.

    Args:
        task: The head's task.
        start: Index in the batch of the first sequence of this part.
        stop: One past the index of the last.
        fields: Fields that the head collated.
        update: The task's share in the update that this batch belongs to; a share of 0 trains nothing.
        examples: Encoded examples, for decoding; empty in training.
    """

    task: str
    start: int
    stop: int
    fields: dict[str, Tensor]
    update: UpdateShare = EVERYTHING
    examples: Sequence[Example] = ()


class Batch:
    """The tokens of all examples without padding, where each sequence is, and the parts that read them.

    A batch without parts stands for a step in which nothing is trained. This is not a dataclass, because Lightning
    would round the labels in a dataclass to the precision of the weights.

    Args:
        input_ids: Token ids [N], in the order of the layout.
        layout: Where the tokens of each sequence are.
        type_ids: Token type ids [N]; None if the encoder has none.
        parts: The parts that heads read.
        draws: Key of the random draws of its step, such as dropout; empty if that is the number of the step.
        num_examples: Number of examples; None if that is the number of sequences.
    """

    def __init__(
        self,
        input_ids: Tensor,
        layout: Layout,
        type_ids: Tensor | None,
        parts: list[TaskPart],
        draws: tuple[str | int, ...] = (),
        *,
        num_examples: int | None = None,
    ) -> None:
        self.input_ids, self.layout, self.type_ids, self.parts, self.draws = input_ids, layout, type_ids, parts, draws
        self._num_examples = len(layout.lengths) if num_examples is None else num_examples
        self._is_pinned = False

    @property
    def mask(self) -> Tensor:
        """True for tokens and False for padding in the states that heads read [S, T]."""
        return self.layout.mask

    def to(self, device: Any) -> Batch:
        """The same batch on another device; from pinned memory it is copied without blocking the host."""
        return self._map(lambda values: values.to(device, non_blocking=self._is_pinned))

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory, for a GPU."""
        pinned = self._map(Tensor.pin_memory)
        pinned._is_pinned = True
        return pinned

    def _map(self, move: Callable[[Tensor], Tensor]) -> Batch:
        type_ids = None if self.type_ids is None else move(self.type_ids)
        parts = [
            replace(part, fields={name: move(values) for name, values in part.fields.items()}) for part in self.parts
        ]
        layout, examples = self.layout.map(move), self._num_examples
        return Batch(move(self.input_ids), layout, type_ids, parts, self.draws, num_examples=examples)

    def __len__(self) -> int:
        """The number of examples."""
        return self._num_examples


EMPTY = Batch(torch.zeros(0, dtype=torch.long), Layout([]), None, [])


@dataclass(frozen=True)
class ExampleGroup:
    """Some examples with the tasks that read them: one task, or several over the same texts.

    Args:
        examples: The examples of each task: the same inputs for each task, in the same order.
        updates: The share of each task in its update; needed in training only.
    """

    examples: Mapping[str, Sequence[Example]]
    updates: Mapping[str, UpdateShare] = field(default_factory=dict)


def collate(
    groups: Sequence[ExampleGroup],
    heads: Mapping[str, Head],
    *,
    draws: tuple[str | int, ...] = (),
    keep_examples: bool = False,
) -> Batch:
    """One batch of the examples of one or several tasks.

    Args:
        groups: Groups of examples, which follow each other in the batch.
        heads: The head of each task.
        draws: Key of the random draws of the batch's step.
        keep_examples: Whether parts hold their examples.
    """
    inputs = [example for group in groups for example in next(iter(group.examples.values()))]
    layout = Layout([length for example in inputs for length in sequence_lengths(example)])
    parts = []
    start = 0
    for group in groups:
        stop = start + sum(len(sequence_lengths(example)) for example in next(iter(group.examples.values())))
        for task, examples in group.examples.items():
            fields = heads[task].collate(examples, layout.longest) | _weights(examples)
            update = group.updates.get(task, EVERYTHING)
            parts.append(TaskPart(task, start, stop, fields, update, examples if keep_examples else ()))
        start = stop
    ids = layout.packed(_sequences(inputs, "input_ids"))
    typed = all(example.get("token_type_ids") is not None for example in inputs)
    type_ids = layout.packed(_sequences(inputs, "token_type_ids")) if typed else None
    return Batch(ids, layout, type_ids, parts, draws, num_examples=len(inputs))


def _weights(examples: Sequence[Example]) -> dict[str, Tensor]:
    """The field `weight` [B]; none if all weights are 1, so that the loss is summed as without weights."""
    weights = [example.get("weight", 1.0) for example in examples]
    # The default type may change meanwhile: with true precisions, Lightning sets it while another thread collates.
    is_one = all(weight == 1 for weight in weights)
    return {} if is_one else {"weight": torch.tensor(weights, dtype=torch.float32)}


def _sequences(examples: Sequence[Example], name: str) -> list[Sequence[int]]:
    """The values of a field of tokens, for each sequence of the examples."""
    found = []
    for example in examples:
        ends = accumulate(sequence_lengths(example), initial=0)
        found += [example[name][start:stop] for start, stop in pairwise(ends)]
    return found
