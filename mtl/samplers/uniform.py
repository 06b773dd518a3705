"""Every task as likely as any other, whatever its size."""

from __future__ import annotations

from mtl.samplers import FloatArray, RandomSampler


class Uniform(RandomSampler):
    """Draws all tasks with equal probability.

    An epoch is as many steps as one pass over all tasks has batches; small tasks come round more than once in it
    and large ones not wholly.

    Args:
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.

    >>> from mtl.samplers import TaskSize
    >>> sizes = {"gad": TaskSize(64, 2), "rqe": TaskSize(100, 4)}
    >>> Uniform(sizes, seed=1, num_epochs=3).rates()
    {'gad': 0.5, 'rqe': 0.5}
    """

    uses_rates = False

    def weights(self, progress: FloatArray) -> list[float]:
        return [1.0] * len(self.sizes)
