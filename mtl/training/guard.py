"""What happens to updates that would harm a training, with defaults for the command line and Python."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mtl.training.withholding import Spikes

DECIDES_RESULTS = False


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Guard:
    """What happens to updates that would harm a training.

    An update whose loss or gradient is not finite never changes weights or the state of the optimiser. The schedule of
    the learning rate continues as if the update had been done.

    Args:
        nonfinite: Whether such an update ends the training (stop) or is left out (skip).
        limit: Number of updates that may be left out before the training ends.
        spikes: What happens to an update whose gradient norm is above the mean of the last 64 by more than 7 standard
            deviations: nothing (allow), its gradient is scaled down to that limit (clip), or it is left out (skip).
    """

    nonfinite: Literal["stop", "skip"] = "stop"
    limit: Annotated[int, Field(ge=0)] = 20
    spikes: Spikes = "allow"
