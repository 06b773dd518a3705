"""Attention over the sequences of a packed row, as an attention function of transformers.

On a GPU in 16-bit precision a kernel for sequences of different lengths runs (FlashAttention, in PyTorch itself).
Everywhere else attention pads the groups of the layout.

Shapes: N tokens, A attention heads, K heads of keys and values, D units per head, n sequences of a group, t tokens of
its longest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mtl.encoder.cpu_dropout import byte_dropout
from mtl.encoder.graphs import Places, kernel_obstacle
from mtl.encoder.packing import Group, Layout
from mtl.problems import InputError, Problem

NAME, CAUSAL_NAME = "biomtl_packed", "biomtl_packed_causal"

_WITHOUT_EFFECT = frozenset(
    {
        "cache_position",
        "deterministic",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)
"""Arguments without effect here: the layout already covers them, or they are for other kernels or for decoders."""


def register(*, causal: bool = False) -> str:
    """Registers this attention with transformers and returns its name there.

    Args:
        causal: Whether tokens attend only to themselves and to those before them.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    name = CAUSAL_NAME if causal else NAME
    AttentionInterface.register(name, partial(attention, causal=causal))
    AttentionMaskInterface.register(name, _no_mask)
    return name


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout keeps sequences apart."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the sizes of the groups differ in every batch
def attention(  # noqa: PLR0917  # the order is transformers'
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    layout: Layout,
    causal: bool = False,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attends from query [1, A, N, D] to key and value [1, K, N, D] within each sequence and returns [1, N, A, D].

    Args:
        module: The layer.
        query: Queries of all tokens.
        key: Keys; if K is less than A, adjacent query heads share one.
        value: Values.
        attention_mask: None.
        scaling: Factor on the scores; None takes 1 / sqrt(D).
        dropout: Probability with which the layer drops attention weights in training.
        layout: Where the sequences are; for the kernel, anything with `boundaries` and `longest`.
        causal: Whether tokens attend only to themselves and to those before them.
        sliding_window: Tokens attend to those less than this many places away; None attends to the whole sequence.
        others: Further arguments of transformers.

    Raises:
        InputError: The encoder passes an unsupported argument that would change the result.
    """
    _check_arguments(others)
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    dropout = dropout if module.training else 0.0
    # Rotary layers turn them in fp32, which under autocast is not the dtype of the values, and no kernel takes both.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if key.size(1) < query.size(1):
        key, value = (shared.repeat_interleave(query.size(1) // key.size(1), dim=1) for shared in (key, value))
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))  # [N, A, D]
    options: Any = {"scale": scale, "dropout": dropout, "window": sliding_window, "causal": causal}
    if _has_kernel(q, layout, sliding_window):
        return _varlen(q, k, v, layout, **options)[None], None
    by_group = zip(layout.split(q), layout.split(k), layout.split(v), layout.groups, strict=True)
    parts = [_attend(*states, **options) for states in by_group]
    return torch.cat(parts)[None], None


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    group: Group,
    *,
    scale: float,
    dropout: float,
    window: int | None,
    causal: bool,
) -> Tensor:
    """The result for the tokens of a group [tokens, A, D] from those of its queries, keys and values."""
    queries, keys, values = (group.heads_padded(states) for states in (q, k, v))  # [n, A, t, D]
    allowed = _allowed_before(group, window) if causal else _allowed(group, window)
    if q.device.type == "cpu":
        mixed = _on_cpu(queries, keys, values, allowed, scale=scale, dropout=dropout)
    else:
        mixed = scaled_dot_product_attention(queries, keys, values, allowed, dropout, scale=scale)
    return group.heads_packed(mixed)


def _on_cpu(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, *, scale: float, dropout: float
) -> Tensor:
    """Attention [n, A, t, D] as matrix products, with `byte_dropout`.

    PyTorch's fused attention has no CPU kernel with dropout and falls back to a slower version of this computation.
    """
    scores = torch.matmul(query * scale, key.transpose(2, 3))
    if allowed is not None:
        with torch.no_grad():  # the gradient at these places is zero anyway, because their probability is
            scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min)
    # Autocast would convert the probabilities to fp32, and the product below would convert them back.
    with torch.autocast("cpu", enabled=False):
        weights = torch.softmax(scores, dim=-1)
    if dropout:
        weights = byte_dropout(weights, dropout)
    return torch.matmul(weights, value)


def _allowed(group: Group, window: int | None) -> Tensor | None:
    """True where a token may attend to another [n or 1, 1, t or 1, t]; None if it may attend to all."""
    allowed = None if group.is_full else group.mask[:, None, None, :]
    if window is None or window >= group.longest:
        return allowed
    places = torch.arange(group.longest, device=group.mask.device)
    distance = (places[:, None] - places[None, :]).abs()[None, None]
    # A row of padding attends to itself: with nothing to attend to, its gradients would not be numbers.
    return distance < window if allowed is None else (distance < window) & (allowed | (distance == 0))


def _allowed_before(group: Group, window: int | None) -> Tensor | None:
    """As `_allowed`, for tokens that attend backwards only; padding follows all tokens, so no token attends to it."""
    if group.longest == 1:
        return None
    places = torch.arange(group.longest, device=group.mask.device)
    distance = (places[:, None] - places[None, :])[None, None]
    return (distance >= 0) & (distance < (group.longest if window is None else window))


def _has_kernel(q: Tensor, layout: Layout | Places, window: int | None) -> bool:
    return (
        q.device.type == "cuda"
        and q.dtype in (torch.bfloat16, torch.float16)
        # No GPU has verified its windows yet, so only graphs use them, which are off by default.
        and (window is None or isinstance(layout, Places))
        and kernel_obstacle(q.size(-1), q.device) is None
    )


def _varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout | Places,
    *,
    scale: float,
    dropout: float,
    window: int | None,
    causal: bool,
) -> Tensor:
    # The kernel counts how many places a token sees before and after itself.
    before = None if window is None else window - 1
    after = 0 if causal and window is not None else before
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        *(q, k, v, layout.boundaries, layout.boundaries, layout.longest, layout.longest, dropout, causal, False),
        scale=scale,
        window_size_left=before,
        window_size_right=after,
    )[0]
    return mixed


def _check_arguments(others: Mapping[str, Any]) -> None:
    unknown = sorted(name for name, value in others.items() if value is not None and name not in _WITHOUT_EFFECT)
    if unknown:
        message = f"The implementation of `auto` does not support {', '.join(unknown)}, which this encoder needs."
        raise InputError(Problem("encoder.attention", message, "Set it to eager."))
