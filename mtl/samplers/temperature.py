"""Shares between those of the sizes (temperature 1) and equal ones (high temperature), with a cap on size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mtl.samplers import FloatArray, RandomSampler, TaskSize, require_positive


class Temperature(RandomSampler):
    """Draws tasks at the rate min(examples, max_examples) ^ (1 / temperature).

    An epoch is as many steps as one pass over all tasks has batches; small tasks come round more than once in it
    and large ones not wholly. Source: T5 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.5.2).

    Args:
        temperature: 1 draws in proportion to size, more favours small tasks, less than 1 large ones.
        max_examples: Examples beyond this number don't count; None counts all.
        steps_per_epoch: Steps of an epoch; None takes the batches of all tasks together.

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
    """Rates [..., K] at temperatures [..., 1]; infinite where they are too large for a number."""
    examples = np.array([size.examples for size in sizes.values()], dtype=np.float64)
    counted = np.minimum(examples, np.inf if max_examples is None else max_examples)
    with np.errstate(over="ignore"):
        rates: FloatArray = counted ** (1 / temperature)
    return rates
