"""A layer and three helpers that most heads use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heads._contract import Example

WIDEST = 1_000_000
"""Largest hidden layer; a wider one is a mistake that would need more memory than there is."""


def projection(hidden_size: int, num_outputs: int, *, dropout: float, hidden_layer: int | None) -> nn.Sequential:
    """Dropout and a linear layer, optionally with a hidden GELU layer before them.

    Weights are drawn from N(0, 0.02) and biases are 0, as in BERT (Devlin et al. 2019) and MT-DNN (Liu et al. 2019).

    Args:
        hidden_size: H of the encoder.
        num_outputs: Size of the output.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of the hidden layer; None for no hidden layer.

    Raises:
        ValueError: `hidden_layer` is below 1 or above `WIDEST`.

    >>> projection(8, 3, dropout=0.1, hidden_layer=None)(torch.zeros(5, 8)).shape
    torch.Size([5, 3])
    """
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if hidden_layer is not None:
        if not 1 <= hidden_layer <= WIDEST:
            raise ValueError(f"hidden_layer must be from 1 to {WIDEST}, got {hidden_layer}")
        layers += [nn.Linear(hidden_size, hidden_layer), nn.GELU(), nn.Dropout(dropout)]
        hidden_size = hidden_layer
    layers.append(nn.Linear(hidden_size, num_outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def sequence_lengths(example: Example) -> list[int]:
    """The number of tokens of each sequence of an example.

    >>> sequence_lengths({"input_ids": [101, 7, 102]})
    [3]
    >>> sequence_lengths({"input_ids": [101, 7, 102, 101, 102], "sequence_lengths": [3, 2]})
    [3, 2]
    """
    return example.get("sequence_lengths") or [len(example["input_ids"])]


def pad(sequences: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    """Integer sequences as one tensor [B, length], padded on the right with `value`.

    >>> pad([[1, 2], [3]], 3, 0).tolist()
    [[1, 2, 0], [3, 0, 0]]
    """
    padded = [[*sequence, *[value] * (length - len(sequence))] for sequence in sequences]
    return torch.tensor(padded, dtype=torch.long).reshape(len(sequences), length)


def input_names(encoded: Mapping[str, Any]) -> list[str]:
    """The encoder's inputs that a tokenizer has made.

    >>> input_names({"input_ids": [[101]], "attention_mask": [[1]]})
    ['input_ids']
    """
    return [name for name in ("input_ids", "token_type_ids") if name in encoded]
