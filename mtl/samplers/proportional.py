"""Every batch of every task once per epoch, in shuffled order, as in MT-DNN and MT-BlueBERT."""

from __future__ import annotations

from mtl.samplers import Sampler, num_batches, shuffled
from mtl.seeding import stream


class Proportional(Sampler):
    """Shuffles the batches of all tasks together.

    An epoch is one pass over every task: each batch exactly once. So a task's share is its share of the batches, and
    only the order is random. Source: MT-DNN (Liu et al. 2019, https://arxiv.org/abs/1901.11504, algorithm 1).

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.

    >>> from mtl.samplers import TaskSize
    >>> sampler = Proportional({"gad": TaskSize(64, 2), "rqe": TaskSize(100, 4)}, seed=1, num_epochs=3)
    >>> sorted(sampler.epoch(0)), sampler.rates()["gad"] == 2 / 6
    (['gad', 'gad', 'rqe', 'rqe', 'rqe', 'rqe'], True)
    """

    uses_rates = False

    def epoch(self, epoch: int) -> list[str]:
        batches = {name: size.batches for name, size in self.sizes.items()}
        return shuffled(batches, stream(self.seed, "sampler", epoch))

    def steps_per_epoch(self, epoch: int) -> int:
        return num_batches(self.sizes)
