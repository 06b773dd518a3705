"""Examples of several sequences: the texts of a pair apart, and the windows of long texts.

Shapes: B examples, P texts per example, W windows of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from heads import Example
from heads._tensors import input_names
from heads._windows import windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | tuple[str, str]
"""A text, or a pair of texts that are read together."""


class Cut(NamedTuple):
    """The sequences of a text, and whether tokens of the text are in none of them."""

    sequences: list[Example]
    truncated: bool


def encode_cut(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Cut]:
    """One sequence for each text or pair; the longer text of a pair is truncated first.

    Args:
        texts: Texts or pairs of texts.
        tokenizer: A fast tokenizer.
        max_length: Maximum number of tokens, special tokens included.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation="longest_first", max_length=max_length, return_attention_mask=False)
    assert encoded.encodings is not None, "only fast tokenizers report what they cut off"
    # A text of exactly the maximum length may be complete, so truncation is read from what the tokenizer cut off.
    return [
        Cut([{name: encoded[name][i] for name in input_names(encoded)}], bool(encoding.overflowing))
        for i, encoding in enumerate(encoded.encodings)
    ]


def encode_windows(
    texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, max_length: int, stride: int
) -> list[Cut]:
    """Overlapping windows of each text. Every window of a pair has the first text and a window of the second one.

    The first text of a pair is truncated to half of a window's room.

    Args:
        texts: Texts or pairs of texts.
        tokenizer: A fast tokenizer.
        max_length: Maximum number of tokens of a window, special tokens included.
        stride: Number of tokens by which windows overlap.

    Raises:
        ValueError: `max_length` leaves no room for text.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=False, return_attention_mask=False, verbose=False)
    return [
        _windows({name: encoded[name][i] for name in input_names(encoded)}, encoded.sequence_ids(i), max_length, stride)
        for i in range(len(texts))
    ]


def joined(texts: Sequence[Cut]) -> Example:
    """The fields of an example with several sequences, from its texts.

    `windows` has the number of sequences of each text.

    >>> joined([Cut([{"input_ids": [2, 7, 3]}, {"input_ids": [2, 8, 3]}], False), Cut([{"input_ids": [2, 3]}], True)])
    {'input_ids': [2, 7, 3, 2, 8, 3, 2, 3], 'sequence_lengths': [3, 3, 2], 'windows': [2, 1], 'truncated': True}
    """
    sequences = [sequence for text in texts for sequence in text.sequences]
    return {
        **{name: [value for sequence in sequences for value in sequence[name]] for name in sequences[0]},
        "sequence_lengths": [len(sequence["input_ids"]) for sequence in sequences],
        "windows": [len(text.sequences) for text in texts],
        "truncated": any(text.truncated for text in texts),
    }


def sequence_indices(examples: Sequence[Example], num_texts: int) -> Tensor:
    """The index among the sequences of a batch of each window of each text, -1 where there is none, [B, P, W].

    Args:
        examples: B examples from `joined`.
        num_texts: P.

    >>> sequence_indices([{"windows": [2, 1]}, {"windows": [1, 1]}], 2).tolist()
    [[[0, 1], [2, -1]], [[3, -1], [4, -1]]]
    """
    counts = [count for example in examples for count in example["windows"]]
    ends = torch.tensor([0, *counts]).cumsum(0).tolist()
    most = max([1, *counts])
    rows = [[*range(start, stop), *[-1] * (most - (stop - start))] for start, stop in pairwise(ends)]
    return torch.tensor(rows, dtype=torch.long).reshape(len(examples), num_texts, most)


def _windows(fields: Example, owners: Sequence[int | None], max_length: int, stride: int) -> Cut:
    """The windows of one tokenised text or pair.

    Args:
        fields: Fields of the whole text, with special tokens.
        owners: The text to which each token belongs: 0, 1 or None for special tokens.
        max_length: Maximum number of tokens of a window.
        stride: Number of tokens by which windows overlap.
    """
    places: list[list[int]] = [[i for i, owner in enumerate(owners) if owner == text] for text in (0, 1)]
    special = [i for i, owner in enumerate(owners) if owner is None]
    room = max_length - len(special)
    if room < 2:
        raise ValueError(f"max_length must leave room for text besides special tokens, got {max_length}")
    is_pair = 1 in owners
    # The first text has what the second leaves of a window, and half of one if the second is long.
    repeated = places[0][: max(room // 2, min(room - 1, room - len(places[1])))] if is_pair else []
    read = places[1] if is_pair else places[0]
    sequences = []
    for window in windows(len(read), room - len(repeated), stride):
        kept = sorted([*special, *repeated, *read[window.start : window.stop]])
        sequences.append({name: [values[i] for i in kept] for name, values in fields.items()})
    return Cut(sequences, is_pair and len(repeated) < len(places[0]))
