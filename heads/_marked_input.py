"""Texts with marked mentions as inputs of the encoder: their tokens, the pooling of the mentions, and mean states.

Shapes: B examples, N texts, T tokens, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heads import FrozenEncoder, PooledInput
from heads._marking import Marked
from heads._pair_window import read_tokens
from heads._pooling import Pooling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MentionPooling = Literal["mention_max", "entity_start"]
"""The maximum over the tokens of a mention, or the state of its first token (which is its marker if it has one)."""

AnyPooling = Literal[Pooling, MentionPooling]

_CHUNK_SIZE = 1024  # texts per call of the tokenizer; the offsets of all texts of a corpus would take gigabytes


def read_marked(
    texts: Sequence[Marked], tokenizer: PreTrainedTokenizerBase, max_length: int, *, starts: bool
) -> Iterator[dict[str, Any]]:
    """The tokens of each marked text as fields of an example, as in `heads._pair_window.read_tokens`.

    Args:
        texts: The texts.
        tokenizer: A fast tokenizer.
        max_length: Maximum number of tokens, special tokens included.
        starts: Whether `head_tokens` and `tail_tokens` hold only the first token of each position.
    """
    for first in range(0, len(texts), _CHUNK_SIZE):
        chunk = texts[first : first + _CHUNK_SIZE]
        words = [marked.text for marked in chunk]
        encoded = tokenizer(words, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
        for index, marked in enumerate(chunk):
            yield read_tokens(encoded, index, marked, max_length, starts=starts)


def mean_states(
    texts: Sequence[Marked], encoder: FrozenEncoder, arguments: Sequence[Literal["head", "tail"]]
) -> npt.NDArray[np.float64]:
    """The mean states of all tokens of each text and of the tokens of each argument, [N, (1 + arguments) * H].

    An argument without tokens is represented by the first token.

    Args:
        texts: At least one text.
        encoder: Gives the states.
        arguments: Which of head and tail are read.
    """
    means: list[npt.NDArray[np.float32]] = []
    for first in range(0, len(texts), _CHUNK_SIZE):
        chunk = texts[first : first + _CHUNK_SIZE]
        read = read_marked(chunk, encoder.tokenizer, encoder.max_length, starts=False)
        means += encoder.means([_pooled(fields, arguments) for fields in read])
    return np.stack([mean.reshape(-1) for mean in means]).astype(np.float64)


def _pooled(fields: dict[str, Any], arguments: Sequence[str]) -> PooledInput:
    groups = [fields[f"{argument}_tokens"] or [0] for argument in arguments]
    return PooledInput(fields, [range(len(fields["input_ids"])), *groups])


def token_mask(tokens: Sequence[Sequence[int]], length: int) -> Tensor:
    """True at the given tokens of each example, or at the first token if there are none, [B, T].

    >>> token_mask([[1, 2], []], 3).tolist()
    [[False, True, True], [True, False, False]]
    """
    mask = torch.zeros(len(tokens), length, dtype=torch.bool)
    for example_mask, indices in zip(mask, tokens, strict=True):
        example_mask[list(indices) or [0]] = True
    return mask


def masked_max(states: Tensor, mask: Tensor) -> Tensor:
    """The maximum over the tokens at which the mask is true, [B, T, H] -> [B, H].

    >>> masked_max(torch.tensor([[[1.0], [3.0], [7.0]]]), torch.tensor([[True, True, False]])).tolist()
    [[3.0]]
    """
    return states.masked_fill(~mask[..., None], float("-inf")).amax(1)
