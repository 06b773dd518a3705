"""The rates that the mixture sets."""

from __future__ import annotations

from mtl.samplers import FloatArray, RandomSampler


class Weighted(RandomSampler):
    """Draws tasks at the rates that the mixture sets; a task without one has the rate 1.

    An epoch has as many steps as one pass over all tasks has batches.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        steps_per_epoch: Number of steps per epoch; None takes the number of batches in one pass over all tasks.

    Raises:
        InputError: A rate is not above 0.

    >>> from mtl.samplers import TaskSize
    >>> sizes = {"gad": TaskSize(64, 2, rate=3.0), "rqe": TaskSize(100, 4)}
    >>> Weighted(sizes, seed=1, num_epochs=3).rates()
    {'gad': 0.75, 'rqe': 0.25}
    """

    def weights(self, progress: FloatArray) -> list[float]:
        return [1.0] * len(self.sizes)  # the base class replaces them by the rates that the mixture sets
