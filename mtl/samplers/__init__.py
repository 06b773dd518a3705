"""Which task, or tasks, each step trains: one file per sampler.

A sampler is a pure function of (sizes, seed, epoch). So a resumed or repeated run sees the same order, all ranks agree
without communicating, and the number of steps is known before training starts. The batcher decides which examples a
step trains on.

A new sampler is a new file here with one subclass of `Sampler`; its file name is its name in YAML.

Shapes: S steps of an epoch, K tasks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mtl.problems import InputError, Problem
from mtl.seeding import stream

FloatArray = npt.NDArray[np.float64]


class RateChange(NamedTuple):
    """A new rate of a task.

    Args:
        epoch: Number of the epoch, from 0.
        step: First step of that epoch with the new rate.
        rate: The rate, at least 0.
    """

    epoch: int
    step: int
    rate: float


class TaskSize(NamedTuple):
    """What a sampler may know about a task.

    Args:
        examples: Number of training examples.
        batches: Number of batches in one pass over them.
        rate: Sampling rate that the mixture sets; None if it sets none.
        rate_changes: Later rates that the mixture sets, in their order.
    """

    examples: int
    batches: int
    rate: float | None = None
    rate_changes: tuple[RateChange, ...] = ()


class Sampler(ABC):
    """Chooses the task of every step.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for, fractional if it ends within an epoch. Only samplers
            that change over time use it.

    The options of a sampler are the keyword-only arguments that its `__init__` adds. It must raise an `InputError`
    under the key ``sampler.<option>`` for an invalid value.
    """

    uses_rates: bool = True
    """Whether the rates that a mixture and its curriculum set have an effect; if not, setting one is a problem."""

    fills_steps: bool = False
    """Whether each step trains every task if the mixture asks for all tasks per step; if not, some steps hold fewer."""

    def __init__(self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: float) -> None:
        self.sizes = dict(sizes)
        self.seed = seed
        self.num_epochs = num_epochs

    @property
    def measured(self) -> list[str]:
        """The tasks whose sizes decide the default length of a training."""
        return list(self.sizes)

    @abstractmethod
    def epoch(self, epoch: int) -> list[str]:
        """The task of each step of an epoch, in order; it depends only on the sampler's arguments and the epoch.

        Args:
            epoch: Number of the epoch, from 0.
        """

    def steps_per_epoch(self, epoch: int) -> int:
        """The exact number of steps of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
        """
        return len(self.epoch(epoch))

    def mixed_epoch(self, epoch: int, tasks_per_step: int) -> list[tuple[str, ...]]:
        """The tasks of each step of an epoch if a step trains several different tasks.

        By default the batches of `epoch` are assigned evenly to shuffled steps, so that an epoch trains the same
        batches as without mixing. If one task has more batches than there would be steps, there are as many steps as
        it has batches, and they hold fewer tasks.

        Args:
            epoch: Number of the epoch, from 0.
            tasks_per_step: Largest number of tasks per step, at most the number of tasks.
        """
        counts = Counter(self.epoch(epoch))
        num_steps = self.mixed_steps_per_epoch(tasks_per_step)
        return assigned(counts, num_steps, stream(self.seed, "mixed", epoch))

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        """The exact number of steps of every epoch if a step trains several tasks.

        Args:
            tasks_per_step: Largest number of tasks per step.
        """
        return max(math.ceil(self.steps_per_epoch(0) / tasks_per_step), self._most_batches)

    @cached_property
    def _most_batches(self) -> int:
        """The largest number of batches of one task in one planned epoch."""
        epochs = range(max(1, math.ceil(self.num_epochs)))
        return max(count for epoch in epochs for count in Counter(self.epoch(epoch)).values())

    def rates(self) -> dict[str, float]:
        """Each task's expected share of the steps of the first epoch; the shares add up to 1."""
        tasks = self.epoch(0)
        return {name: tasks.count(name) / len(tasks) for name in self.sizes}


