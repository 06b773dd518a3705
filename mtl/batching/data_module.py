"""A mixture's data as Lightning reads it: the plan of all training batches, and evaluation sharded by document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl

from heads import Head
from mtl.batching.batch import EMPTY, Batch, Share, collate
from mtl.batching.batcher import Batcher, Indices, by_length
from mtl.batching.schedule import Slot, StepSchedule
from mtl.config import components
from mtl.data.examples import SplitData, TaskData, document_ranks, prepare
from mtl.problems import InputError, Problem
from mtl.samplers import Sampler, TaskSize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mtl.config.mixture import Mixture

EVALUATION_TOKENS = 4096
"""Padded tokens of an evaluation batch where the mixture has no budget: the device is busy, and the batch fits."""


class MixtureData(pl.LightningDataModule):
    """Reads, encodes and batches the tasks of a mixture.

    Args:
        mixture: The tasks.
        heads: The head of each task.
        tokenizer: The encoder's.
    """

    def __init__(self, mixture: Mixture, heads: Mapping[str, Head], tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.mixture = mixture
        self.heads = dict(heads)
        self.tokenizer = tokenizer
        self.tasks: dict[str, TaskData] = {}
        self.stopped: set[str] = set()
        """Tasks that are no longer trained; their slots stay empty."""
        self.evaluated: set[str] | None = None
        """Tasks that are evaluated; None evaluates all."""
        self._plan: StepSchedule | None = None

    def setup(self, stage: str | None = None) -> None:
        if not self.tasks:
            self.tasks = prepare(self.mixture, self.heads, self.tokenizer)

    # --- training -------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> StepSchedule:
        """The order of all training batches."""
        if self._plan is None:
            self._plan = make_schedule(self.mixture, self.tasks, 1)
            if self.trainer is not None:
                epochs = self.total_updates() / self._updates_per_epoch()
                self._plan = make_schedule(self.mixture, self.tasks, epochs)
        return self._plan

    def total_updates(self) -> int:
        """The exact number of updates that the trainer is asked for."""
        trainer = _attached(self)
        per_epoch = self._updates_per_epoch()
        epochs = trainer.max_epochs
        by_epochs = None if epochs is None or epochs < 0 else per_epoch * epochs
        limits = [limit for limit in (by_epochs, trainer.max_steps) if limit is not None and limit >= 0]
        if not limits:
            rule = "It must be given, or trainer.max_steps: the learning rate needs to know the end of the training"
            raise InputError(Problem("trainer.max_epochs", f"{rule}; found {epochs}."))
        return min(limits)

    def _updates_per_epoch(self) -> int:
        trainer = _attached(self)
        num_slots = limited(self.plan.slots_per_epoch(), trainer.limit_train_batches)
        return -(-num_slots // trainer.accumulate_grad_batches)

    def train_dataloader(self) -> TrainLoader:
        return TrainLoader(self)

    # --- evaluation -----------------------------------------------------------------------------------------------

    def val_dataloader(self) -> EvaluationLoader:
        return EvaluationLoader(self, "dev")

    def test_dataloader(self) -> EvaluationLoader:
        return EvaluationLoader(self, "test")

    def splits(self, split: str) -> dict[str, SplitData]:
        """That split of every task that has it and is evaluated."""
        return {name: data[split] for name, data in self.tasks.items() if split in data and self.is_evaluated(name)}

    def is_evaluated(self, task: str) -> bool:
        return self.evaluated is None or task in self.evaluated

    def followers(self, task: str) -> list[str]:
        """The tasks that train on this task's batches, itself first."""
        return [task, *(name for name, spec in self.mixture.tasks.items() if spec.same_rows_as == task)]

    def leaders(self) -> list[str]:
        """The tasks that have batches of their own."""
        return self.mixture.leaders()

    def rank_and_world(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def make_schedule(mixture: Mixture, tasks: Mapping[str, TaskData], num_epochs: float) -> StepSchedule:
    """The plan of a mixture whose data is prepared.

    Raises:
        InputError: A budget of tokens has no room for a task's longest example.
    """
    leaders = mixture.leaders()
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
        name: TaskSize(len(tasks[name]["train"].lengths), batchers[name].batches_per_pass, mixture.tasks[name].rate)
        for name in leaders
    }
    sampler_class = components.find("sampler", mixture.sampler.name, "sampler.name")
    sampler: Sampler = components.build(sampler_class, sizes, mixture.seed, num_epochs, **mixture.sampler.options)
    return StepSchedule(sampler, batchers, len(leaders) if mixture.tasks_per_step == "all" else mixture.tasks_per_step)


def limited(num_batches: int, limit: float | None) -> int:
    """How many of an epoch's training batches are left by a limit: a whole number, or a share of them.

    >>> limited(10, 3), limited(10, 0.55), limited(10, None)
    (3, 5, 10)

    Raises:
        InputError: None is left.
    """
    left = num_batches
    if limit is not None:
        left = min(num_batches, limit) if isinstance(limit, int) else int(num_batches * limit)
    if not left:
        message = f"A training must have at least one batch; found {limit} of {num_batches}."
        raise InputError(Problem("trainer.limit_train_batches", message, "Raise it, or leave it out."))
    return left


