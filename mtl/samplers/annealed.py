"""A temperature that moves over the planned training, as from the sizes' shares to nearly equal ones."""

from __future__ import annotations

from collections.abc import Mapping

from mtl.samplers import FloatArray, RandomSampler, TaskSize, require_positive
from mtl.samplers.temperature import tempered


class Annealed(RandomSampler):
    """Draws tasks at the rate min(examples, max_examples) ^ (1 / t), where t moves linearly from `start` to `end`.

    An epoch is as many steps as one pass over all tasks has batches. The temperature moves from step to step over
    all planned epochs and stays at `end` beyond them. Stickland & Murray 2019 (https://arxiv.org/abs/1902.02671,
    section 3.2) lower the exponent 1 / t from 1 to 0.2; the defaults have the same two ends.

    Args:
        start: Temperature of the first step.
        end: Temperature at the end of the planned training.
        max_examples: Examples beyond this number don't count; None counts all.
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.

    Raises:
        InputError: An option is not above 0.
    """

    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        seed: int,
        num_epochs: float,
        *,
        start: float = 1.0,
        end: float = 5.0,
        max_examples: int | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(sizes, seed, num_epochs, steps_per_epoch=steps_per_epoch)
        require_positive({"sampler.start": start, "sampler.end": end, "sampler.max_examples": max_examples})
        self.start = start
        self.end = end
        self.max_examples = max_examples

    def weights(self, progress: FloatArray) -> FloatArray:
        return tempered(self.sizes, self.start + (self.end - self.start) * progress, self.max_examples)
