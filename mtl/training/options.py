"""The options of training: one class with all defaults, for the command line, studies and Python.

It decides no result of a run by itself: a run's key has the values.
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
        head_learning_rate: Peak learning rate of the heads; None takes that of the encoder.
        weight_decay: AdamW's decay of everything but biases and norms.
        warmup: Share of all updates in which the learning rates rise from 0, from 0 to 1.
        schedule: Learning rates after the warm-up: linear or cosine down to 0, or constant.
    """

    learning_rate: Positive = 5e-5
    head_learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    schedule: LearningRateSchedule = "linear"

    def resolved(self) -> Optimisation:
        """The same with the heads' learning rate filled in."""
        return self if self.head_learning_rate is not None else replace(self, head_learning_rate=self.learning_rate)