def _budget_problems(mixture: Mixture, task: str, train: SplitData) -> list[Problem]:
    budget = mixture.tokens_per_batch_of(task)
    longest = int(train.lengths.argmax())
    if budget is None or train.lengths[longest] <= budget:
        return []
    key = "tokens_per_batch" if mixture.tasks[task].tokens_per_batch is None else f"tasks.{task}.tokens_per_batch"
    row = train.rows[int(train.example_rows[longest])].id
    message = f"It has no room for row '{row}' of {task}, the longest of train: {train.lengths[longest]} word pieces"
    return [Problem(key, f"{message}; found {budget}.", "Raise it, or lower the task's max_length.")]


class TrainLoader:
    """The batches of an epoch for this rank, from wherever the trainer stands.

    The start is asked for when the first batch is taken, so that a run resumed within an epoch goes on with the very
    next batch.
    """

    def __init__(self, data: MixtureData) -> None:
        self._data = data

    def __len__(self) -> int:
        return self._data.plan.slots_per_epoch()

    def __iter__(self) -> Iterator[Batch]:
        trainer = _attached(self._data)
        epoch = trainer.current_epoch
        start = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        accumulate = trainer.accumulate_grad_batches
        # An update that a limit on batches cuts short has the shorter update's counts.
        slots = self._data.plan.epoch(epoch)[: int(trainer.num_training_batches)]
        for index in range(start, len(slots)):
            first = index - index % accumulate
            yield self._batch(slots[index], slots[first : first + accumulate])

    # Lightning takes a loader with these two as one that can resume. The position is the trainer's own progress,
    # so there is nothing to keep.
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _batch(self, slot: Slot, update: Sequence[Slot]) -> Batch:
        scales = self._scales(update)
        shares = []
        for pick in slot:
            tasks = [
                name for name in self._data.followers(pick.task) if scales.get(name) and name not in self._data.stopped
            ]
            if not tasks:
                continue
            indices, empty = self._shard(self._data.plan.indices(pick))
            examples = {name: self._data.tasks[name]["train"].examples.take(indices) for name in tasks}
            shares.append(Share(examples, {name: 0.0 if empty else scales[name] for name in tasks}))
        if not shares:
            return EMPTY
        return collate(shares, self._data.heads, _pad_id(self._data))

    def _scales(self, update: Sequence[Slot]) -> dict[str, float]:
        """What a task's summed loss is multiplied by in this update.

        The loss of an update is the mean over its batches of weight x mean loss of the batch's task, where a task's
        mean runs over all it counts in the whole update, on all ranks. So accumulation, steps of several tasks and
        several processes give the loss of one big batch. The place of a task in a step that holds fewer than
        `tasks_per_step` counts as a batch without loss, so that a batch weighs the same in whatever company. A task
        without anything to learn in this update has no scale.
        """
        counts: dict[str, int] = {}
        batches: dict[str, float] = {}
        for pick in (pick for slot in update for pick in slot):
            indices = self._data.plan.indices(pick)
            for name in self._data.followers(pick.task):
                counts[name] = counts.get(name, 0) + int(self._data.tasks[name]["train"].targets[indices].sum())
                batches[name] = batches.get(name, 0.0) + self._data.plan.batchers[pick.task].weight(pick.position)
        weights = {name: spec.loss_weight for name, spec in self._data.mixture.tasks.items()}
        places = len(update) * self._data.plan.tasks_per_step
        return {name: weights[name] * batches[name] / places / count for name, count in counts.items() if count}

    def _shard(self, indices: Indices) -> tuple[Indices, bool]:
        """This rank's examples. A rank without a share reads the first example, which then counts nothing."""
        rank, world = self._data.rank_and_world()
        mine = indices[rank::world]
        return (mine, False) if len(mine) else (indices[:1], True)


class EvaluationLoader:
    """All examples of a split, sorted by length within a task; each rank has its own documents.

    The tasks take turns by the shares of their batches that are still to come, so that a trainer that is told to
    evaluate some batches only sees some of every task.
    """

    def __init__(self, data: MixtureData, split: str) -> None:
        self._data, self._split, self._splits = data, split, data.splits(split)
        queues = [(task, self._batches_of(task)) for task in data.leaders()]
        shares = [(n / len(batches), task, batch) for task, batches in queues for n, batch in enumerate(batches)]
        self._batches = [(task, batch) for _, task, batch in sorted(shares, key=lambda share: share[0])]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for task, indices in self._batches:
            if not len(indices):
                yield EMPTY
                continue
            names = [name for name in self._data.followers(task) if name in self._splits]
            examples = {name: self._data.tasks[name][self._split].examples.take(indices) for name in names}
            share = Share(examples, dict.fromkeys(names, 1.0))
            yield collate([share], self._data.heads, _pad_id(self._data), keep_examples=True)

    def _batches_of(self, task: str) -> list[Indices]:
        split = self._data.tasks[task].get(self._split)
        if split is None or not any(name in self._splits for name in self._data.followers(task)):
            return []
        rank, world = self._data.rank_and_world()
        mine = np.flatnonzero(np.isin(split.example_rows, np.flatnonzero(document_ranks(split, world) == rank)))
        mixture = self._data.mixture
        budget = mixture.tokens_per_batch_of(task)
        most = len(mine) if budget else 4 * mixture.batch_size_of(task)
        batches = by_length(mine, split.lengths, most, budget or EVALUATION_TOKENS)
        # Lightning leaves out an evaluation without batches; on one rank alone, that would keep the others waiting.
        return batches or [mine]


def _attached(data: MixtureData) -> pl.Trainer:
    assert data.trainer is not None, "training batches need a trainer"
    return data.trainer


def _pad_id(data: MixtureData) -> int:
    pad_id = data.tokenizer.pad_token_id
    return 0 if pad_id is None else int(pad_id)
