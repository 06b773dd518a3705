"""All batches of a main task and some of the other tasks: MT-DNN's `--ratio` and `--mix_opt`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from mtl.problems import InputError, Problem, did_you_mean
from mtl.samplers import Sampler, TaskSize, num_batches, require_positive, shuffled
from mtl.seeding import stream


class Anchored(Sampler):
    """Trains every batch of the main task once, and a proportional number of batches of the other tasks.

    With M batches of `main` and N batches of all other tasks, an epoch has M + min(floor(ratio * M), N) batches. How
    many come from which of the others is drawn in every epoch, without replacement; each of them continues where the
    last epoch stopped. Source: the public code of MT-DNN (https://github.com/namisan/mt-dnn), where the main task is
    the one named first.

    Args:
        sizes: Size of each task, in the order of the mixture.
        seed: Seed of the run.
        num_epochs: Number of epochs that the run is planned for.
        main: Name of the main task.
        ratio: Number of batches of the other tasks together per batch of the main task; None takes all their batches.
        order: `mixed` shuffles all batches (`--mix_opt 0`); `main_last` shuffles the batches of the other tasks and
            trains the main task after them (`--mix_opt 1`).

    Raises:
        InputError: There is no task `main`, `order` is unknown, or `ratio` is not above 0 or too small to give a batch.

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
            raise InputError(Problem("sampler.order", f"must be mixed or main_last, got {order!r}."))
        require_positive({"sampler.ratio": ratio})
        self.main = main
        self.order = order
        self._num_others = self._count_others(ratio)

    @property
    def measured(self) -> list[str]:
        return [self.main]

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
            rule = "must be mixed if a step trains several tasks, since all tasks of a step are trained at once"
            raise InputError(Problem("sampler.order", f"{rule}; got main_last.", "Use mixed, or tasks_per_step: 1."))
        return super().mixed_epoch(epoch, tasks_per_step)

    def mixed_steps_per_epoch(self, tasks_per_step: int) -> int:
        # Every epoch draws again which batches of the other tasks it trains; at most, all of them come from one task.
        most = max(min(size.batches, self._num_others) for name, size in self.sizes.items() if name != self.main)
        return max(math.ceil(self.steps_per_epoch(0) / tasks_per_step), self.sizes[self.main].batches, most)

    def _count_others(self, ratio: float | None) -> int:
        main = self.sizes[self.main].batches
        others = num_batches(self.sizes) - main
        if ratio is None or not others:
            return others
        num_others = math.floor(round(ratio * main, 6))  # 0.29 * 100 is 28.999999999999996
        if not num_others:
            rule = f"must give at least one batch of the other tasks for the {main} of '{self.main}'"
            least = math.ceil(1e4 / main) / 1e4
            raise InputError(Problem("sampler.ratio", f"{rule}, got {ratio}.", f"Use {least} or more."))
        return min(num_others, others)
