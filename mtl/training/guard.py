"""What happens to updates that would harm a training, with defaults for the command line and Python."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mtl.problems import Problem
from mtl.training.withholding import Spikes

DECIDES_RESULTS = False


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Guard:
    """What happens to updates that would harm a training.

    An update whose loss or gradient is not finite never changes weights or the state of the optimiser. The schedule of
    the learning rate continues as if the update had been done.

    Args:
        nonfinite: Whether such an update ends the training (stop) or is left out (skip).
        limit: Number of updates that may be left out, for either reason, before the training ends.
        spikes: What happens to an update whose gradient norm is above the mean of the last 64 by more than 7 standard
            deviations: nothing (allow), its gradient is scaled down to that limit (clip), or it is left out (skip).
    """

    nonfinite: Literal["stop", "skip"] = "stop"
    limit: Annotated[int, Field(ge=0)] = 20
    spikes: Spikes = "allow"

    def problems(self, precision: str) -> list[Problem]:
        """What keeps this from working in a precision, in Lightning's spelling."""
        if precision != "16-mixed" or self.spikes == "allow":
            return []
        message = f"must be allow with trainer.precision=16-mixed, whose scale changes all norms; got {self.spikes}."
        return [Problem("guard.spikes", message, "Use bf16-mixed or 32-true.")]
