"""Sampling between proportional to size (temperature 1) and uniform (high temperature), with a cap on size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mtl.samplers import FloatArray, RandomSampler, TaskSize, require_positive


class Temperature(RandomSampler):
    """Draws tasks at the rate min(examples, max_examples) ^ (1 / temperature).

    An epoch has as many steps as one pass over all tasks has batches, so it repeats small tasks and covers large ones
    only partly. Source: T5 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.5.2).

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        temperature: 1 draws in proportion to size; values above 1 favour small tasks, values below 1 large ones.
        max_examples: Cap on the number of examples that count; None sets no cap.
        steps_per_epoch: Number of steps per epoch; None takes the number of batches in one pass over all tasks.

    Raises:
        InputError: An option is not above 0.

    >>> sizes = {"large": TaskSize(900, 30), "small": TaskSize(100, 4)}
    >>> Temperature(sizes, seed=1, num_epochs=3, temperature=2.0).rates()
    {'large': 0.75, 'small': 0.25}
    """

    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        seed: int,
        num_epochs: float,
        *,
        temperature: float = 2.0,
        max_examples: int | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(sizes, seed, num_epochs, steps_per_epoch=steps_per_epoch)
        require_positive({"sampler.temperature": temperature, "sampler.max_examples": max_examples})
        self.temperature = temperature
        self.max_examples = max_examples

    def weights(self, progress: FloatArray) -> FloatArray:
        return tempered(self.sizes, np.array(self.temperature), self.max_examples)


def tempered(sizes: Mapping[str, TaskSize], temperature: FloatArray, max_examples: int | None) -> FloatArray:
    """The rates [..., K] at temperatures [..., 1]; infinite if they overflow.

    Args:
        sizes: Size of each task.
        temperature: Temperatures [..., 1], or a scalar.
        max_examples: Cap on the number of examples that count; None sets no cap.
    """
    examples = np.array([size.examples for size in sizes.values()], dtype=np.float64)
    capped = np.minimum(examples, np.inf if max_examples is None else max_examples)
    with np.errstate(over="ignore"):
        rates: FloatArray = capped ** (1 / temperature)
    return rates
