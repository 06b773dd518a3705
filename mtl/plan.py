"""The order of all training batches, known before training starts.

An epoch is a list of slots. A slot is one pass of the encoder and names, task by task, which batch of that task's
stream it holds. One update of the weights takes one slot, or several under gradient accumulation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mtl.batching import Batcher, Indices
from mtl.samplers import Sampler


class Pick(NamedTuple):
    """The batch at a position of a task's stream."""

    task: str
    position: int


Slot = tuple[Pick, ...]


class StepPlan:
    """What every step of the training trains.

    Args:
        sampler: Decides the task of each slot.
        batchers: The stream of batches of each task that has steps of its own.
    """

    def __init__(self, sampler: Sampler, batchers: Mapping[str, Batcher]) -> None:
        self.sampler = sampler
        self.batchers = dict(batchers)
        self.epoch = lru_cache(maxsize=2)(self._epoch)
        self._counts: list[Counter[str]] = [Counter()]

    def slots_per_epoch(self) -> int:
        """Exact, and the same in every epoch."""
        return self.sampler.steps_per_epoch(0)

    def batches_of(self, num_epochs: int) -> Counter[str]:
        """How many batches of each task some epochs train."""
        return Counter(self._before(num_epochs))

    def indices(self, pick: Pick) -> Indices:
        """The examples of a pick, over all ranks."""
        return self.batchers[pick.task][pick.position]

    def _epoch(self, epoch: int) -> list[Slot]:
        seen = Counter(self._before(epoch))
        slots: list[Slot] = []
        for task in self.sampler.epoch(epoch):
            slots.append((Pick(task, seen[task]),))
            seen[task] += 1
        return slots

    def _before(self, epoch: int) -> Counter[str]:
        """How many batches of each task the epochs before this one trained."""
        while len(self._counts) <= epoch:
            self._counts.append(self._counts[-1] + Counter(self.sampler.epoch(len(self._counts) - 1)))
        return self._counts[epoch]
