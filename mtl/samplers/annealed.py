"""A temperature that changes during training, for example from proportional sampling to nearly uniform sampling."""

from __future__ import annotations

from collections.abc import Mapping

from mtl.samplers import FloatArray, RandomSampler, TaskSize, require_positive
from mtl.samplers.temperature import tempered


class Annealed(RandomSampler):
    """Draws tasks at the rate min(examples, max_examples) ^ (1 / t), where t moves linearly from `start` to `end`.

    An epoch has as many steps as one pass over all tasks has batches. The temperature changes with every step over all
    planned epochs and stays at `end` after them. Stickland & Murray 2019 (https://arxiv.org/abs/1902.02671, section
    3.2) lower the exponent 1 / t from 1 to 0.2; the defaults have the same two ends.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        start: Temperature of the first step.
        end: Temperature at the end of the planned training.
        max_examples: Cap on the number of examples that count; None sets no cap.
        steps_per_epoch: Number of steps per epoch; None takes the number of batches in one pass over all tasks.

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
