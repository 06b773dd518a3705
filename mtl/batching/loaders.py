"""The batches that Lightning iterates over: an epoch of training for one rank, and all examples of a split.

Both loaders read from their data module, whose trainer knows the rank and the progress of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mtl.batching.batch import EMPTY, Batch, ExampleGroup, UpdateShare, collate
from mtl.batching.batcher import Indices, by_length, shards
from mtl.batching.prefetch import ahead
from mtl.batching.schedule import BatchRef, Step, StepSchedule, UpdateGrid
from mtl.data.examples import document_ranks
from mtl.encoder.graphs import CAPTURING
from mtl.seeding import stream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt
    import pytorch_lightning as pl

    from heads import Example, Head
    from mtl.config.mixture import Mixture
    from mtl.data.examples import SplitData, TaskData

EVALUATION_TOKENS = 4096
"""Padded tokens per evaluation batch without a token budget: enough to keep a device busy, few enough to fit."""

PREPARED = 2
"""Number of batches that are prepared ahead."""


class Source(Protocol):
    """What the loaders need from their data module."""

    mixture: Mixture
    heads: dict[str, Head]
    tasks: dict[str, TaskData]

    @property
    def schedule(self) -> StepSchedule:
        """The order of all training steps."""

    @property
    def updates(self) -> UpdateGrid:
        """How the updates of the training follow each other."""

    @property
    def stopped(self) -> Collection[str]:
        """Tasks that are no longer trained."""

    def splits(self, split: str) -> Mapping[str, SplitData]:
        """The split of every task that has it and is evaluated."""

    def followers(self, task: str) -> list[str]:
        """The tasks that train on this task's batches, starting with the task itself."""

    def drawing_head(self, task: str, update: int) -> Head:
        """The head that draws the examples of a task at an update."""

    def rank_and_world_size(self) -> tuple[int, int]:
        """The rank of this process and the number of processes."""

    def device_type(self) -> str:
        """Type of the device that the batches are for, such as cpu."""

    def attached_trainer(self) -> pl.Trainer:
        """The trainer that the data module belongs to."""


