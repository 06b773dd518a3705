"""The rates that the mixture writes down."""

from __future__ import annotations

from mtl.samplers import FloatArray, RandomSampler


class Weighted(RandomSampler):
    """Draws tasks at their written rates; a task without one has the rate 1.

    An epoch is as many steps as one pass over all tasks has batches.

    Args:
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.

    Raises:
        InputError: A rate is not above 0.

    >>> from mtl.samplers import TaskSize
    >>> sizes = {"gad": TaskSize(64, 2, rate=3.0), "rqe": TaskSize(100, 4)}
    >>> Weighted(sizes, seed=1, num_epochs=3).rates()
    {'gad': 0.75, 'rqe': 0.25}
    """

    def weights(self, progress: FloatArray) -> list[float]:
        return [1.0] * len(self.sizes)  # the base puts the written rates in their places
