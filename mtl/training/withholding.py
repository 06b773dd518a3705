"""Withholds updates that are not finite or whose gradient is far too large; the host does not wait for the device.

The device decides: fused AdamW reads a flag in the device's memory and changes nothing where it is set, as a gradient
scaler has it do. The host reads which updates were marked where it reads the losses anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

WINDOW = 64
"""Number of updates whose gradient norms decide what a spike is."""

DEVIATIONS = 7.0
"""A spike is a norm above the mean of the window by more than this number of standard deviations."""

Spikes = Literal["allow", "clip", "skip"]


class Mark(IntEnum):
    """What was found in an update."""

    NONE = 0
    NOT_FINITE = 1
    SPIKE = 2


class MarkedUpdate(NamedTuple):
    """An update that was marked.

    Args:
        update: Number of the update, from 0.
        mark: Why it was marked.
    """

    update: int
    mark: Mark


class Withholding:
    """Guards the updates of an optimiser.

    Args:
        spikes: What happens to an update whose gradient norm is a spike: nothing, its gradient is clipped to the limit,
            or it is withheld.
    """

    def __init__(self, spikes: Spikes = "allow") -> None:
        self._spikes = spikes
        self._window = NormWindow()
        self._pending: list[tuple[int, Tensor]] = []

    def guard(
        self,
        optimizer: torch.optim.Optimizer,
        update: int,
        clip_norm: float | None = None,
        *,
        finite_loss: Tensor | None = None,
    ) -> None:
        """Makes the optimiser's next step change nothing if it must be withheld.

        Optimisers other than fused ones cannot do that. Their gradients are only clipped. An update without gradients,
        whose tasks have all stopped or have no targets, changes nothing anyway and is not looked at.

        Args:
            optimizer: The optimiser, after the backward pass.
            update: Number of the update.
            clip_norm: Norm to which the gradient is clipped; None does not clip it.
            finite_loss: Whether the loss of the update is finite, a scalar on the device; its gradient can be finite
                where the loss is not. None says nothing about the loss.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:  # their norm would be a zero on the host, and would lower the limit of spikes
            vars(optimizer).pop("found_inf", None)
            return
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        finite = norm.isfinite() if finite_loss is None else norm.isfinite() & finite_loss.to(norm.device)
        mark = (~finite).float() * Mark.NOT_FINITE
        limit = torch.full_like(norm, torch.inf)
        if self._spikes != "allow":
            limit = self._window.limit(norm)
            mark = mark + (finite & (norm > limit)).float() * Mark.SPIKE
            self._window.add(norm, counts=mark == Mark.NONE)
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        if self._spikes == "clip":
            clipped = norm if clip_norm is None else norm.clamp(max=clip_norm)
            nn.utils.clip_grads_with_norm_(parameters, cast(float, limit), clipped)
        if optimizer.defaults.get("fused"):
            withheld = mark == Mark.NOT_FINITE if self._spikes != "skip" else mark != Mark.NONE
            vars(optimizer)["found_inf"] = withheld.float()
            self._pending.append((update, mark))

    def note(self, update: int, finite_loss: Tensor) -> None:
        """Marks an update whose loss is not finite, where a gradient scaler withholds updates.

        Args:
            update: Number of the update.
            finite_loss: Whether its loss is finite, a scalar on the device.
        """
        self._pending.append((update, (~finite_loss).float() * Mark.NOT_FINITE))

    def take(self) -> list[MarkedUpdate]:
        """The updates that were marked since the last call. The host waits for the device."""
        if not self._pending:
            return []
        marks = torch.stack([mark for _, mark in self._pending]).tolist()
        updates = [update for update, _ in self._pending]
        self._pending = []
        return [MarkedUpdate(update, Mark(int(mark))) for update, mark in zip(updates, marks, strict=True) if mark]

    def state_dict(self) -> dict[str, Any]:
        """The norms with which a resumed run finds the same spikes; empty if spikes are allowed."""
        return {} if self._spikes == "allow" else self._window.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        if state:
            self._window.load_state_dict(state)


class NormWindow:
    """The gradient norms of the latest updates, kept on the device."""

    def __init__(self) -> None:
        self._norms = torch.zeros(WINDOW)
        self._count = torch.zeros(())

    def limit(self, norm: Tensor) -> Tensor:
        """The norm above which an update is a spike; infinite until the window is full.

        Args:
            norm: A norm, for its device and data type.
        """
        self._norms, self._count = self._norms.to(norm), self._count.to(norm)
        deviation, mean = torch.std_mean(self._norms)
        return torch.where(self._count < WINDOW, torch.inf, mean + DEVIATIONS * deviation)

    def add(self, norm: Tensor, *, counts: Tensor) -> None:
        """Adds the norm of an update.

        Args:
            norm: The norm.
            counts: Whether it belongs to the window, a scalar on the device.
        """
        place = torch.arange(WINDOW, device=norm.device) == self._count % WINDOW
        self._norms = torch.where(place & counts, norm, self._norms)
        self._count = self._count + counts

    def state_dict(self) -> dict[str, Any]:
        return {"norms": self._norms.tolist(), "count": float(self._count)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._norms, self._count = torch.tensor(state["norms"]), torch.tensor(state["count"])