class TrainLoader:
    """The batches of an epoch for this rank, from the trainer's current position on.

    The position is read when the first batch is requested, so that a run resumed within an epoch continues with the
    very next batch. For a device other than a CPU, a thread prepares batches ahead.

    Args:
        data: Data module that the loader belongs to.
    """

    def __init__(self, data: Source) -> None:
        self._data = data

    def __len__(self) -> int:
        return self._data.schedule.steps_per_epoch()

    def __iter__(self) -> Iterator[Batch]:
        trainer = self._data.attached_trainer()
        start = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        accumulate = trainer.accumulate_grad_batches
        # If a limit on batches cuts an update short, its counts are those of the shorter update.
        steps = self._data.schedule.epoch(trainer.current_epoch)[: int(trainer.num_training_batches)]
        while start < len(steps):
            stopped = frozenset(self._data.stopped)
            for batch in self._from(steps, start, accumulate, stopped, epoch=trainer.current_epoch):
                yield batch
                start += 1
                if stopped != self._data.stopped:
                    break  # the batches prepared ahead still train a task that has stopped since

    def _from(
        self, steps: Sequence[Step], start: int, accumulate: int, stopped: Collection[str], *, epoch: int
    ) -> Iterator[Batch]:
        """The batches of the steps from one on, for the tasks that have not stopped."""

        def make() -> Iterator[Batch]:
            for number, indices in groupby(range(start, len(steps)), key=lambda index: index // accumulate):
                first = number * accumulate
                update = _Update(self._data, steps[first : first + accumulate], self._data.updates.update(epoch, first))
                for index in indices:
                    yield self._batch(steps[index], update, stopped)

        return _prepared(make(), self._data.device_type())

    # Lightning considers a loader with these two methods resumable. The position is the trainer's own progress, so
    # there is nothing to save.
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _batch(self, step: Step, update: _Update, stopped: Collection[str]) -> Batch:
        trained = {name: share for name, share in update.shares.items() if name not in stopped}
        tasks = {ref: [name for name in self._data.followers(ref.task) if name in trained] for ref in step}
        refs = [ref for ref in step if tasks[ref]]
        groups = []
        for ref, mine in zip(refs, self._shards(refs), strict=True):
            # Without examples of its own, the rank reads the first one with a share of 0.
            places = mine if len(mine) else np.zeros(1, dtype=np.int64)
            own = {name: trained[name] if len(mine) else trained[name]._replace(share=0.0) for name in tasks[ref]}
            groups.append(ExampleGroup({name: update.examples(ref, name, places) for name in own}, own))
        # A step of one task draws its dropout by the task's own position, so that partners do not change it.
        (first, *others) = step
        draws = () if others else first
        return collate(groups, self._data.heads, draws=draws) if groups else EMPTY

    def _shards(self, refs: Sequence[BatchRef]) -> list[Indices]:
        """The places of this rank's examples in each batch of a step; the ranks get about as many tokens of the step.

        The ranks take turns with their shares, so that the small differences of accumulated steps do not add up.
        """
        lengths = [self._data.tasks[ref.task]["train"].lengths[self._data.schedule.indices(ref)] for ref in refs]
        rank, world_size = self._data.rank_and_world_size()
        turn = refs[0].position if refs else 0
        return shards(lengths, (rank + turn) % world_size, world_size)


class _Update:
    """The examples of an update's batches, and the share of each task in it.

    Examples that their head draws are drawn for all ranks, since the number of their targets is known only then.

    Args:
        data: Data module of the loader.
        steps: The steps of the update.
        number: Number of the update, from 0.
    """

    def __init__(self, data: Source, steps: Sequence[Step], number: int = 0) -> None:
        self._data, self._steps, self._number = data, steps, number
        self._drawn: dict[tuple[BatchRef, str], list[Example]] = {}

    def examples(self, ref: BatchRef, task: str, places: Indices) -> list[Example]:
        """Some examples of a batch as a task trains them, by their places in the batch over all ranks."""
        if self._data.heads[task].draws:
            drawn = self._draw(ref, task)
            return [drawn[place] for place in places.tolist()]
        return self._data.tasks[task]["train"].examples.take(self._data.schedule.indices(ref)[places])

    @cached_property
    def shares(self) -> dict[str, UpdateShare]:
        """The share of each task in the update; a task without targets in it has no entry.

        The loss of an update is the mean over its batches of the mean loss of the batch's task, where a task's mean
        runs over all its targets in the whole update, on all ranks. So accumulation, steps of several tasks and several
        processes give the loss of one big batch. A step that trains fewer than `tasks_per_step` tasks counts the
        missing ones as batches with zero loss, so that the weight of a batch does not depend on what it is trained
        with.
        """
        schedule = self._data.schedule
        counts: dict[str, int] = {}
        batches: dict[str, float] = {}
        for ref in (ref for step in self._steps for ref in step):
            for name in self._data.followers(ref.task):
                counts[name] = counts.get(name, 0) + self._num_targets(ref, name)
                batches[name] = batches.get(name, 0.0) + schedule.batchers[ref.task].weight(ref.position)
        num_batches = len(self._steps) * schedule.tasks_per_step
        return {name: UpdateShare(count, batches[name] / num_batches) for name, count in counts.items() if count}

    def _num_targets(self, ref: BatchRef, task: str) -> int:
        if self._data.heads[task].draws:
            return sum(example["targets"] for example in self._draw(ref, task))
        return int(self._data.tasks[task]["train"].targets[self._data.schedule.indices(ref)].sum())

    def _draw(self, ref: BatchRef, task: str) -> list[Example]:
        """All examples of a batch as the head draws them, each from a stream of its task and its place."""
        if (ref, task) not in self._drawn:
            examples = self._data.tasks[task]["train"].examples.take(self._data.schedule.indices(ref))
            seed, head = self._data.mixture.seed, self._data.drawing_head(task, self._number)
            self._drawn[ref, task] = [
                head.draw(example, stream(seed, "draw", task, ref.position, place))
                for place, example in enumerate(examples)
            ]
        return self._drawn[ref, task]


class EvaluationLoader:
    """All examples of a split, sorted by length within a task; each rank has its own documents.

    For a device other than a CPU, a thread prepares batches ahead.

    The batches of the tasks are interleaved in proportion to their numbers, so that a trainer that evaluates only some
    of the batches sees some of every task.

    Args:
        data: Data module that the loader belongs to.
        split: Name of the split.
        is_limited: Whether only the `validation_documents` of heads that have such a limit are evaluated.
    """

    def __init__(self, data: Source, split: str, *, is_limited: bool = False) -> None:
        self._is_limited = is_limited
        self.splits = data.splits(split)
        """The split of each task that is evaluated."""
        self._data, self._split = data, split
        queues = [(task, self._batches_of(task)) for task in data.mixture.leaders()]
        shares = [(n / len(batches), task, batch) for task, batches in queues for n, batch in enumerate(batches)]
        self._batches = [(task, batch) for _, task, batch in sorted(shares, key=lambda share: share[0])]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return _prepared(self._made(), self._data.device_type())

    def _made(self) -> Iterator[Batch]:
        for task, indices in self._batches:
            if not len(indices):
                yield EMPTY
                continue
            names = [name for name in self._data.followers(task) if name in self.splits]
            examples = {name: self.splits[name].examples.take(indices) for name in names}
            yield collate([ExampleGroup(examples)], self._data.heads, keep_examples=True)

    def _batches_of(self, task: str) -> list[Indices]:
        split = self._data.tasks[task].get(self._split)
        if split is None or not any(name in self.splits for name in self._data.followers(task)):
            return []
        rank, world_size = self._data.rank_and_world_size()
        is_mine = document_ranks(split, world_size) == rank
        limit = self._data.heads[task].validation_documents if self._is_limited else None
        if limit is not None:
            is_mine &= _is_drawn(split, limit)
        mine = np.flatnonzero(np.isin(split.example_rows, np.flatnonzero(is_mine)))
        mixture = self._data.mixture
        budget = mixture.tokens_per_batch_of(task)
        most = len(mine) if budget else 4 * mixture.batch_size_of(task)
        batches = by_length(mine, split.lengths, most, budget or EVALUATION_TOKENS)
        # Lightning skips an evaluation without batches. If one rank skipped it, the others would wait for that rank.
        return batches or [mine]


def limited(split: SplitData, limit: int) -> SplitData:
    """A split with the rows alone that a limited evaluation scores.

    Args:
        split: The split.
        limit: Number of documents that are evaluated at most.
    """
    rows = [split.rows[place] for place in np.flatnonzero(_is_drawn(split, limit)).tolist()]
    return replace(split, rows=rows)  # type: ignore[arg-type]  # rows in memory, which a score can be computed of


def _is_drawn(split: SplitData, limit: int) -> npt.NDArray[np.bool_]:
    """Whether each row is of one of at most `limit` documents, which are drawn at random and always the same."""
    numbers = split.rows.document_numbers()
    drawn = np.random.default_rng(0).permutation(int(numbers.max(initial=-1)) + 1)[:limit]
    return np.isin(numbers, drawn)


def _prepared(batches: Iterator[Batch], device: str) -> Iterator[Batch]:
    """The batches, prepared ahead where a device would wait for them."""
    if device == "cpu":
        return batches
    return ahead(batches, PREPARED, _pinned if device == "cuda" else lambda batch: batch)


def _pinned(batch: Batch) -> Batch:
    with CAPTURING:
        return batch.pin_memory()