class RandomSampler(Sampler):
    """Draws the task of every step with a probability proportional to its rate.

    An epoch has as many steps as one pass over all tasks has batches, unless `steps_per_epoch` is set; the batches of a
    task continue where the last epoch stopped, pass after pass. If `uses_rates` is True, a rate that the mixture sets
    replaces the computed one. The tasks of a step of several tasks are drawn without replacement, and an epoch then has
    as many steps as the same number of batches needs.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        steps_per_epoch: Number of steps per epoch; None takes the number of batches in one pass over all tasks.

    Raises:
        InputError: `steps_per_epoch` or a rate of the mixture is not a finite number above 0, or an epoch has more than
            `MOST_STEPS` steps.
    """

    fills_steps = True

    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        seed: int,
        num_epochs: float,
        *,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(sizes, seed, num_epochs)
        require_positive({"sampler.steps_per_epoch": steps_per_epoch}, most=MOST_STEPS)
        if self.uses_rates:
            require_positive({f"tasks.{name}.rate": size.rate for name, size in self.sizes.items()})
        self._written_steps = steps_per_epoch
        self._num_steps = num_batches(self.sizes) if steps_per_epoch is None else steps_per_epoch

    @abstractmethod
    def weights(self, progress: FloatArray) -> npt.ArrayLike:
        """The rate of each task, in the order of `sizes`.

        Args:
            progress: Fraction of the planned training before each step [S, 1], from 0 to 1.

        Returns:
            The rates [S, K], or [K] if they do not change.
        """

    def epoch(self, epoch: int) -> list[str]:
        draws = stream(self.seed, "sampler", epoch).random(self._num_steps)
        # The index of a step's task is the number of borders between the tasks' shares of [0, 1) at or below its draw.
        ends = self._shares(epoch, self._num_steps).cumsum(axis=1)  # [S or 1, K]
        # No draw may lie beyond the last task with a share: rounding can leave its end below 1.
        borders = np.where(ends == ends[:, -1:], 1.0, ends)[:, :-1]
        return _names(self.sizes, (borders <= draws[:, None]).sum(axis=1))

    def steps_per_epoch(self, epoch: int) -> int:
        return self._num_steps

    def mixed_epoch(self, epoch: int, tasks_per_step: int) -> list[tuple[str, ...]]:
        # Adding Gumbel noise to the logarithms of the rates and taking the largest draws without replacement
        # (Kool et al. 2019, https://arxiv.org/abs/1903.06059, section 2.3).
        num_steps = self.mixed_steps_per_epoch(tasks_per_step)
        noise = stream(self.seed, "sampler", epoch).gumbel(size=(num_steps, len(self.sizes)))
        with np.errstate(divide="ignore"):
            keys = np.log(self._shares(epoch, num_steps)) + noise  # [S, K], -inf for tasks without a share
        drawn = np.sort(np.argsort(-keys, axis=1)[:, :tasks_per_step], axis=1)  # [S, tasks of a step]
        return [tuple(_names(self.sizes, step[own[step] > -np.inf])) for step, own in zip(drawn, keys, strict=True)]

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        return self._written_steps or math.ceil(num_batches(self.sizes) / tasks_per_step)

    def rates(self) -> dict[str, float]:
        return dict(zip(self.sizes, self._shares(0, self._num_steps).mean(axis=0).tolist(), strict=True))

    def _progress(self, epoch: int, num_steps: int) -> FloatArray:
        """The fraction of the planned training before each step [S]."""
        done: FloatArray = (epoch + np.arange(num_steps) / num_steps) / (self.num_epochs or 1.0)
        return done.clip(max=1.0)

    def _shares(self, epoch: int, num_steps: int) -> FloatArray:
        """The tasks' shares at the steps of an epoch [S, K]; [1, K] if they do not change."""
        progress = self._progress(epoch, num_steps)
        weights = np.atleast_2d(np.array(self.weights(progress[:, None]), dtype=np.float64))
        if self.uses_rates and any(size.rate_changes for size in self.sizes.values()):
            weights = np.repeat(weights, num_steps // len(weights), axis=0)
        for column, size in enumerate(self.sizes.values()):
            if self.uses_rates and size.rate is not None:
                weights[:, column] = size.rate
            for change in size.rate_changes if self.uses_rates else ():
                if change.epoch <= epoch:
                    weights[change.step if change.epoch == epoch else 0 :, column] = change.rate
        if not np.isfinite(weights.sum(axis=1)).all():
            raise InputError(Problem("sampler", "must give finite rates, got one that overflows."))
        shares: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return shares


def num_batches(sizes: Mapping[str, TaskSize]) -> int:
    """The number of batches of one pass over all tasks."""
    return sum(size.batches for size in sizes.values())


MOST_STEPS = 10_000_000
"""Maximum number of steps of an epoch, whose order is held in memory."""


def require_positive(values: Mapping[str, float | None], most: float | None = None) -> None:
    """Checks that all values are finite numbers above 0; None is allowed.

    Args:
        values: Values by key.
        most: The largest value that is allowed; None allows all.

    Raises:
        InputError: Some values are not; each is listed with its key.

    >>> require_positive({"sampler.temperature": -1.0, "sampler.max_examples": None})
    Traceback (most recent call last):
    mtl.problems.InputError: sampler.temperature: must be a finite number above 0, got -1.0.
    """
    wrong = {key: value for key, value in values.items() if value is not None and not 0 < value < math.inf}
    if wrong:
        rule = "must be a finite number above 0"
        raise InputError([Problem(key, f"{rule}, got {value!r}.") for key, value in wrong.items()])
    above = {key: value for key, value in values.items() if value is not None and most is not None and value > most}
    if above:
        raise InputError([Problem(key, f"must be at most {most}, got {value!r}.") for key, value in above.items()])


def shuffled(counts: Mapping[str, int], rng: np.random.Generator) -> list[str]:
    """Each task as often as its count, in random order."""
    return _names(counts, rng.permutation(np.repeat(np.arange(len(counts)), list(counts.values()))))


def assigned(counts: Mapping[str, int], num_steps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Batches assigned at random to steps of different tasks, all with the same number of tasks or one more.

    Batches are assigned to the steps in turn, task by task, which puts no task into a step twice, because no task has
    more batches than there are steps.

    Args:
        counts: Number of batches of each task.
        num_steps: Number of steps.
        rng: Generator of the order.

    >>> sorted(len(step) for step in assigned({"a": 3, "b": 2, "c": 1}, 4, np.random.default_rng(0)))
    [1, 1, 2, 2]
    """
    most = max(counts.values())
    assert most <= num_steps, f"{num_steps} steps cannot hold {most} batches of one task"
    names = list(counts)
    batches = [names[i] for i in rng.permutation(len(names)) for _ in range(counts[names[i]])]
    order = rng.permutation(num_steps)
    steps: list[list[str]] = [[] for _ in range(num_steps)]
    for number, name in enumerate(batches):
        steps[order[number % num_steps]].append(name)
    return [tuple(step) for step in steps]


def _names(tasks: Mapping[str, object], indices: npt.NDArray[np.integer]) -> list[str]:
    names = list(tasks)
    return [names[index] for index in indices.tolist()]
