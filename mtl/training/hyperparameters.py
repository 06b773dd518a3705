"""Learning rates, weight decay, warm-up, schedule and averaging, with their defaults for the command line, studies and
Python.

The class itself decides no result of a run, because the key of a run includes the values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from mtl.training.learning_rates import default_rate

DECIDES_RESULTS = False

LearningRateSchedule = Literal["linear", "cosine", "constant", "warmup_stable_decay", "inverse_sqrt"]

DECAY = 0.1
"""Default fraction of the updates of a final decay."""

Convention = Literal["zhang", "electra"]

Average = Literal["ema", "mean"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Optimisation:
    """How the weights are trained.

    Args:
        learning_rate: Peak learning rate of the encoder; None takes the default for its entry in the
            catalogue or its size, which `mtl check` shows.
        head_learning_rate: Peak learning rate of the heads; None takes the encoder's.
        weight_decay: AdamW's weight decay of everything except biases and norms.
        warmup: Updates over which the learning rates rise from 0 to their peaks: up to 1 a fraction of all updates,
            above 1 their number.
        schedule: Learning rates after the warm-up: linear or cosine decay to 0; constant; `warmup_stable_decay`,
            constant and then a decay (Hägele et al. 2024); or `inverse_sqrt`, a decay that needs no end.
        decay: Fraction of all updates, from 0 to 1, over which `warmup_stable_decay` decays at the end, by 1 - sqrt;
            None is 0.1.
        decay_to: Fraction of the peak at which that decay ends; None is 0.
        layer_decay: Factor on the learning rate from each layer of the encoder to the one below it, such as 0.95; None
            trains all layers at the same rate.
        layer_decay_convention: Rate of the top layer with `layer_decay`: `zhang` (None) once the factor times the
            learning rate (Zhang et al. 2021), `electra` twice (Clark et al. 2020).
        average: Average of the weights that is evaluated and saved: `ema`, an exponential moving average, or `mean`,
            an equally weighted one; None uses the latest weights.
        average_decay: Decay of `ema` per update; None is 0.99.
        average_start: Fraction of all updates, from 0 to 1, after which averaging starts; None is 0 for `ema` and 0.75
            for `mean`. Evaluations before that use the latest weights.
        average_last: Number of epochs at whose ends `mean` takes the weights, the last ones, as an average of the last
            checkpoints does (Luo et al. 2022); None takes them after every update from `average_start` on.
    """

    learning_rate: Positive | None = None
    head_learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    warmup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    schedule: LearningRateSchedule = "linear"
    decay: Annotated[float, Field(gt=0, le=1)] | None = None
    decay_to: Annotated[float, Field(ge=0, lt=1)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    layer_decay_convention: Convention | None = None
    average: Average | None = None
    average_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    average_start: Annotated[float, Field(ge=0, lt=1)] | None = None
    average_last: Annotated[int, Field(ge=1)] | None = None

    @field_validator("warmup")
    @classmethod
    def _is_fraction_or_number(cls, warmup: float) -> float:
        if warmup > 1 and not warmup.is_integer():
            raise ValueError("warmup must be a fraction up to 1, or a whole number of updates above 1")
        return warmup

    @model_validator(mode="after")
    def _has_no_idle_setting(self) -> Optimisation:
        if self.layer_decay is None and self.layer_decay_convention is not None:
            raise ValueError("layer_decay_convention has no effect without layer_decay")
        if self.schedule != "warmup_stable_decay" and (self.decay is not None or self.decay_to is not None):
            raise ValueError("decay and decay_to have no effect without schedule: warmup_stable_decay")
        if self.schedule == "warmup_stable_decay" and self.warmup <= 1 < self.warmup + (self.decay or DECAY):
            raise ValueError("warmup and decay must be at most 1 together")
        if self.average is None and (self.average_decay is not None or self.average_start is not None):
            raise ValueError("average_decay and average_start have no effect without average")
        if self.average == "mean" and self.average_decay is not None:
            raise ValueError("average_decay has no effect with average: mean")
        if self.average_last is not None and (self.average != "mean" or self.average_start is not None):
            raise ValueError("average_last needs average: mean, and replaces average_start")
        return self

    def warmup_updates(self, total: int) -> int:
        """The number of updates of the warm-up in a training of `total` updates.

        >>> Optimisation(warmup=0.1).warmup_updates(5000), Optimisation(warmup=100).warmup_updates(5000)
        (500, 100)
        """
        return round(self.warmup if self.warmup > 1 else self.warmup * total)

    def resolved(self, hidden_size: int | None = None, encoder: str = "") -> Optimisation:
        """The same settings with both learning rates filled in.

        Args:
            hidden_size: Hidden size of the encoder; needed if there is no `learning_rate`.
            encoder: Its name in the mixture, whose entry in the catalogue may have a default of its own.

        >>> Optimisation(head_learning_rate=1e-3).resolved(384).learning_rate
        0.00015
        """
        rate = self.learning_rate
        if rate is None:
            assert hidden_size is not None, "the default learning rate depends on the hidden size"
            rate = default_rate(hidden_size, encoder).learning_rate
        heads = rate if self.head_learning_rate is None else self.head_learning_rate
        return replace(self, learning_rate=rate, head_learning_rate=heads)
