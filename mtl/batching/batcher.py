"""Which examples make the next batch of a task, as a pure function of (seed, task, position).

A pass over a task's examples is a fresh permutation, cut into windows; inside a window examples are sorted by length
and cut into batches, so that a batch holds examples of like length and little padding; then the batches are shuffled.
Every example occurs exactly once per pass, and position p of a task's stream of batches is always the same batch,
whoever asks, however often, on however many ranks.

A batch holds a number of examples, or as many as a budget of tokens has room for. Under a budget the window is the
whole pass: its sorted lengths, and so the sizes of its batches, are the same in every pass, which keeps the number of
steps exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mtl.seeding import stream

WINDOW = 50
"""Batches in a window. Larger windows pad less; smaller ones mix batches more.

A task of one window meets itself again: of 1,500 examples of log-normal lengths in batches of 32, about 6 in 10 of
those that share a batch share one in the next pass, too (1 in 50 at random; of 5,000 examples 15 in 100).
"""

Indices = npt.NDArray[np.int64]


class Batcher:
    """The stream of batches of one task.

    Args:
        lengths: Word pieces of each example.
        batch_size: Examples of a batch; the last of a pass may hold fewer.
        seed: Of the run.
        task: Keys the stream, so that other tasks don't change this one's order.
        token_budget: Padded tokens of a batch, at least those of the longest example; it takes the place of
            `batch_size`.

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
        self._budgeted: list[int] = []  # the sizes of a pass's batches, longest examples first
        if token_budget is not None:
            every = np.arange(len(lengths))
            self._budgeted = [len(batch) for batch in by_length(every, lengths, len(lengths), token_budget)]
        self.batches_per_pass = len(self._budgeted) or -(-len(lengths) // batch_size)
        self._room = 0
        self.make_room(1)

    def __getitem__(self, position: int) -> Indices:
        """The examples of the batch at a position, counted from the start of training."""
        number, place = divmod(position, self.batches_per_pass)
        return self._pass(number)[place]

    def make_room(self, num_batches: int) -> None:
        """Keeps the passes that so many batches in a row touch, for who asks for these in another order.

        Without it the last two passes are kept, which is enough in the order of the stream.
        """
        num_passes = max(2, 1 + -(-(num_batches - 1) // self.batches_per_pass))
        if num_passes > self._room:
            self._room = num_passes
            self._pass = lru_cache(maxsize=num_passes)(self._draw_pass)

    def longest(self, position: int) -> int:
        """Word pieces of the longest example of the batch at a position."""
        return int(self._lengths[self[position]].max())

    def weight(self, position: int) -> float:
        """What the batch at a position counts for among its task's batches.

        Batches of a number of examples count alike. Under a budget of tokens one of short texts holds many times the
        examples of one of long texts, so there a batch counts by its examples, and every example alike.
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
        """Batches of like length; only the last window of a pass can leave one that isn't full."""
        size = self._batch_size * WINDOW
        windows = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        sorted_windows = [window[np.argsort(self._lengths[window], kind="stable")] for window in windows]
        return [
            window[start : start + self._batch_size]
            for window in sorted_windows
            for start in range(0, len(window), self._batch_size)
        ]

    def _by_budget(self, drawn: Indices) -> list[Indices]:
        """Batches of the sizes that fit the budget; which of the examples of a length go together is drawn."""
        longest_first = drawn[np.argsort(-self._lengths[drawn], kind="stable")]
        return np.split(longest_first, np.cumsum(self._budgeted)[:-1])


def by_length(indices: Indices, lengths: Indices, batch_size: int, token_budget: int) -> list[Indices]:
    """Batches for evaluation: longest first, within a number of examples and of padded tokens.

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
