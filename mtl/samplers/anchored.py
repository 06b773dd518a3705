"""All batches of a main task and some of the others': MT-DNN's `--ratio` and `--mix_opt`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from mtl.problems import InputError, Problem, did_you_mean
from mtl.samplers import Sampler, TaskSize, num_batches, require_positive, shuffled
from mtl.seeding import stream


class Anchored(Sampler):
    """Trains every batch of the main task once, and a number of the others' in proportion to it.

    An epoch is all batches of `main` and min(ratio * main, all) batches of the other tasks, drawn anew in every
    epoch without replacement; the product is rounded down. The others go on where the last epoch stopped. Source:
    the public code of MT-DNN (https://github.com/namisan/mt-dnn), where the main task is the first that is named.

    Args:
        main: Name of the main task.
        ratio: Batches of all other tasks together for one of the main task; None takes all their batches.
        order: `mixed` shuffles everything (`--mix_opt 0`); `main_last` shuffles the others' batches and trains the
            main task after them (`--mix_opt 1`).

    Raises:
        InputError: There is no task `main`, or `ratio` is not above 0 or too small to give a batch.

    >>> sizes = {"a": TaskSize(80, 5), "b": TaskSize(48, 3), "c": TaskSize(16, 1)}
    >>> Anchored(sizes, seed=1, num_epochs=3, main="a", ratio=0.4, order="main_last").epoch(0)[2:]
    ['a', 'a', 'a', 'a', 'a']
    """

    uses_rates = False

    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        seed: int,
        num_epochs: float,
        *,
        main: str,
        ratio: float | None = None,
        order: Literal["mixed", "main_last"] = "mixed",
    ) -> None:
        super().__init__(sizes, seed, num_epochs)
        if main not in self.sizes:
            raise InputError(Problem("sampler.main", f"There is no task '{main}'.", did_you_mean(main, self.sizes)))
        if order not in ("mixed", "main_last"):
            raise InputError(Problem("sampler.order", f"It must be mixed or main_last; found {order!r}."))
        require_positive({"sampler.ratio": ratio})
        self.main = main
        self.order = order
        self._num_others = self._count_others(ratio)

    def epoch(self, epoch: int) -> list[str]:
        rng = stream(self.seed, "sampler", epoch)
        batches = {name: size.batches for name, size in self.sizes.items()}
        main = {self.main: batches.pop(self.main)}
        others = shuffled(batches, rng)[: self._num_others]
        if self.order == "main_last":
            return others + shuffled(main, rng)
        return shuffled(main | {name: others.count(name) for name in batches}, rng)

    def steps_per_epoch(self, epoch: int) -> int:
        return self.sizes[self.main].batches + self._num_others

    def mixed_epoch(self, epoch: int, tasks_per_step: int) -> list[tuple[str, ...]]:
        if self.order == "main_last":
            rule = "Steps of several tasks have no order between the main task and the others"
            raise InputError(Problem("sampler.order", f"{rule}; found main_last.", "Take mixed, or tasks_per_step: 1."))
        return super().mixed_epoch(epoch, tasks_per_step)

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        # Which of the others' batches come is drawn anew in every epoch; one task can have all of them at most.
        most = max(min(size.batches, self._num_others) for name, size in self.sizes.items() if name != self.main)
        return max(math.ceil(self.steps_per_epoch(0) / tasks_per_step), self.sizes[self.main].batches, most)

    def _count_others(self, ratio: float | None) -> int:
        main = self.sizes[self.main].batches
        others = num_batches(self.sizes) - main
        if ratio is None or not others:
            return others
        wanted = math.floor(round(ratio * main, 6))  # 0.29 * 100 is 28.999999999999996
        if not wanted:
            rule = f"It must give at least one batch of the others for the {main} of '{self.main}'"
            least = math.ceil(1e4 / main) / 1e4
            raise InputError(Problem("sampler.ratio", f"{rule}; found {ratio}.", f"Take {least} or more."))
        return min(wanted, others)
