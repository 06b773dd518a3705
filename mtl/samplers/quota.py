"""A fixed number of batches of each task, for comparisons at equal numbers of target updates."""

from __future__ import annotations

from collections.abc import Mapping

from mtl.problems import InputError, Problem, did_you_mean
from mtl.samplers import MOST_STEPS, Sampler, TaskSize, require_positive, shuffled
from mtl.seeding import stream


class Quota(Sampler):
    """Trains a fixed number of batches of each task in every epoch, in random order.

    Each task continues where the last epoch stopped.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        batches: Number of batches of each task per epoch, independent of its size.

    Raises:
        InputError: A number is not above 0, a task has no number, or there is no task of that name.

    >>> sampler = Quota({"a": TaskSize(80, 5), "b": TaskSize(48, 3)}, seed=1, num_epochs=3, batches={"a": 2, "b": 1})
    >>> sorted(sampler.epoch(0))
    ['a', 'a', 'b']
    """

    uses_rates = False

    def __init__(self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: float, *, batches: dict[str, int]) -> None:
        super().__init__(sizes, seed, num_epochs)
        require_positive({f"sampler.batches.{name}": number for name, number in batches.items()}, most=MOST_STEPS)
        unknown = [name for name in batches if name not in sizes]
        problems = [
            Problem(f"sampler.batches.{n}", f"There is no task '{n}'.", did_you_mean(n, sizes)) for n in unknown
        ]
        problems += [
            Problem(f"sampler.batches.{name}", "must be set: every task needs a number of batches.", "Add it.")
            for name in sizes
            if name not in batches
        ]
        if problems:
            raise InputError(problems)
        self._batches = {name: batches[name] for name in sizes}

    def epoch(self, epoch: int) -> list[str]:
        return shuffled(self._batches, stream(self.seed, "sampler", epoch))

    def steps_per_epoch(self, epoch: int) -> int:
        return sum(self._batches.values())
