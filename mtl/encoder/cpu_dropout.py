"""Fast dropout on a CPU, where torch draws its random numbers one by one.

Each element uses one random byte. With p = (k + f) / 256, a byte below k drops the element, a byte above k keeps it,
and a byte equal to k drops it with probability f, by an additional draw. The probability is therefore exactly p, with
an eighth of the random numbers. The bytes come from NumPy's SFC64, which is seeded from torch's generator in each call,
so the same `torch.manual_seed` gives the same draws, and a resumed run repeats the draws of an uninterrupted one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SMALLEST = 4096
"""Minimum number of elements for which this is faster than torch's own dropout."""

_WIDTHS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


class ByteDropout(nn.Dropout):
    """`nn.Dropout` that uses `byte_dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return byte_dropout(input, self.p) if self.training else input


def byte_dropout(values: Tensor, p: float) -> Tensor:
    """Zeroes each element with probability p and scales the others by 1 / (1 - p).

    Where bytes are not faster (other devices, few elements, unusual dtypes, compiled code with vectorized draws), this
    calls torch's own dropout.
    """
    if torch.compiler.is_compiling() or not 0 < p < 1 or values.device.type != "cpu":
        return torch.dropout(values, p, train=True)
    if values.numel() < SMALLEST or values.dtype not in _WIDTHS:
        return torch.dropout(values, p, train=True)
    dropped: Tensor = _ByteDropoutFunction.apply(values, p)  # type: ignore[no-untyped-call]  # torch has no types for it
    return dropped


def draw_kept(count: int, p: float) -> npt.NDArray[np.int8]:
    """A mask of `count` elements: 1 for elements that are kept, 0 for dropped ones."""
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
    """Replaces every `nn.Dropout` inside a module with `ByteDropout`."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, ByteDropout(child.p))
        else:
            replace_dropout(child)


class _ByteDropoutFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float) -> Tensor:
        ctx.kept, ctx.scale = draw_kept(values.numel(), p), 1 / (1 - p)
        return _masked(values, ctx.kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _masked(gradients[0], ctx.kept, ctx.scale), None


def _masked(values: Tensor, kept: npt.NDArray[np.int8], scale: float) -> Tensor:
    """The values times 0 or the scale. The mask multiplies their bits as integers, because NumPy has no bfloat16."""
    bits = values.contiguous().view(_WIDTHS[values.dtype]).numpy().reshape(-1)
    masked = np.multiply(bits, kept, out=np.empty_like(bits))
    return torch.from_numpy(masked).view(values.dtype).view(values.shape).mul_(scale)
