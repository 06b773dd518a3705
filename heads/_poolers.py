"""The pooling of transformers' classes for sequence classification, by model family.

A head that pools like them can be exported to such a class with equal logits. Each entry of `FAMILIES` builds the
layers between the hidden states and the output layer, with dropout where the class has it, and names the class's
modules that hold the same weights.

Shapes: S sequences, T tokens, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from torch import nn

Position = Literal["first", "mean", "late"]
"""What the layers read: the first token, the mean over tokens, or every token, with the mean taken afterwards."""


class Pooler(NamedTuple):
    """The pooling of one class for sequence classification.

    Args:
        position: What the layers read.
        layers: Layers between the hidden states and the output layer, by name.
        names: Name in the class of each of the layers that has weights.
        output: Name in the class of the output layer.
    """

    position: Position
    layers: dict[str, nn.Module]
    names: dict[str, str]
    output: str = "classifier"


def pooler_of(config: Any, dropout: float) -> Pooler | None:
    """The pooling of the class for sequence classification of an encoder's family; None if it is not known.

    Args:
        config: Configuration of the encoder.
        dropout: Dropout probability, for the families that have dropout before the pooler's linear layer.
    """
    make = FAMILIES.get(config.model_type)
    return None if make is None else make(config, dropout)


def _dense(config: Any, *, bias: bool = True) -> nn.Linear:
    """A linear layer H -> H with weights from N(0, 0.02), as in BERT."""
    layer = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)
    nn.init.normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _activation(name: str) -> nn.Module:
    from transformers.activations import ACT2FN

    module: nn.Module = ACT2FN[name]
    return module


def _bert(config: Any, dropout: float) -> Pooler:
    return Pooler("first", {"dense": _dense(config), "activation": nn.Tanh()}, {"dense": "bert.pooler.dense"})


def _albert(config: Any, dropout: float) -> Pooler:
    return Pooler("first", {"dense": _dense(config), "activation": nn.Tanh()}, {"dense": "albert.pooler"})


def _roberta(config: Any, dropout: float) -> Pooler:
    layers = {"dropout": nn.Dropout(dropout), "dense": _dense(config), "activation": nn.Tanh()}
    return Pooler("first", layers, {"dense": "classifier.dense"}, "classifier.out_proj")


def _electra(config: Any, dropout: float) -> Pooler:
    layers = {"dropout": nn.Dropout(dropout), "dense": _dense(config), "activation": nn.GELU()}
    return Pooler("first", layers, {"dense": "classifier.dense"}, "classifier.out_proj")


def _distilbert(config: Any, dropout: float) -> Pooler:
    return Pooler("first", {"dense": _dense(config), "activation": nn.ReLU()}, {"dense": "pre_classifier"})


def _deberta(config: Any, dropout: float) -> Pooler:
    activation = _activation(config.pooler_hidden_act)
    layers = {"dropout": nn.Dropout(dropout), "dense": _dense(config), "activation": activation}
    return Pooler("first", layers, {"dense": "pooler.dense"})


def _modernbert(config: Any, dropout: float) -> Pooler:
    norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)
    activation = _activation(config.classifier_activation)
    layers = {"dense": _dense(config, bias=config.classifier_bias), "activation": activation, "norm": norm}
    position: Position = "first" if config.classifier_pooling == "cls" else "mean"
    return Pooler(position, layers, {"dense": "head.dense", "norm": "head.norm"})


def _eurobert(config: Any, dropout: float) -> Pooler:
    positions: dict[str, Position] = {"bos": "first", "mean": "mean", "late": "late"}
    layers = {"dense": _dense(config), "activation": nn.GELU()}
    return Pooler(positions[config.classifier_pooling], layers, {"dense": "dense"})


FAMILIES: Mapping[str, Callable[[Any, float], Pooler]] = {
    "albert": _albert,
    "bert": _bert,
    "camembert": _roberta,
    "deberta": _deberta,
    "deberta-v2": _deberta,
    "distilbert": _distilbert,
    "electra": _electra,
    "eurobert": _eurobert,
    "modernbert": _modernbert,
    "mpnet": _roberta,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
}
"""Builds the pooler of each model family, by `model_type` of its configuration."""
