"""Attention for training on a CPU: matrix products in the precision of the queries, with `byte_dropout`.

PyTorch's fused attention has no CPU kernel with dropout and falls back to a slower version of this computation.

Shapes: B examples, A attention heads, K heads of keys and values, T tokens, D units per head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtl.encoder.cpu_dropout import byte_dropout
from mtl.problems import InputError, Problem

NAME = "biomtl_cpu"

_WITHOUT_EFFECT = frozenset(
    {
        "cache_position",
        "deterministic",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "position_ids",
        "return_dict",
        "sliding_window",
        "use_cache",
    }
)
"""Arguments without effect here: the mask already covers them, or they are for other kernels or for decoders."""


def register() -> str:
    """Registers this attention with transformers and returns its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    return NAME


def attention(  # noqa: PLR0917  # the order is transformers'
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attends from query [B, A, T, D] to key and value [B, K, T, D] and returns [B, T, A, D].

    If K is less than A, adjacent query heads share a key and value head. `attention_mask` [B, 1, T, T] is added to the
    scores. The signature is that of the attention functions of transformers.

    Raises:
        InputError: The encoder passes an unsupported argument that would change the result.
    """
    check_arguments(others)
    if key.size(1) < query.size(1):
        key, value = (shared.repeat_interleave(query.size(1) // key.size(1), dim=1) for shared in (key, value))
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    dropout = dropout if module.training else 0.0
    return attend(query, key, value, attention_mask, scale, dropout).transpose(1, 2).contiguous(), None


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float
) -> Tensor:
    """The values [B, A, T, D], averaged by attention.

    Args:
        query: Queries [B, A, T, D].
        key: Keys [B, A, T, D].
        value: Values [B, A, T, D].
        mask: True where a query may attend to a key, or numbers to add to the scores, of a shape that expands to
            [B, A, T, T]; None lets every query attend to every key.
        scaling: Factor on the scores.
        dropout: Probability of dropping an attention weight.
    """
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask.to(scores.dtype)
    # Autocast would convert the probabilities to fp32, and the product below would convert them back.
    with torch.autocast("cpu", enabled=False):
        weights = torch.softmax(scores, dim=-1)
    if dropout:
        weights = byte_dropout(weights, dropout)
    return torch.matmul(weights, value)


def check_arguments(others: Mapping[str, Any]) -> None:
    """Checks that an encoder passes no argument to its attention that we do not support.

    Raises:
        InputError: It does, and the argument would change the result.
    """
    unknown = sorted(name for name, value in others.items() if value is not None and name not in _WITHOUT_EFFECT)
    if unknown:
        message = f"The implementation of `auto` does not support {', '.join(unknown)}, which this encoder needs."
        raise InputError(Problem("encoder.attention", message, "Set it to eager."))
