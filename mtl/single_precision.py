"""Parts of a model that compute in fp32, regardless of the precision of the rest.

Heads and balancing cost little, and in bf16 a score has only 8 significant bits, so scores that should be ranked tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

import torch
from torch import Tensor, nn


class InSinglePrecision(nn.Module):
    """A mixin for modules that move to other devices with the rest but keep their own precision."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype != tensor.dtype else moved

        return cast(Self, cast(Any, super())._apply(move, recurse))


@contextmanager
def single_precision(device: torch.device) -> Iterator[None]:
    """A context without autocast and with float32 as the default dtype, which Lightning changes in true precisions.

    Args:
        device: Device of the computation.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_default_dtype(default)
