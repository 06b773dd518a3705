"""How long a training is by default: a number of passes that falls with the number of examples.

Few examples need many passes: with three, a task of 500 examples gets about 50 updates of 32, too few for a head that
starts from random weights. Many examples need few: further passes over 50,000 mostly repeat what the model has learnt.
20 passes for hundreds of examples is the recommendation of Mosbach et al. 2021 (https://arxiv.org/abs/2006.04884);
Zhang et al. 2021 (https://arxiv.org/abs/2006.05987) find the same for few samples. 3 is the usual number for large
sets since BERT (Devlin et al. 2019). 10 for 5,000 examples lies between, as in the published recipes of biomedical
tasks of that size (8 to 20).

The code decides no result: a run records its number of epochs, and a study its number of updates.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mtl.batching.schedule import StepSchedule

DECIDES_RESULTS = False

ANCHORS = ((500, 20.0), (5_000, 10.0), (50_000, 3.0))
"""Number of training examples and of passes over them."""

LISTED = 5
"""Number of tasks up to which the reason lists each."""


class DefaultLength(NamedTuple):
    """The default length of a training.

    Args:
        epochs: Number of epochs of the sampler.
        reason: Where the number comes from.
    """

    epochs: int
    reason: str


def default_passes(num_examples: int) -> float:
    """The default number of passes over a task's training examples.

    It falls linearly with the logarithm of the number of examples between the points of `ANCHORS` and is constant
    outside of them.

    Args:
        num_examples: Number of training examples, at least 1.

    >>> [default_passes(number) for number in (60, 500, 5_000, 50_000, 1_000_000)]
    [20.0, 20.0, 10.0, 3.0, 3.0]
    >>> round(default_passes(1_000), 1), round(default_passes(20_000), 1)
    (17.0, 5.8)
    """
    if num_examples <= ANCHORS[0][0]:
        return ANCHORS[0][1]
    for (low, many), (high, few) in pairwise(ANCHORS):
        if num_examples <= high:
            share = math.log(num_examples / low) / math.log(high / low)
            return many + share * (few - many)
    return ANCHORS[-1][1]


def default_length(schedule: StepSchedule) -> DefaultLength:
    """The default number of epochs of a mixture.

    The mixture gets as many batches as its tasks would get alone, each with `default_passes`. The sampler distributes
    them: with `proportional` sampling every task gets the mean number of passes, weighted by batches; other samplers
    give small tasks more passes and large ones fewer. If the sampler measures its epochs by one task (`anchored`), that
    task alone decides.

    Args:
        schedule: Schedule of the mixture; its number of epochs does not matter.

    >>> import numpy as np
    >>> from mtl.batching.batcher import Batcher
    >>> from mtl.batching.schedule import StepSchedule
    >>> from mtl.samplers import TaskSize
    >>> from mtl.samplers.proportional import Proportional
    >>> sizes = {"small": TaskSize(480, 15), "large": TaskSize(4800, 150)}
    >>> batchers = {name: Batcher(np.ones(size.examples, int), 32, 0, name) for name, size in sizes.items()}
    >>> default_length(StepSchedule(Proportional(sizes, 0, 1), batchers)).epochs  # (20 * 15 + 10.2 * 150) / 165
    11
    """
    sizes = {name: schedule.sampler.sizes[name] for name in schedule.sampler.measured}
    passes = {name: default_passes(size.examples) for name, size in sizes.items()}
    wanted = sum(passes[name] * size.batches for name, size in sizes.items())
    per_epoch = schedule.batches_of(1)
    epochs = max(1, round(wanted / sum(per_epoch[name] for name in sizes)))
    listed = [f"{name} {passes[name]:.3g} ({size.examples})" for name, size in sizes.items()]
    if len(listed) > LISTED:
        listed = [f"{min(passes.values()):.3g} to {max(passes.values()):.3g} for {len(listed)} tasks"]
    reason = f"passes by number of examples: {', '.join(listed)}; {wanted:.0f} batches, {per_epoch.total()} per epoch"
    return DefaultLength(epochs, f"default, {reason}")
