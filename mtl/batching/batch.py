"""One pass of the encoder: the inputs of one task or several, and what each head needs of them.

Shapes: B examples, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from heads import Example, Head, pad


@dataclass
class TaskPart:
    """What one head reads of a batch.

    Args:
        task: The head's task.
        start: The first of the batch's examples that belong to it.
        stop: One past the last.
        fields: The head's collated fields.
        scale: What the summed loss is multiplied by: the task's weight over the count of the whole step.
        examples: The examples as encoded, for decoding; empty in training.
    """

    task: str
    start: int
    stop: int
    fields: dict[str, Tensor]
    scale: float = 1.0
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
class Share:
    """Some examples with the tasks that read them: one task, or several that share their texts.

    Args:
        examples: By task; the same inputs for each, in the same order.
        scales: Of each task's part.
    """

    examples: Mapping[str, Sequence[Example]]
    scales: Mapping[str, float]


def collate(shares: Sequence[Share], heads: Mapping[str, Head], pad_id: int, *, keep_examples: bool = False) -> Batch:
    """One batch from the shares of one or several tasks, padded to the longest.

    Args:
        shares: Each gives rows of the batch, one after the other.
        heads: By task.
        pad_id: Of the tokenizer.
        keep_examples: Whether parts carry their examples.
    """
    inputs = [example for share in shares for example in next(iter(share.examples.values()))]
    length = max(len(example["input_ids"]) for example in inputs)
    parts = []
    start = 0
    for share in shares:
        size = len(next(iter(share.examples.values())))
        for task, examples in share.examples.items():
            fields = heads[task].collate(examples, length)
            kept = examples if keep_examples else ()
            parts.append(TaskPart(task, start, start + size, fields, share.scales[task], kept))
        start += size
    ids = pad([example["input_ids"] for example in inputs], length, pad_id)
    mask = pad([[1] * len(example["input_ids"]) for example in inputs], length, 0).bool()
    typed = all(example.get("token_type_ids") is not None for example in inputs)
    type_ids = pad([example["token_type_ids"] for example in inputs], length, 0) if typed else None
    return Batch(ids, mask, type_ids, parts)
