"""Learning rates, weight decay, warm-up and schedule, with their defaults for the command line, studies and Python.

The class itself decides no result of a run, because the key of a run includes the values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

DECIDES_RESULTS = False

LearningRateSchedule = Literal["linear", "cosine", "constant"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Optimisation:
    """How the weights are trained.

    Args:
        learning_rate: Peak learning rate of the encoder.
        head_learning_rate: Peak learning rate of the heads; None takes the encoder's.
        weight_decay: AdamW's weight decay of everything except biases and norms.
        warmup: Fraction of all updates, from 0 to 1, over which the learning rates rise from 0 to their peaks.
        schedule: Learning rates after the warm-up: linear or cosine decay to 0, or constant.
    """

    learning_rate: Positive = 5e-5
    head_learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    schedule: LearningRateSchedule = "linear"

    def resolved(self) -> Optimisation:
        """The same settings with the learning rate of the heads filled in."""
        return self if self.head_learning_rate is not None else replace(self, head_learning_rate=self.learning_rate)
