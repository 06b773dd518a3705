"""One vector for each sequence, from its hidden states, and one for each text, from its windows.

Shapes: B examples, P texts per example, W windows of a text, S sequences, T tokens, H hidden size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from heads import LoadedEncoder
from heads._causal import is_causal
from heads._poolers import FAMILIES, Pooler, Position, pooler_of

Pooling = Literal["pooler", "cls", "mean", "last"]

_NEEDS_LATER_TOKENS: tuple[Pooling, ...] = ("cls", "pooler")
"""Poolings that read the first token, which sees no other token of a causal encoder."""

WindowPooling = Literal["max", "mean", "attention"]


class SequencePooling(nn.Module):
    """One vector for each sequence, [S, T, H] -> [S, H].

    "last" is the state of the last token, the only one that has seen the whole sequence in a causal encoder; those
    families' classes for sequence classification read it too. "cls" is the state of the first token, as in MT-DNN.
    "mean" is the mean over the states of all tokens, with which sentence encoders such as all-MiniLM were trained
    (Reimers and Gurevych 2019). "pooler" is the pooling of
    transformers' class for sequence classification of the encoder's family, which for BERT is a linear layer and tanh
    on the state of the first token, as in MT-BlueBERT and BLURB. Its layers belong to the task and are made by
    `attach`. They start from the weights of the encoder's pooler if its checkpoint has one, and otherwise, as
    transformers' classes do, from random ones; `attach` says so. The checkpoint of all-MiniLM-L6 has a pooler that was
    never trained.

    Args:
        kind: Which of them; None takes "last" for a causal encoder and "cls" for any other.
        dropout: Dropout probability, for the families that have dropout before the pooler's linear layer.
    """

    layers: nn.Sequential | None

    def __init__(self, kind: Pooling | None, dropout: float) -> None:
        super().__init__()
        self.kind, self._dropout = kind, dropout
        self._position: Position | Literal["last"] = "first" if kind not in ("mean", "last") else kind
        self.layers = None

    def encoder_problem(self, config: Any) -> str | None:
        """Why this pooling is not possible with an encoder, or None."""
        if self.kind in _NEEDS_LATER_TOKENS and is_causal(config):
            why = "in a causal encoder, the first token sees no other"
            return f"pooling must be 'last' or 'mean', because {why}; got '{self.kind}'"
        if self.kind != "pooler" or config.model_type in FAMILIES:
            return None
        known = ", ".join(sorted(FAMILIES))
        return f"pooling 'pooler' needs an encoder of one of the families {known}; got {config.model_type}"

    def attach(self, encoder: LoadedEncoder) -> str | None:
        """Makes the layers of the pooler and takes the weights of the encoder's own if there are any."""
        if self.kind is None and is_causal(encoder.config):
            self._position = "last"
        if self.kind != "pooler":
            return None
        pooler = pooler_of(encoder.config, self._dropout)
        assert pooler is not None, "`encoder_problem` comes first"
        self._position = pooler.position
        self.layers = nn.Sequential(OrderedDict(pooler.layers))
        if encoder.shipped is None:
            return None
        return _load(pooler, encoder.shipped)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.kind == "pooler":
            assert self.layers is not None, "a head with pooling 'pooler' must be attached to an encoder"
            if self._position == "late":
                return _mean(self.layers(states), mask)
        if self._position == "last":
            return _last(states, mask)
        pooled = _mean(states, mask) if self._position == "mean" else states[:, 0]
        return pooled if self.layers is None else self.layers(pooled)


class WindowCombination(nn.Module):
    """One vector for each text from the vectors of its windows, [B, P, W, H] -> [B, P, H].

    Args:
        kind: "max" for the maximum of each component, "mean" for the mean, "attention" for a weighted mean, whose
            weights are the softmax of a learned linear score of each window and start equal.
        hidden_size: H.
    """

    def __init__(self, kind: WindowPooling, hidden_size: int) -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(hidden_size, 1, bias=False) if kind == "attention" else None
        if self.score is not None:
            nn.init.zeros_(self.score.weight)

    def forward(self, vectors: Tensor, is_window: Tensor) -> Tensor:
        """The combined vectors.

        Args:
            vectors: The vector of each window; those where there is no window have no effect.
            is_window: Whether there is a window, [B, P, W]. Every text has at least one.
        """
        missing = ~is_window.unsqueeze(-1)  # [B, P, W, 1]
        if self.kind == "max":
            return vectors.masked_fill(missing, float("-inf")).amax(2)
        if self.score is None:
            return vectors.masked_fill(missing, 0.0).sum(2) / is_window.sum(2, keepdim=True)
        weights: Tensor = self.score(vectors).masked_fill(missing, float("-inf")).softmax(2)
        return (weights * vectors.masked_fill(missing, 0.0)).sum(2)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over tokens, [S, T, H] -> [S, H]."""
    counted = mask.unsqueeze(-1)  # [S, T, 1]
    return (states * counted).sum(1) / counted.sum(1)


def _last(states: Tensor, mask: Tensor) -> Tensor:
    """The state of the last token, [S, T, H] -> [S, H]."""
    places = (mask.sum(1) - 1).clamp(min=0)  # padding is on the right
    return states[torch.arange(len(states), device=states.device), places]


def _load(pooler: Pooler, shipped: Mapping[str, Tensor]) -> str | None:
    """Copies the shipped weights into a pooler, if there are any for all its layers.

    Returns:
        What the user should know about the pooler's first weights, or None.
    """
    targets = {
        f"{theirs}.{name}": parameter
        for ours, theirs in pooler.names.items()
        for name, parameter in pooler.layers[ours].named_parameters()
    }
    if not shipped.keys() >= targets.keys():
        return "pooling 'pooler' starts from random weights, because the encoder has none for it"
    with torch.no_grad():
        for name, parameter in targets.items():
            parameter.copy_(shipped[name])
    biases = [parameter for name, parameter in targets.items() if name.endswith(".bias")]
    if biases and not any(bias.any() for bias in biases):
        return "pooling 'pooler' starts from a pooler that was probably never trained: its biases are all 0"
    return None
