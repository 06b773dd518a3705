"""The layout of a batch without padding: all its tokens in one row, longest sequence first.

Linear layers, norms and dropout see real tokens only. Attention pads the sequences in a few groups of similar length,
or not at all where a kernel takes sequences of different lengths. Heads get the states as [B, T, H].

Groups are formed on the host, which knows all lengths, but their tensors are computed on the device of the layout, from
tensors that are there. A copy from the host would make it wait for a GPU.

Shapes: B sequences, N tokens of all sequences together, T tokens of the longest sequence, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

GROUPS = 4
"""Most groups in which a batch is padded. More of them save little padding and cost a kernel launch each."""


class Group:
    """Consecutive sequences of a layout, padded to the longest of them: n sequences, t tokens of the longest.

    Args:
        lengths: Number of tokens of each sequence, longest first.
        start: Place of the first token in the layout's row.
        sequences: Sequence of each token, counted from the first of the group [tokens].
        positions: Position of each token in its sequence [tokens].
    """

    def __init__(self, lengths: npt.NDArray[np.int64], start: int, sequences: Tensor, positions: Tensor) -> None:
        self.num, self.longest = len(lengths), int(lengths[0])
        self.start, self.stop = start, start + len(positions)
        self.is_full = len(positions) == self.num * self.longest
        """Whether all sequences have the same length, so that nothing is padded."""
        self.slots = torch.add(positions, sequences, alpha=self.longest)
        """Place of each token among the n * t places of the padded group."""
        places = positions.new_zeros(self.num * self.longest)
        self.tokens = places.index_copy(0, self.slots, torch.arange(len(positions), device=positions.device))
        """Token at each of the n * t places, counted from `start`; padding repeats the first token."""
        self.mask = places.bool().index_fill_(0, self.slots, True).view(self.num, self.longest)
        """True for tokens and False for padding [n, t]."""
        self._by_head: dict[int, tuple[Tensor, Tensor]] = {}

    def padded(self, values: Tensor) -> Tensor:
        """The values [tokens, ...] of this group's tokens as [n, t, ...]; padding repeats the first token's."""
        if not self.is_full:
            values = _rows(values, self.tokens, self.slots)
        return values.reshape(self.num, self.longest, *values.shape[1:])

    def packed(self, values: Tensor) -> Tensor:
        """The values of the tokens, one after the other, from values [n, t, ...]."""
        values = values.reshape(self.num * self.longest, *values.shape[2:])
        return values if self.is_full else _taken(values, self.slots)

    def heads_padded(self, values: Tensor) -> Tensor:
        """The values [tokens, A, D] of this group's tokens as [n, A, t, D]; padding repeats the first token's.

        With one copy: rows are selected for each attention head, in the order in which a matrix product reads them.
        """
        num_tokens, heads, size = values.shape
        if self.is_full:
            return values.reshape(self.num, self.longest, heads, size).transpose(1, 2)
        places, slots = self._indices(heads)
        padded = _rows(values.reshape(num_tokens * heads, size), places, slots)
        return padded.reshape(self.num, heads, self.longest, size)

    def heads_packed(self, values: Tensor) -> Tensor:
        """The values of the tokens [tokens, A, D], one after the other, from values [n, A, t, D]."""
        _, heads, _, size = values.shape
        if self.is_full:
            return values.transpose(1, 2).reshape(-1, heads, size)
        _, slots = self._indices(heads)
        return _taken(values.reshape(-1, size), slots).reshape(-1, heads, size)

    def _indices(self, heads: int) -> tuple[Tensor, Tensor]:
        """`tokens` and `slots` for values with a row per token and head, and places in the order [n, A, t]."""
        if heads not in self._by_head:
            head = torch.arange(heads, device=self.tokens.device)
            tokens = self.tokens.view(self.num, 1, self.longest) * heads + head[:, None]
            sequence, position = self.slots // self.longest, self.slots % self.longest
            slots = (sequence[:, None] * heads + head) * self.longest + position[:, None]
            self._by_head[heads] = tokens.reshape(-1), slots.reshape(-1)
        return self._by_head[heads]


def _rows(values: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    selected: Tensor = _Rows.apply(values, rows, places)  # type: ignore[no-untyped-call]  # of torch
    return selected


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    selected: Tensor = _Taken.apply(values, rows)  # type: ignore[no-untyped-call]  # of torch
    return selected


# The general gradient of a selection of rows adds them up one by one, which is slow on a CPU and not reproducible on a
# GPU. These two know that nothing has to be added.


class _Rows(torch.autograd.Function):
    """Rows of a tensor, where the gradients of all but one copy of each row are zero."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Selects `rows`; row i of the values is at `places[i]` of the result, and its other copies have no effect."""
        ctx.save_for_backward(places)
        return values.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradients[0].index_select(0, places), None, None


