"""The order of all training batches, known before training starts.

An epoch is a list of steps. A step is one pass of the encoder and names, for each task that it trains, a batch of that
task's stream. One update of the weights takes one step, or several with gradient accumulation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mtl.batching.batcher import Batcher, Indices
from mtl.config import components
from mtl.config.curriculum import phases
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem
from mtl.samplers import RateChange, Sampler, TaskSize

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture
    from mtl.data.examples import SplitData


class BatchRef(NamedTuple):
    """The batch at a position of a task's stream."""

    task: str
    position: int


Step = tuple[BatchRef, ...]


class UpdateGrid(NamedTuple):
    """How the updates of a training follow each other: which of them a step belongs to.

    Args:
        per_epoch: Number of updates per epoch; the last one of an epoch may have fewer steps.
        accumulate: Number of steps of an update.

    >>> grid = UpdateGrid(per_epoch=4, accumulate=3)
    >>> grid.update(epoch=1, step=5), grid.first_step(5)
    (5, (1, 3))
    """

    per_epoch: int
    accumulate: int = 1

    def update(self, epoch: int, step: int) -> int:
        """The update that a step of an epoch belongs to, all counted from 0."""
        return epoch * self.per_epoch + step // self.accumulate

    def first_step(self, update: int) -> tuple[int, int]:
        """The epoch of an update, and its first step there."""
        epoch, within = divmod(update, self.per_epoch)
        return epoch, within * self.accumulate


def limited(num_steps: int, limit: float | None) -> int:
    """The number of steps of an epoch within a limit.

    Args:
        num_steps: Number of steps of the whole epoch.
        limit: Largest number of steps if it is an integer or above 1, as in Lightning; otherwise a fraction of the
            steps. None sets no limit.

    >>> limited(10, 3), limited(10, 3.0), limited(10, 0.55), limited(10, None)
    (3, 3, 5, 10)

    Raises:
        InputError: No step is left.
    """
    left = num_steps
    if limit is not None:
        is_number = isinstance(limit, int) or limit > 1
        left = min(num_steps, int(limit)) if is_number else int(num_steps * limit)
    if not left:
        message = f"must leave at least one batch per epoch, got {limit} of {num_steps}."
        raise InputError(Problem("trainer.limit_train_batches", message, "Raise it, or omit it."))
    return left


def planned_updates(per_epoch: int, max_epochs: int | None, max_steps: int) -> int:
    """The number of updates of a training.

    Args:
        per_epoch: Number of updates per epoch.
        max_epochs: Largest number of epochs; None or below 0 sets no limit.
        max_steps: Largest number of updates; below 0 sets no limit.

    Raises:
        InputError: Neither is limited.
    """
    by_epochs = None if max_epochs is None or max_epochs < 0 else per_epoch * max_epochs
    limits = [limit for limit in (by_epochs, max_steps) if limit is not None and limit >= 0]
    if not limits:
        rule = "must be set, or trainer.max_steps, because the learning-rate schedule ends with the training"
        raise InputError(Problem("trainer.max_epochs", f"{rule}; got {max_epochs}."))
    return min(limits)


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
        seen = Counter(self._before(epoch))
        steps: list[Step] = []
        for tasks in self._tasks(epoch):
            steps.append(tuple(BatchRef(task, seen[task]) for task in tasks))
            seen.update(tasks)
        return steps

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


def make_schedule(
    mixture: Mixture, tasks: Mapping[str, Mapping[str, SplitData]], num_epochs: float, updates: UpdateGrid | None = None
) -> StepSchedule:
    """The schedule of a mixture.

    Args:
        mixture: The mixture.
        tasks: Prepared data of each task.
        num_epochs: Number of epochs of the training, which may end within an epoch.
        updates: How updates follow each other, at which a curriculum changes rates; None leaves its changes out.

    Raises:
        InputError: A token budget is smaller than a task's longest example.
    """
    leaders = mixture.drawn()
    problems = [problem for name in leaders for problem in _budget_problems(mixture, name, tasks[name]["train"])]
    if problems:
        raise InputError(problems)
    batchers = {
        name: Batcher(
            tasks[name]["train"].lengths,
            mixture.batch_size_of(name),
            mixture.seed,
            name,
            token_budget=mixture.tokens_per_batch_of(name),
        )
        for name in leaders
    }
    sizes = {
        name: TaskSize(
            len(tasks[name]["train"].lengths),
            batchers[name].batches_per_pass,
            mixture.tasks[name].rate,
            () if updates is None else tuple(_rate_changes(mixture, name, updates)),
        )
        for name in leaders
    }
    sampler_class = components.find("sampler", mixture.sampler.name, "sampler.name")
    sampler: Sampler = components.build(sampler_class, sizes, mixture.seed, num_epochs, **mixture.sampler.options)
    return StepSchedule(sampler, batchers, len(leaders) if mixture.tasks_per_step == "all" else mixture.tasks_per_step)


def _rate_changes(mixture: Mixture, task: str, updates: UpdateGrid) -> Iterator[RateChange]:
    """The rates that a curriculum sets for a task, where they differ from the one before."""
    rate = mixture.tasks[task].rate
    for from_step, changed in phases(mixture):
        new = changed.tasks[task].rate
        if new is not None and new != rate:
            rate = new
            yield RateChange(*updates.first_step(from_step), new)


def _budget_problems(mixture: Mixture, task: str, train: SplitData) -> list[Problem]:
    budget = mixture.tokens_per_batch_of(task)
    longest = int(train.lengths.argmax())
    if budget is None or train.lengths[longest] <= budget:
        return []
    key = "tokens_per_batch" if mixture.tasks[task].tokens_per_batch is None else f"tasks.{task}.tokens_per_batch"
    row = quoted_id(train.rows[int(train.example_rows[longest])].id)
    rule = f"must be at least {train.lengths[longest]}, the tokens of the longest train row of {task}, {row}"
    return [Problem(key, f"{rule}; got {budget}.", "Raise it, lower the task's max_length, or cut long texts.")]
