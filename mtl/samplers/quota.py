"""A fixed number of batches of each task: what a comparison at equal own updates needs."""

from __future__ import annotations

from collections.abc import Mapping

from mtl.problems import InputError, Problem, did_you_mean
from mtl.samplers import Sampler, TaskSize, require_positive, shuffled
from mtl.seeding import stream


class Quota(Sampler):
    """Trains so many batches of each task in every epoch, in random order; a task goes on where the last epoch stopped.

    Args:
        batches: Of each task in an epoch, whatever its size.

    Raises:
        InputError: A number is not above 0, or a task has none or isn't there.

    >>> sampler = Quota({"a": TaskSize(80, 5), "b": TaskSize(48, 3)}, seed=1, num_epochs=3, batches={"a": 2, "b": 1})
    >>> sorted(sampler.epoch(0))
    ['a', 'a', 'b']
    """

    uses_rates = False

    def __init__(self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: float, *, batches: dict[str, int]) -> None:
        super().__init__(sizes, seed, num_epochs)
        require_positive({f"sampler.batches.{name}": number for name, number in batches.items()})
        unknown = [name for name in batches if name not in sizes]
        problems = [
            Problem(f"sampler.batches.{n}", f"There is no task '{n}'.", did_you_mean(n, sizes)) for n in unknown
        ]
        problems += [
            Problem(f"sampler.batches.{name}", "Every task needs a number of batches; it has none.", "Add it.")
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
