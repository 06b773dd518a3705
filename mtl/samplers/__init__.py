"""Which task the next step trains: one file per rule.

A sampler is a pure function of (sizes, seed, epoch), so that a resumed or repeated run sees the same order, all
ranks agree without talking, and the number of steps is known before training starts. It says which task a step
trains, or which tasks where a step trains several; which examples that is, is the batcher's business.

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
        num_epochs: How many epochs the run is planned for, with the share of a last one that is cut short; only
            samplers that change over time use it.

    Options of a sampler are the keyword-only arguments that its own `__init__` adds. An option whose value can't be
    used raises an `InputError` under the key ``sampler.<option>``.
    """

    uses_rates: bool = True
    """Whether a rate written in the mixture has an effect; if not, writing one is a problem."""

    def __init__(self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: float) -> None:
        self.sizes = dict(sizes)
        self.seed = seed
        self.num_epochs = num_epochs

    @abstractmethod
    def epoch(self, epoch: int) -> list[str]:
        """The task of each step of an epoch, in order: the same for the same seed and epoch, whenever asked."""

    def steps_per_epoch(self, epoch: int) -> int:
        """The exact number of steps of an epoch."""
        return len(self.epoch(epoch))

    def mixed_epoch(self, epoch: int, tasks_per_step: int) -> list[tuple[str, ...]]:
        """The tasks of each step of an epoch where a step trains several, each another one.

        Here the batches of `epoch` are dealt out evenly to shuffled steps, so that an epoch trains the same batches
        as without mixing. Where one task has more batches than there would be steps, there are as many steps as it
        has batches, and they hold fewer tasks.

        Args:
            epoch: Counted from 0.
            tasks_per_step: At most so many, and never more than there are tasks.
        """
        counts = Counter(self.epoch(epoch))
        num_steps = self.mixed_steps_per_epoch(tasks_per_step)
        return dealt(counts, num_steps, stream(self.seed, "mixed", epoch))

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        """The exact number of steps of every epoch where a step trains several tasks."""
        return max(math.ceil(self.steps_per_epoch(0) / tasks_per_step), self._most_batches)

    @cached_property
    def _most_batches(self) -> int:
        """The most batches that any task has in any planned epoch."""
        epochs = range(max(1, math.ceil(self.num_epochs)))
        return max(count for epoch in epochs for count in Counter(self.epoch(epoch)).values())

    def rates(self) -> dict[str, float]:
        """Each task's expected share of the steps of the first epoch; the shares add up to 1."""
        tasks = self.epoch(0)
        return {name: tasks.count(name) / len(tasks) for name in self.sizes}


