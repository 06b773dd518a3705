"""FlashAttention for sequences of different lengths on a CPU, with the arguments of PyTorch's operator for a GPU."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the operator of PyTorch, which exists on a GPU only."""
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash_attention_forward)


def flash_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cum_seq_q: Tensor,
    cum_seq_k: Tensor,
    max_q: int,
    max_k: int,
    dropout_p: float,
    is_causal: bool,
    return_debug_mask: bool,
    *,
    scale: float,
    window_size_left: int | None = None,
    window_size_right: int | None = None,
) -> tuple[Tensor]:
    """The result [N, A, D], one sequence after the other.

    A token sees `window_size_left` places before itself and `window_size_right` after itself; None does not limit them.
    """
    assert cum_seq_q is cum_seq_k
    assert (dropout_p, return_debug_mask) == (0.0, False)
    parts = []
    for start, stop in itertools.pairwise(cum_seq_q.tolist()):
        assert stop - start <= max_q == max_k
        places = torch.arange(stop - start)
        distance = places[None, :] - places[:, None]  # of the token that is seen from the one that sees
        seen = torch.ones_like(distance, dtype=torch.bool)
        if window_size_left is not None:
            seen &= distance >= -window_size_left
        if window_size_right is not None or is_causal:
            seen &= distance <= (0 if is_causal else window_size_right)
        scores = torch.einsum("iad,jad->aij", query[start:stop], key[start:stop]) * scale
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        parts.append(torch.einsum("aij,jad->iad", weights, value[start:stop]))
    return (torch.cat(parts),)
