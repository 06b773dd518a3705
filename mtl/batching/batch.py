"""One pass of the encoder: the inputs of one task or several, and what each head needs of them.

Shapes: B examples, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heads import Example, Head, pad


class UpdateShare(NamedTuple):
    """What one task is in an update of the weights.

    Args:
        targets: Its targets in the whole update, over all ranks, accumulated steps and mixed batches: what its summed
            loss is divided by.
        share: Its share of the update's batches. The shares of all tasks add up to at most 1.
    """

    targets: int = 1
    share: float = 1.0


EVERYTHING = UpdateShare()
"""A task whose batch is the whole update, as in evaluation."""


@dataclass
class TaskPart:
    """What one head reads of a batch.

    Args:
        task: The head's task.
        start: The first of the batch's examples that belong to it.
        stop: One past the last.
        fields: The head's collated fields.
        update: What the task is in the update that this batch is a part of; a share of 0 trains nothing.
        examples: The examples as encoded, for decoding; empty in training.
    """

    task: str
    start: int
    stop: int
    fields: dict[str, Tensor]
    update: UpdateShare = EVERYTHING
    examples: Sequence[Example] = ()


class Batch:
    """Input ids [B, T], attention mask [B, T] and types [B, T] (or None), and the parts that read them.

    A batch without parts stands for a step in which nothing is trained. It is no dataclass, since Lightning would
    round the labels within one to the precision of the weights.
    """

    def __init__(self, input_ids: Tensor, mask: Tensor, type_ids: Tensor | None, parts: list[TaskPart]) -> None:
        self.input_ids, self.mask, self.type_ids, self.parts = input_ids, mask, type_ids, parts

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        parts = [
            replace(
                part, fields={name: value.to(device, non_blocking=non_blocking) for name, value in part.fields.items()}
            )
            for part in self.parts
        ]
        type_ids = None if self.type_ids is None else self.type_ids.to(device, non_blocking=non_blocking)
        return Batch(
            self.input_ids.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
            type_ids,
            parts,
        )

    def __len__(self) -> int:
        return len(self.input_ids)


EMPTY = Batch(torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.bool), None, [])


@dataclass(frozen=True)
class ExampleGroup:
    """Some examples with the tasks that read them: one task, or several over the same texts.

    Args:
        examples: The examples of each task; the same inputs for each, in the same order.
        updates: What each task is in its update; needed for training only.
    """

    examples: Mapping[str, Sequence[Example]]
    updates: Mapping[str, UpdateShare] = field(default_factory=dict)


def collate(
    groups: Sequence[ExampleGroup], heads: Mapping[str, Head], pad_id: int, *, keep_examples: bool = False
) -> Batch:
    """One batch from the examples of one or several tasks, padded to the longest.

    Args:
        groups: Each gives rows of the batch, one after the other.
        heads: The head of each task.
        pad_id: The tokenizer's padding token.
        keep_examples: Whether parts carry their examples.
    """
    inputs = [example for group in groups for example in next(iter(group.examples.values()))]
    length = max(len(example["input_ids"]) for example in inputs)
    parts = []
    start = 0
    for group in groups:
        stop = start + len(next(iter(group.examples.values())))
        for task, examples in group.examples.items():
            fields = heads[task].collate(examples, length)
            update = group.updates.get(task, EVERYTHING)
            parts.append(TaskPart(task, start, stop, fields, update, examples if keep_examples else ()))
        start = stop
    ids = pad([example["input_ids"] for example in inputs], length, pad_id)
    mask = pad([[1] * len(example["input_ids"]) for example in inputs], length, 0).bool()
    typed = all(example.get("token_type_ids") is not None for example in inputs)
    type_ids = pad([example["token_type_ids"] for example in inputs], length, 0) if typed else None
    return Batch(ids, mask, type_ids, parts)
