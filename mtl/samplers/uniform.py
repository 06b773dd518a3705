"""All tasks with equal probability, independent of their sizes."""

from __future__ import annotations

from mtl.samplers import FloatArray, RandomSampler


class Uniform(RandomSampler):
    """Draws all tasks with equal probability.

    An epoch has as many steps as one pass over all tasks has batches, so it repeats small tasks and covers large ones
    only partly.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        steps_per_epoch: Number of steps per epoch; None takes the number of batches in one pass over all tasks.

    >>> from mtl.samplers import TaskSize
    >>> sizes = {"gad": TaskSize(64, 2), "rqe": TaskSize(100, 4)}
    >>> Uniform(sizes, seed=1, num_epochs=3).rates()
    {'gad': 0.5, 'rqe': 0.5}
    """

    uses_rates = False

    def weights(self, progress: FloatArray) -> list[float]:
        return [1.0] * len(self.sizes)
