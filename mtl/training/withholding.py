"""Withholds updates whose gradient is not finite, without making the host wait for the device.

The device decides: fused AdamW reads a flag in the device's memory and changes nothing where it is set, as a gradient
scaler has it do. The host reads the number of withheld updates where it reads the losses anyway.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Withholding:
    """Counts the updates of an optimiser that were withheld because their gradient was not finite."""

    def __init__(self) -> None:
        self._count: Tensor | None = None

    def guard(self, optimizer: torch.optim.Optimizer, clip_norm: float | None = None) -> None:
        """Makes the optimiser's next step change nothing if its gradient is not finite.

        Optimisers other than fused ones cannot do that. Their gradients are only clipped.

        Args:
            optimizer: The optimiser, after the backward pass.
            clip_norm: Norm to which the gradient is clipped; None does not clip it.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        if optimizer.defaults.get("fused"):
            flag = 1 - norm.isfinite().float()
            vars(optimizer)["found_inf"] = flag
            self._count = flag if self._count is None else self._count + flag

    def take(self) -> int:
        """The number of updates that were withheld since the last call. The host waits for the device."""
        count = 0 if self._count is None else int(self._count.item())
        self._count = None
        return count