class _Taken(torch.autograd.Function):
    """Different rows of a tensor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = values.shape
        return values.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return gradients[0].new_zeros(ctx.shape).index_copy(0, rows, gradients[0]), None


class Layout:
    """Where the tokens of a batch's sequences are in its row.

    Args:
        lengths: Number of tokens of each sequence [B], in the order of the batch.

    >>> layout = Layout([2, 3])
    >>> layout.order.tolist(), layout.positions.tolist()
    ([1, 0], [0, 1, 2, 0, 1])
    >>> layout.states(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])).squeeze(-1).tolist()
    [[4.0, 5.0, 0.0], [1.0, 2.0, 3.0]]
    """

    def __init__(self, lengths: Sequence[int] | npt.NDArray[np.int64]) -> None:
        of_batch = np.asarray(lengths, dtype=np.int64)
        self.order: npt.NDArray[np.int64] = np.argsort(-of_batch, kind="stable")
        """Index in the batch of each sequence of the row."""
        self.lengths: npt.NDArray[np.int64] = of_batch[self.order]
        """Number of tokens of each sequence of the row."""
        self.num_tokens = int(self.lengths.sum())
        self.longest = int(self.lengths[0]) if len(self.lengths) else 0
        starts = np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        positions = np.arange(self.num_tokens) - starts
        self.positions = torch.from_numpy(positions)
        """Position of each token in its sequence [N], from 0."""
        self.slots = torch.from_numpy(np.repeat(self.order, self.lengths) * self.longest + positions)
        """Place of each token among the B * T places of the padded batch [N]."""
        self.boundaries = torch.from_numpy(np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32))
        """Place at which each sequence starts, and the number of tokens [B + 1]."""
        self.mask = torch.from_numpy(np.arange(self.longest) < of_batch[:, None])
        """True for tokens and False for padding in the padded batch [B, T]."""

    def map(self, move: Callable[[Tensor], Tensor]) -> Layout:
        """The same layout with its tensors moved, such as to another device."""
        moved = Layout.__new__(Layout)
        vars(moved).update(
            {
                name: move(value) if isinstance(value, Tensor) else value
                for name, value in vars(self).items()
                if name not in ("groups", "passes")
            }
        )
        return moved

    @cached_property
    def groups(self) -> list[Group]:
        """The sequences in at most `GROUPS` groups of similar length, for attention: the smallest area of scores."""
        return self._grouped(2)

    @cached_property
    def passes(self) -> list[Group]:
        """The sequences in at most `GROUPS` groups of similar length, for padded passes: the fewest padded tokens."""
        return self._grouped(1)

    def _grouped(self, power: int) -> list[Group]:
        sequences = (self.positions == 0).cumsum(0) - 1
        groups, first, start = [], 0, 0
        for chunk in np.split(self.lengths, borders(self.lengths, GROUPS, power)):
            stop = start + int(chunk.sum())
            groups.append(Group(chunk, start, sequences[start:stop] - first, self.positions[start:stop]))
            first, start = first + len(chunk), stop
        return groups

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """The values [N, ...] of each group's tokens."""
        sizes = [group.stop - group.start for group in self.groups]
        return torch.split(values, sizes)

    def packed(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Values per token [N] from those of each sequence, in the order of the batch."""
        values = [sequences[index] for index in self.order]
        return torch.from_numpy(np.concatenate([np.asarray(part, dtype=np.int64) for part in values]))

    def states(self, values: Tensor) -> Tensor:
        """The values [N, H] as [B, T, H], with zeros for padding."""
        padded = values.new_zeros(len(self.lengths) * self.longest, *values.shape[1:])
        return padded.index_copy(0, self.slots, values).reshape(len(self.lengths), self.longest, *values.shape[1:])


def borders(lengths: npt.NDArray[np.int64], most: int, power: int) -> list[int]:
    """Indices at which to split sequences, longest first, into at most `most` groups.

    The sum over the groups of n * t**power is as small as possible: dynamic programming over the distinct lengths.

    Args:
        lengths: Number of tokens of each sequence, in falling order.
        most: Largest number of groups.
        power: What a padded sequence costs: 1 for its tokens, as in linear layers, and 2 for its scores of attention.

    >>> borders(np.array([9, 9, 8, 2, 2, 1]), 2, 2)
    [3]
    """
    negated, first = np.unique(-lengths, return_index=True)
    ends = np.append(first[1:], len(lengths))  # groups end where the length changes
    heights = (-negated).astype(np.float64) ** power  # of each sequence of a group that starts with this length
    number = len(first)
    # cost[i, j]: cost of a group from the first sequence of length i to the last one of length j.
    cost = np.where(ends[None, :] > first[:, None], (ends[None, :] - first[:, None]) * heights[:, None], np.inf)
    best = cost[0]
    chosen: list[npt.NDArray[np.int64]] = []
    for _ in range(min(most, number) - 1):
        # The last group starts at i, after the best split of everything before it.
        total = np.vstack([cost[:1], best[:-1, None] + cost[1:]])
        chosen.append(total.argmin(axis=0))
        best = total.min(axis=0)
    found: list[int] = []
    end = number - 1
    for start_of in reversed(chosen):
        start = int(start_of[end])
        if start == 0:
            break
        found.append(int(first[start]))
        end = start - 1
    return found[::-1]
