"""Dropout that is quick on a CPU, where torch draws its random numbers one by one.

A byte decides an element: with p = (k + f) / 256, a byte below k drops, a byte above k keeps, and a byte equal to k
drops with probability f by a draw of its own. So the probability is exactly p, at an eighth of the random numbers.
The bytes come from NumPy's SFC64, seeded for each call from torch's generator: the same `torch.manual_seed` gives the
same draws, and a run that is resumed draws what it would have drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SMALLEST = 4096
"""Elements from which on bytes are quicker than torch's own draws."""

_WIDTHS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


class ByteDropout(nn.Dropout):
    """`nn.Dropout`, drawn by bytes where that is quicker."""

    def forward(self, input: Tensor) -> Tensor:
        return byte_dropout(input, self.p) if self.training else input


def byte_dropout(values: Tensor, p: float) -> Tensor:
    """Zeroes each element with probability p and scales the others by 1 / (1 - p).

    Where bytes are no quicker (another device, few elements, an unusual type, compiled code, which draws in vectors)
    this is torch's own dropout.
    """
    if torch.compiler.is_compiling() or not 0 < p < 1 or values.device.type != "cpu":
        return torch.dropout(values, p, train=True)
    if values.numel() < SMALLEST or values.dtype not in _WIDTHS:
        return torch.dropout(values, p, train=True)
    dropped: Tensor = _ByteDropout.apply(values, p)  # type: ignore[no-untyped-call]
    return dropped


def draw_kept(count: int, p: float) -> npt.NDArray[np.int8]:
    """Which of some elements are kept, as 0 and 1."""
    seed = int(torch.randint(2**62, ()).item())
    source = np.random.SFC64(seed)
    words: npt.NDArray[np.uint64] = source.random_raw(-(-count // 8))
    drawn = words.view(np.uint8)[:count]
    threshold, remainder = divmod(p * 256, 1)
    kept = drawn > int(threshold)
    ties = np.flatnonzero(drawn == int(threshold))
    kept[ties] = np.random.Generator(source).random(len(ties)) >= remainder
    return kept.view(np.int8)


def replace_dropout(module: nn.Module) -> None:
    """Puts `ByteDropout` in place of every `nn.Dropout` below a module."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, ByteDropout(child.p))
        else:
            replace_dropout(child)


class _ByteDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float) -> Tensor:
        ctx.kept, ctx.scale = draw_kept(values.numel(), p), 1 / (1 - p)
        return _masked(values, ctx.kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _masked(gradients[0], ctx.kept, ctx.scale), None


def _masked(values: Tensor, kept: npt.NDArray[np.int8], scale: float) -> Tensor:
    """Each value times 0 or the scale; the mask is multiplied onto bits read as integers, as NumPy has no bfloat16."""
    bits = values.contiguous().view(_WIDTHS[values.dtype]).numpy().reshape(-1)
    masked = np.multiply(bits, kept, out=np.empty_like(bits))
    return torch.from_numpy(masked).view(values.dtype).view(values.shape).mul_(scale)
