"""Dynamic weight average: tasks whose loss falls slowly get a larger weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from mtl.balancing import Balancing
from mtl.problems import InputError, Problem


class DynamicAverage(Balancing):
    """Weighs tasks by how slowly their losses fell over the last two epochs (Liu et al. 2019, section 3.3,
    https://arxiv.org/abs/1803.10704).

    With K tasks and r_k the ratio of task k's mean training loss in the last epoch to that in the epoch before, its
    factor is ``loss_weight * K * softmax(r / temperature)_k``. In the first two epochs, and for a task that was not
    trained in two epochs, r_k is 1. A training of one or two epochs therefore has fixed weights.

    Args:
        weights: The tasks with their loss weights, see `Balancing`.
        temperature: Temperature of the softmax; high values make the factors more equal.

    Raises:
        InputError: The temperature is not a finite number above 0.

    >>> balancing = DynamicAverage({"gad": 1.0, "hoc": 1.0})
    >>> balancing.on_epoch_end({"gad": 1.0, "hoc": 1.0})
    >>> balancing.on_epoch_end({"gad": 0.5, "hoc": 1.0})
    >>> balancing.factor("gad") < 1 < balancing.factor("hoc")
    True
    """

    losses: Tensor

    def __init__(self, weights: Mapping[str, float], *, temperature: float = 2.0) -> None:
        super().__init__(weights)
        if not 0 < temperature < math.inf:
            message = f"must be a finite number above 0, got {temperature!r}."
            raise InputError(Problem("balancing.temperature", message))
        self.temperature = temperature
        # Mean losses of the last two epochs, the older first, [2, K]; 0 for a task without a loss.
        self.register_buffer("losses", torch.zeros(2, len(weights)))
        self._factors = dict(self.weights)
        cast(Any, self).register_load_state_dict_post_hook(lambda module, _: module._set_factors())

    def set_weights(self, weights: Mapping[str, float]) -> None:
        super().set_weights(weights)
        self._set_factors()

    def factor(self, task: str) -> float:
        return self._factors[task]

    def on_epoch_end(self, means: Mapping[str, float]) -> None:
        for place, task in enumerate(self.weights):
            if task in means:
                self.losses[:, place] = torch.stack([self.losses[1, place], self.losses.new_tensor(means[task])])
        self._set_factors()

    def _set_factors(self) -> None:
        older, newer = self.losses.cpu()
        ratios = torch.where((newer / older).isfinite(), newer / older, 1.0)
        shares = torch.softmax(ratios / self.temperature, dim=0).tolist()
        self._factors = {
            task: weight * len(shares) * share
            for (task, weight), share in zip(self.weights.items(), shares, strict=True)
        }
