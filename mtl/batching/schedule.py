"""The order of all training batches, known before training starts.

An epoch is a list of steps. A step is one pass of the encoder and names, for each task that it trains, a batch of that
task's stream. One update of the weights takes one step, or several with gradient accumulation.

A step of several tasks trains batches of similar length: within an epoch the batches of each task are assigned to that
task's steps so that their lengths rise in the same random order of the steps for every task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mtl.batching.batcher import Batcher, Indices
from mtl.samplers import Sampler
from mtl.seeding import stream


class BatchRef(NamedTuple):
    """The batch at a position of a task's stream."""

    task: str
    position: int


Step = tuple[BatchRef, ...]


class StepSchedule:
    """The batches that every step of a training trains on.

    Args:
        sampler: Sampler that chooses the task or tasks of each step.
        batchers: The stream of batches of each task that has steps of its own.
        tasks_per_step: Number of tasks per step, at most the number of tasks.
    """

    def __init__(self, sampler: Sampler, batchers: Mapping[str, Batcher], tasks_per_step: int = 1) -> None:
        self.sampler = sampler
        self.batchers = dict(batchers)
        self.tasks_per_step = tasks_per_step
        self.epoch = lru_cache(maxsize=2)(self._epoch)
        self._counts: list[Counter[str]] = [Counter()]

    def steps_per_epoch(self) -> int:
        """The exact number of steps per epoch, the same in every epoch."""
        if self.tasks_per_step == 1:
            return self.sampler.steps_per_epoch(0)
        return self.sampler.mixed_steps_per_epoch(self.tasks_per_step)

    def rates(self) -> dict[str, float]:
        """Each task's expected share of the batches; its share in the first epoch if a step trains several tasks."""
        if self.tasks_per_step == 1:
            return self.sampler.rates()
        counts = self.batches_of(1)
        return {name: counts[name] / counts.total() for name in self.batchers}

    def batches_of(self, num_epochs: int) -> Counter[str]:
        """The number of batches of each task in the first `num_epochs` epochs."""
        return Counter(self._before(num_epochs))

    def indices(self, ref: BatchRef) -> Indices:
        """The examples of a batch, over all ranks."""
        return self.batchers[ref.task][ref.position]

    def _epoch(self, epoch: int) -> list[Step]:
        tasks_of = self._tasks(epoch)
        steps_of: dict[str, list[int]] = {}
        for number, tasks in enumerate(tasks_of):
            for task in tasks:
                steps_of.setdefault(task, []).append(number)
        seen = self._before(epoch)
        level = stream(self.sampler.seed, "mixed lengths", epoch).permutation(len(tasks_of))
        steps: list[dict[str, BatchRef]] = [{} for _ in tasks_of]
        for task, numbers in steps_of.items():
            positions = list(range(seen[task], seen[task] + len(numbers)))
            if self.tasks_per_step > 1:
                self.batchers[task].make_room(len(positions))
                numbers.sort(key=lambda number: level[number])
                positions.sort(key=self.batchers[task].longest)
            for number, position in zip(numbers, positions, strict=True):
                steps[number][task] = BatchRef(task, position)
        return [tuple(steps[number][task] for task in tasks) for number, tasks in enumerate(tasks_of)]

    def _tasks(self, epoch: int) -> list[tuple[str, ...]]:
        if self.tasks_per_step == 1:
            return [(task,) for task in self.sampler.epoch(epoch)]
        return self.sampler.mixed_epoch(epoch, self.tasks_per_step)

    def _before(self, epoch: int) -> Counter[str]:
        """The number of batches of each task in the epochs before this one."""
        while len(self._counts) <= epoch:
            tasks = [task for step in self._tasks(len(self._counts) - 1) for task in step]
            self._counts.append(self._counts[-1] + Counter(tasks))
        return self._counts[epoch]
