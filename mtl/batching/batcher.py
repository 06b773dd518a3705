"""Which examples form each batch of a task, as a pure function of (seed, task, position).

A pass over a task's examples is a fresh permutation, cut into windows. Within a window, examples are sorted by length
and cut into batches, so that a batch holds examples of similar length and little padding. Then the batches are
shuffled. Every example occurs exactly once per pass, and position p of a task's stream of batches is always the same
batch, whatever was read before and however many ranks there are.

A batch holds a fixed number of examples, or as many as fit into a token budget. With a budget the window is the whole
pass: its sorted lengths, and therefore the sizes of its batches, are the same in every pass, which keeps the number of
steps exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mtl.seeding import stream

WINDOW = 50
"""Number of batches in a window. Larger windows need less padding; smaller ones mix examples more.

If a task has only one window, the same examples often share a batch again: with 1,500 examples of log-normal lengths
in batches of 32, about 6 in 10 of those that share a batch do so in the next pass too (1 in 50 at random). With 5,000
examples it is 15 in 100.
"""

Indices = npt.NDArray[np.int64]


class Batcher:
    """The stream of batches of one task.

    Args:
        lengths: Number of tokens of each example [N].
        batch_size: Number of examples per batch; the last batch of a pass may hold fewer.
        seed: Seed of the run.
        task: Name of the task, which keys the stream, so that other tasks do not change the order of this one.
        token_budget: Largest number of padded tokens per batch, at least the length of the longest example. It
            replaces `batch_size`; None limits the number of examples instead.

    >>> batcher = Batcher(np.array([5, 3, 9]), 2, seed=0, task="gad")
    >>> batcher.batches_per_pass
    2
    >>> sorted(np.concatenate([batcher[0], batcher[1]]).tolist())
    [0, 1, 2]
    """

    def __init__(
        self, lengths: Indices, batch_size: int, seed: int, task: str, *, token_budget: int | None = None
    ) -> None:
        self._lengths, self._batch_size, self._seed, self._task = lengths, batch_size, seed, task
        self._budgeted: list[int] = []  # sizes of the batches of a pass, longest examples first
        if token_budget is not None:
            indices = np.arange(len(lengths))
            self._budgeted = [len(batch) for batch in by_length(indices, lengths, len(lengths), token_budget)]
        self.batches_per_pass = len(self._budgeted) or -(-len(lengths) // batch_size)
        self._room = 0
        self.make_room(1)

    def __getitem__(self, position: int) -> Indices:
        """The examples of the batch at a position, counted from the start of training."""
        number, place = divmod(position, self.batches_per_pass)
        return self._pass(number)[place]

    def make_room(self, num_batches: int) -> None:
        """Keeps enough passes in memory to read some consecutive batches in any order.

        By default the last two passes are kept, which is enough to read batches in the order of the stream.

        Args:
            num_batches: Number of consecutive batches.
        """
        num_passes = max(2, 1 + -(-(num_batches - 1) // self.batches_per_pass))
        if num_passes > self._room:
            self._room = num_passes
            self._pass = lru_cache(maxsize=num_passes)(self._draw_pass)

    def longest(self, position: int) -> int:
        """The number of tokens of the longest example in the batch at a position."""
        return int(self._lengths[self[position]].max())

    def weight(self, position: int) -> float:
        """The weight of the batch at a position among its task's batches; the mean over a pass is 1.

        Without a token budget all batches have the same weight. With one, a batch of short texts holds many times the
        examples of a batch of long texts, so the weight is proportional to the number of examples.
        """
        if not self._budgeted:
            return 1.0
        return len(self[position]) * self.batches_per_pass / len(self._lengths)

    def _draw_pass(self, number: int) -> list[Indices]:
        rng = stream(self._seed, "order", self._task, number)
        drawn = rng.permutation(len(self._lengths))
        batches = self._by_budget(drawn) if self._budgeted else self._by_number(drawn)
        return [batches[i] for i in rng.permutation(len(batches))]

    def _by_number(self, drawn: Indices) -> list[Indices]:
        """Batches of examples of similar length; only the last window of a pass may have one that is not full."""
        size = self._batch_size * WINDOW
        windows = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        sorted_windows = [window[np.argsort(self._lengths[window], kind="stable")] for window in windows]
        return [
            window[start : start + self._batch_size]
            for window in sorted_windows
            for start in range(0, len(window), self._batch_size)
        ]

    def _by_budget(self, drawn: Indices) -> list[Indices]:
        """Batches of the sizes that fit the budget; examples of equal length are assigned to them at random."""
        longest_first = drawn[np.argsort(-self._lengths[drawn], kind="stable")]
        return np.split(longest_first, np.cumsum(self._budgeted)[:-1])


def by_length(indices: Indices, lengths: Indices, batch_size: int, token_budget: int) -> list[Indices]:
    """Batches for evaluation: longest examples first, within limits on examples and padded tokens.

    Args:
        indices: Examples to batch.
        lengths: Number of tokens of each example [N].
        batch_size: Largest number of examples per batch.
        token_budget: Largest number of padded tokens per batch; a longer example gets a batch of its own.

    >>> [b.tolist() for b in by_length(np.arange(4), np.array([4, 9, 5, 8]), batch_size=3, token_budget=20)]
    [[1, 3], [2, 0]]
    """
    order = indices[np.argsort(-lengths[indices], kind="stable")]
    batches = []
    while len(order):
        size = min(batch_size, max(1, token_budget // max(1, int(lengths[order[0]]))))
        batches.append(order[:size])
        order = order[size:]
    return batches
