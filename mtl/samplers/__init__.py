"""Which task the next step trains: one file per rule.

A sampler is a pure function of (sizes, seed, epoch), so that a resumed or repeated run sees the same order, all
ranks agree without talking, and the number of steps is known before training starts. It says which task a step
trains; which examples that is, is the batcher's business.

A new sampler is a new file here with one subclass of `Sampler`; its file name is its name in YAML.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mtl.seeding import stream


class TaskSize(NamedTuple):
    """What a sampler may know of a task: its training examples, the batches of one pass, and a written rate."""

    examples: int
    batches: int
    rate: float | None = None


class Sampler(ABC):
    """Plans the task of every step.

    Args:
        sizes: The tasks in the order of the mixture.
        seed: Of the run.
        num_epochs: How many epochs the run is planned for; only samplers that change over time use it.

    Options of a sampler are the keyword-only arguments that its own `__init__` adds.
    """

    uses_rates: bool = True
    """Whether a rate written in the mixture has an effect; if not, writing one is a fault."""

    def __init__(self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: int) -> None:
        self.sizes = dict(sizes)
        self.seed = seed
        self.num_epochs = num_epochs

    @abstractmethod
    def epoch(self, epoch: int) -> list[str]:
        """The task of each step of an epoch, in order: the same for the same seed and epoch, whenever asked."""

    def steps_per_epoch(self, epoch: int) -> int:
        """The exact number of steps of an epoch."""
        return len(self.epoch(epoch))

    def rates(self) -> dict[str, float]:
        """Each task's expected share of the steps of the first epoch; the shares add up to 1."""
        tasks = self.epoch(0)
        return {name: tasks.count(name) / len(tasks) for name in self.sizes}


class RandomSampler(Sampler):
    """Draws the task of every step with a probability in proportion to its rate.

    An epoch is as many steps as one pass over all tasks has batches, unless `steps_per_epoch` says otherwise; a
    task's batches go on where the last epoch stopped, pass after pass.

    Args:
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.
    """

    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        seed: int,
        num_epochs: int,
        *,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(sizes, seed, num_epochs)
        self._num_steps = steps_per_epoch or sum(size.batches for size in self.sizes.values())

    @abstractmethod
    def weights(self, progress: float) -> Sequence[float]:
        """The rate of each task, in the order of `sizes`, at a share of the planned training in [0, 1)."""

    def epoch(self, epoch: int) -> list[str]:
        rng = stream(self.seed, "sampler", epoch)
        names = list(self.sizes)
        progress = (epoch + np.arange(self._num_steps) / self._num_steps) / max(self.num_epochs, 1)
        draws = rng.random(self._num_steps)
        return [names[self._pick(p, u)] for p, u in zip(progress, draws, strict=True)]

    def steps_per_epoch(self, epoch: int) -> int:
        return self._num_steps

    def rates(self) -> dict[str, float]:
        shares = self._shares(0.0)
        return dict(zip(self.sizes, shares.tolist(), strict=True))

    def _pick(self, progress: float, draw: float) -> int:
        return int(np.searchsorted(np.cumsum(self._shares(progress))[:-1], draw, side="right"))

    def _shares(self, progress: float) -> npt.NDArray[np.float64]:
        written = [size.rate for size in self.sizes.values()]
        computed = self.weights(progress)
        weights = np.array([c if w is None else w for w, c in zip(written, computed, strict=True)], dtype=float)
        shares: npt.NDArray[np.float64] = weights / weights.sum()
        return shares
