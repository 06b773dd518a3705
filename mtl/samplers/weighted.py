"""The rates that the mixture writes down."""

from __future__ import annotations

from collections.abc import Mapping

from mtl.samplers import FloatArray, RandomSampler, TaskSize


class Weighted(RandomSampler):
    """Draws tasks at their written rates; a task without one has the rate 1.

    An epoch is as many steps as one pass over all tasks has batches.

    Args:
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.

    Raises:
        InputError: A rate is not above 0.

    >>> sizes = {"gad": TaskSize(64, 2, rate=3.0), "rqe": TaskSize(100, 4)}
    >>> Weighted(sizes, seed=1, num_epochs=3).rates()
    {'gad': 0.75, 'rqe': 0.25}
    """

    def __init__(
        self, sizes: Mapping[str, TaskSize], seed: int, num_epochs: int, *, steps_per_epoch: int | None = None
    ) -> None:
        super().__init__(sizes, seed, num_epochs, steps_per_epoch=steps_per_epoch)

    def weights(self, progress: FloatArray) -> list[float]:
        return [1.0] * len(self.sizes)  # the base puts the written rates in their places
