"""The heads of transformers' classes for masked language modelling, by model family.

All of them are a linear layer, an activation and a LayerNorm on the state of a token, then the table of token
embeddings and a bias. Each entry of `FAMILIES` says where the class has the weights and how it is configured.

Shapes: H hidden size, E size of the token embeddings, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn


class MlmFamily(NamedTuple):
    """The head of one class for masked language modelling.

    Args:
        dense: Name in the class of the linear layer H -> E.
        norm: Name in the class of the LayerNorm.
        bias: Name in the class of the bias of the vocabulary, [V].
        activation: Name of the activation in transformers.
        eps: Epsilon of the LayerNorm.
        has_dense_bias: Whether the linear layer has a bias.
        has_norm_bias: Whether the LayerNorm has a bias.
    """

    dense: str
    norm: str
    bias: str
    activation: str
    eps: float
    has_dense_bias: bool = True
    has_norm_bias: bool = True

    def transform(self, hidden_size: int, embedding_size: int) -> nn.Sequential:
        """The layers before the embeddings, with weights from N(0, 0.02) as in BERT, [..., H] -> [..., E]."""
        from transformers.activations import ACT2FN

        dense = nn.Linear(hidden_size, embedding_size, bias=self.has_dense_bias)
        nn.init.normal_(dense.weight, std=0.02)
        if self.has_dense_bias:
            nn.init.zeros_(dense.bias)
        norm = nn.LayerNorm(embedding_size, eps=self.eps, bias=self.has_norm_bias)
        return nn.Sequential(dense, ACT2FN[self.activation], norm)

    def names(self, transform: nn.Sequential) -> dict[str, nn.Parameter]:
        """The parameters of a transform by their names in the class."""
        dense, _, norm = transform
        return dict(dense.named_parameters(prefix=self.dense)) | dict(norm.named_parameters(prefix=self.norm))


def family_of(config: Any) -> MlmFamily | None:
    """The head of an encoder's family; None if it is not known, or does not read the token embeddings."""
    make = FAMILIES.get(config.model_type)
    return make(config) if make is not None and getattr(config, "tie_word_embeddings", True) else None


def default_family(config: Any) -> MlmFamily:
    """The head of BERT, for a family whose own is not known."""
    return MlmFamily("dense", "norm", "bias", "gelu", float(getattr(config, "layer_norm_eps", 1e-12)))


def _bert(config: Any) -> MlmFamily:
    prefix = "cls.predictions"
    return MlmFamily(
        f"{prefix}.transform.dense",
        f"{prefix}.transform.LayerNorm",
        f"{prefix}.bias",
        config.hidden_act,
        config.layer_norm_eps,
    )


def _roberta(config: Any) -> MlmFamily:
    return MlmFamily("lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "gelu", config.layer_norm_eps)


def _albert(config: Any) -> MlmFamily:
    names = ("predictions.dense", "predictions.LayerNorm", "predictions.bias")
    return MlmFamily(*names, config.hidden_act, config.layer_norm_eps)


def _distilbert(config: Any) -> MlmFamily:
    return MlmFamily("vocab_transform", "vocab_layer_norm", "vocab_projector.bias", config.activation, 1e-12)


def _electra(config: Any) -> MlmFamily:
    names = ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias")
    return MlmFamily(*names, "gelu", config.layer_norm_eps)


def _deberta(config: Any) -> MlmFamily:
    if getattr(config, "legacy", True):
        return _bert(config)
    names = ("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm", "lm_predictions.lm_head.bias")
    return MlmFamily(*names, config.hidden_act, config.layer_norm_eps)


def _modernbert(config: Any) -> MlmFamily:
    return MlmFamily(
        "head.dense",
        "head.norm",
        "decoder.bias",
        config.classifier_activation,
        config.norm_eps,
        has_dense_bias=config.classifier_bias,
        has_norm_bias=config.norm_bias,
    )


FAMILIES: Mapping[str, Callable[[Any], MlmFamily]] = {
    "albert": _albert,
    "bert": _bert,
    "big_bird": _bert,
    "camembert": _roberta,
    "deberta": _deberta,
    "deberta-v2": _deberta,
    "distilbert": _distilbert,
    "electra": _electra,
    "longformer": _roberta,
    "megatron-bert": _bert,
    "modernbert": _modernbert,
    "mpnet": _roberta,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
}
"""Describes the head of each model family, by `model_type` of its configuration."""
