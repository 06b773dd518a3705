"""Attention for training on a CPU: plain matrix products in the precision of the queries, dropout by bytes.

PyTorch's fused attention has no CPU kernel with dropout, and falls back to a slower form of what stands here.

Shapes: B examples, A attention heads, K heads of keys and values, T tokens, D units of a head.
"""

from __future__ import annotations

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
"""Arguments that change no state: the mask holds what they hide, or they are for other kernels or for decoders."""


def register() -> str:
    """Makes this attention known to transformers and gives its name there."""
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
    """Attends from query [B, A, T, D] to key and value [B, K, T, D]; gives [B, T, A, D].

    Where K is less than A, neighbouring queries share a key and its value. `attention_mask` [B, 1, T, T] is added to
    the scores. The arguments are those of transformers' own functions.

    Raises:
        InputError: The encoder asks for something else that would change the result.
    """
    unknown = sorted(name for name, value in others.items() if value is not None and name not in _WITHOUT_EFFECT)
    if unknown:
        message = f"What `auto` takes on a CPU can't do all that this encoder needs; found {', '.join(unknown)}."
        raise InputError(Problem("encoder.attention", message, "Set it to eager."))
    if key.size(1) < query.size(1):
        key, value = (shared.repeat_interleave(query.size(1) // key.size(1), dim=1) for shared in (key, value))
    scores = torch.matmul(query * (query.size(-1) ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask.to(scores.dtype)
    # Autocast would turn the probabilities to fp32, and the product below would turn them back.
    with torch.autocast("cpu", enabled=False):
        shares = torch.softmax(scores, dim=-1)
    if dropout and module.training:
        shares = byte_dropout(shares, dropout)
    return torch.matmul(shares, value).transpose(1, 2).contiguous(), None