class RandomSampler(Sampler):
    """Draws the task of every step with a probability in proportion to its rate.

    An epoch is as many steps as one pass over all tasks has batches, unless `steps_per_epoch` says otherwise; a
    task's batches go on where the last epoch stopped, pass after pass. A rate written in the mixture takes the
    place of the computed one where `uses_rates` is on. A step of several tasks draws them one after the other
    without replacement, and an epoch then has as many steps as hold the same number of batches.

    Args:
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.

    Raises:
        InputError: `steps_per_epoch` or a written rate is not above 0.
    """

    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        seed: int,
        num_epochs: float,
        *,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(sizes, seed, num_epochs)
        require_positive({"sampler.steps_per_epoch": steps_per_epoch})
        if self.uses_rates:
            require_positive({f"tasks.{name}.rate": size.rate for name, size in self.sizes.items()})
        self._written_steps = steps_per_epoch
        self._num_steps = num_batches(self.sizes) if steps_per_epoch is None else steps_per_epoch

    @abstractmethod
    def weights(self, progress: FloatArray) -> npt.ArrayLike:
        """The rate of each task, in the order of `sizes`.

        Args:
            progress: For each step the share of the planned training that lies behind it, [S, 1], from 0 to 1.

        Returns:
            The rates [S, K], or [K] where they don't change.
        """

    def epoch(self, epoch: int) -> list[str]:
        draws = stream(self.seed, "sampler", epoch).random(self._num_steps)
        # A step's task is the number of borders between the tasks' shares of [0, 1) at or below its draw.
        borders = self._shares(self._progress(epoch, self._num_steps)).cumsum(axis=1)[:, :-1]  # [S or 1, K - 1]
        return _names(self.sizes, (borders <= draws[:, None]).sum(axis=1))

    def steps_per_epoch(self, epoch: int) -> int:
        return self._num_steps

    def mixed_epoch(self, epoch: int, tasks_per_step: int) -> list[tuple[str, ...]]:
        # Adding Gumbel noise to the logarithms of the rates and taking the largest draws without replacement
        # (Kool et al. 2019, https://arxiv.org/abs/1903.06059, section 2.3).
        num_steps = self.mixed_steps_per_epoch(tasks_per_step)
        noise = stream(self.seed, "sampler", epoch).gumbel(size=(num_steps, len(self.sizes)))
        keys = np.log(self._shares(self._progress(epoch, num_steps))) + noise  # [S, K]
        drawn = np.sort(np.argsort(-keys, axis=1)[:, :tasks_per_step], axis=1)  # [S, tasks of a step]
        return [tuple(_names(self.sizes, step)) for step in drawn]

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        return self._written_steps or math.ceil(num_batches(self.sizes) / tasks_per_step)

    def rates(self) -> dict[str, float]:
        done = self._progress(0, self._num_steps)
        return dict(zip(self.sizes, self._shares(done).mean(axis=0).tolist(), strict=True))

    def _progress(self, epoch: int, num_steps: int) -> FloatArray:
        """The share of the planned training that lies behind each step [S]."""
        done: FloatArray = (epoch + np.arange(num_steps) / num_steps) / (self.num_epochs or 1.0)
        return done.clip(max=1.0)

    def _shares(self, progress: FloatArray) -> FloatArray:
        """The tasks' shares [S, K] at some progress [S]; [1, K] where they don't change."""
        weights = np.atleast_2d(np.array(self.weights(progress[:, None]), dtype=np.float64))
        for column, size in enumerate(self.sizes.values()):
            if self.uses_rates and size.rate is not None:
                weights[:, column] = size.rate
        if not np.isfinite(weights.sum(axis=1)).all():
            raise InputError(Problem("sampler", "A rate must be finite; found one too large for a number."))
        shares: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return shares


def num_batches(sizes: Mapping[str, TaskSize]) -> int:
    """Batches of one pass over all tasks."""
    return sum(size.batches for size in sizes.values())


def require_positive(values: Mapping[str, float | None]) -> None:
    """Raises an `InputError` with every value, by its key, that is not a finite number above 0; None passes.

    >>> require_positive({"sampler.temperature": -1.0, "sampler.max_examples": None})
    Traceback (most recent call last):
    mtl.problems.InputError: sampler.temperature: It must be a finite number above 0; found -1.0.
    """
    wrong = {key: value for key, value in values.items() if value is not None and not 0 < value < math.inf}
    if wrong:
        rule = "It must be a finite number above 0"
        raise InputError([Problem(key, f"{rule}; found {value!r}.") for key, value in wrong.items()])


def shuffled(counts: Mapping[str, int], rng: np.random.Generator) -> list[str]:
    """Each task as often as its count says, in random order."""
    return _names(counts, rng.permutation(np.repeat(np.arange(len(counts)), list(counts.values()))))


def dealt(counts: Mapping[str, int], num_steps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Steps of different tasks that hold each task as often as its count says, and equally many tasks (or one more).

    Dealing task after task to the steps in turn puts no task twice into a step, since none has more batches than
    there are steps.

    >>> sorted(len(step) for step in dealt({"a": 3, "b": 2, "c": 1}, 4, np.random.default_rng(0)))
    [1, 1, 2, 2]
    """
    most = max(counts.values())
    assert most <= num_steps, f"{num_steps} steps can't hold {most} batches of one task"
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
