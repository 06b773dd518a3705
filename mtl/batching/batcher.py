"""Which examples form each batch of a task, as a pure function of (seed, task, position).

A pass over a task's examples is a fresh permutation, cut into batches of a number of examples, or of as many as a token
budget holds. Batches are random: batches of similar length would need no padding either, but their gradients vary
several times as much, because short and long texts pull in different directions. Every example occurs exactly once per
pass, and position p of a task's stream of batches is always the same batch, whatever was read before and however many
ranks there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mtl.seeding import stream

Indices = npt.NDArray[np.int64]


class Batcher:
    """The stream of batches of one task.

    Args:
        lengths: Number of tokens of each example [N].
        batch_size: Number of examples per batch; the last batch of a pass may hold fewer.
        seed: Seed of the run.
        task: Name of the task, which keys the stream, so that other tasks do not change the order of this one.
        token_budget: Largest number of tokens per batch, at least the length of the longest example. It replaces
            `batch_size`; None limits the number of examples instead.

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
        self._budget = token_budget
        self.batches_per_pass = -(-len(lengths) // batch_size)
        if token_budget is not None:
            self.batches_per_pass = _most_batches(lengths, token_budget)
        self._pass = lru_cache(maxsize=2)(self._draw_pass)

    def __getitem__(self, position: int) -> Indices:
        """The examples of the batch at a position, counted from the start of training."""
        number, place = divmod(position, self.batches_per_pass)
        return self._pass(number)[place]

    def weight(self, position: int) -> float:
        """The weight of the batch at a position among its task's batches; the mean over a pass is 1.

        Without a token budget all batches have the same weight. With one, a batch of short texts holds more examples
        than a batch of long texts, so the weight is proportional to the number of examples.
        """
        if self._budget is None:
            return 1.0
        return len(self[position]) * self.batches_per_pass / len(self._lengths)

    def _draw_pass(self, number: int) -> list[Indices]:
        drawn = stream(self._seed, "order", self._task, number).permutation(len(self._lengths))
        if self._budget is not None:
            return self._by_budget(drawn, self._budget)
        return [drawn[start : start + self._batch_size] for start in range(0, len(drawn), self._batch_size)]

    def _by_budget(self, drawn: Indices, budget: int) -> list[Indices]:
        """As many batches as in every pass, in the order drawn, with token numbers as equal as that order allows."""
        ends = np.cumsum(self._lengths[drawn])
        low, high = int(self._lengths.max()), budget
        while low < high:
            middle = (low + high) // 2
            fits = len(_cuts(ends, middle)) < self.batches_per_pass
            low, high = (low, middle) if fits else (middle + 1, high)
        batches = np.split(drawn, _cuts(ends, low))
        while len(batches) < self.batches_per_pass:
            largest = max(range(len(batches)), key=lambda place: len(batches[place]))
            batches[largest : largest + 1] = np.array_split(batches[largest], 2)
        return batches


def shards(batches: Sequence[Indices], rank: int, world_size: int) -> list[Indices]:
    """The places in some batches of the examples of one rank, so that all ranks get about as many tokens.

    The examples of a batch are assigned by length, in snake order, to one share per rank.
    The share with most tokens goes to the rank with the fewest tokens so far, and so on. So the tokens of two ranks
    never differ by more than the longest example, however many batches there are, and the examples that they have of a
    batch never differ by more than one.

    Args:
        batches: Number of tokens of each example of each batch.
        rank: The rank.
        world_size: Number of ranks.

    >>> batches = [np.array([9, 1, 7, 8, 2, 3]), np.array([5, 4])]
    >>> for rank in range(2):
    ...     places = shards(batches, rank, 2)
    ...     print([lengths[mine].tolist() for lengths, mine in zip(batches, places, strict=True)])
    [[1, 7, 8], [4]]
    [[9, 2, 3], [5]]
    """
    tokens = np.zeros(world_size)  # of each rank
    found: list[Indices] = []
    for lengths in batches:
        share_of = _dealt(lengths, world_size)
        sizes = np.bincount(share_of, weights=lengths, minlength=world_size)
        rank_of = np.empty(world_size, dtype=np.int64)
        rank_of[np.argsort(-sizes, kind="stable")] = np.argsort(tokens, kind="stable")
        tokens[rank_of] += sizes
        found.append(np.flatnonzero(rank_of[share_of] == rank))
    return found


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


def _cuts(ends: Indices, budget: int) -> list[int]:
    """The places before which a row of examples is cut if each batch takes as many as fit the budget.

    Args:
        ends: Number of tokens up to and including each example.
        budget: Largest number of tokens per batch, at least that of every example.
    """
    cuts: list[int] = []
    done = 0
    while (cut := int(np.searchsorted(ends, done + budget, side="right"))) < len(ends):
        cuts.append(cut)
        done = int(ends[cut - 1])
    return cuts


def _most_batches(lengths: Indices, budget: int) -> int:
    """The number of batches that holds any order of the examples, at most as many as there are examples.

    All batches but the last hold more tokens than the budget less the longest example, and two consecutive ones more
    than the budget.
    """
    total, room = int(lengths.sum()), budget - int(lengths.max()) + 1
    return max(1, min(len(lengths), -(-total // max(1, room)), -(-2 * total // budget)))


def _dealt(lengths: Indices, number: int) -> Indices:
    """The share of each example, if they are assigned by length in snake order."""
    rounds, turn = np.divmod(np.arange(len(lengths)), number)
    share_of = np.empty(len(lengths), dtype=np.int64)
    share_of[np.argsort(-lengths, kind="stable")] = np.where(rounds % 2 == 0, turn, number - 1 - turn)
    return share_of
