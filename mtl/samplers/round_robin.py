"""One task after the other, in the order of the mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mtl.samplers import Sampler, TaskSize, num_batches, require_positive


class RoundRobin(Sampler):
    """Cycles through the tasks in the order of the mixture.

    An epoch has as many steps as one pass over all tasks has batches, so that it costs as much as an epoch of the other
    samplers. The next epoch continues with the task whose turn it is. All tasks get the same number of steps (give or
    take one), so an epoch repeats small tasks and covers large ones only partly. Nothing is random: the order is the
    same for every seed.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        steps_per_epoch: Number of steps per epoch; None takes the number of batches in one pass over all tasks.

    Raises:
        InputError: `steps_per_epoch` is not above 0.

    >>> sampler = RoundRobin({"gad": TaskSize(64, 2), "rqe": TaskSize(100, 3)}, seed=1, num_epochs=3)
    >>> sampler.epoch(0), sampler.epoch(1)
    (['gad', 'rqe', 'gad', 'rqe', 'gad'], ['rqe', 'gad', 'rqe', 'gad', 'rqe'])
    """

    uses_rates = False
    fills_steps = True

    def __init__(
        self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: float, *, steps_per_epoch: int | None = None
    ) -> None:
        super().__init__(sizes, seed, num_epochs)
        require_positive({"sampler.steps_per_epoch": steps_per_epoch})
        self._written_steps = steps_per_epoch
        self._num_steps = num_batches(self.sizes) if steps_per_epoch is None else steps_per_epoch

    def epoch(self, epoch: int) -> list[str]:
        names = list(self.sizes)
        first = epoch * self._num_steps
        return [names[step % len(names)] for step in range(first, first + self._num_steps)]

    def steps_per_epoch(self, epoch: int) -> int:
        return self._num_steps

    def mixed_epoch(self, epoch: int, tasks_per_step: int) -> list[tuple[str, ...]]:
        names = list(self.sizes)
        num_steps = self.mixed_steps_per_epoch(tasks_per_step)
        firsts = range(epoch * num_steps * tasks_per_step, (epoch + 1) * num_steps * tasks_per_step, tasks_per_step)
        return [tuple(names[turn % len(names)] for turn in range(first, first + tasks_per_step)) for first in firsts]

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        return self._written_steps or math.ceil(num_batches(self.sizes) / tasks_per_step)
