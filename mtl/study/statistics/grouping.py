"""Grouping of tasks: which to train together, predicted from the gains of pairs.

Shapes: K tasks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MAX_TASKS = 12
"""Largest number of tasks: the search is exact and considers all 2^K sets of tasks."""

_PER_ENCODER = 1e-9
"""Penalty per encoder, relative to the largest gain: of equally good partitions, the one with fewer encoders wins."""


class PredictedGrouping(NamedTuple):
    """A partition of the tasks and the gains predicted for it from pairs; nothing here was measured on groups.

    Args:
        groups: Tasks of each encoder, as ascending row numbers of the matrix.
        predicted_gains: Predicted gain of each task, [K].
        predicted_total: Sum of the predicted gains.
    """

    groups: tuple[tuple[int, ...], ...]
    predicted_gains: tuple[float, ...]
    predicted_total: float


def predicted_gains(gains: ArrayLike, group: tuple[int, ...]) -> dict[int, float]:
    """The predicted gain of each task of a group: the mean of its gains from the other tasks of the group.

    A task on its own gains 0. This is the estimate of Standley et al. 2020 (section 5.2) and Fifty et al. 2021.

    Args:
        gains: Gain of the row's task from the column's task, [K, K].
        group: Tasks of the group, as row numbers of the matrix.

    >>> predicted_gains([[float("nan"), 2.0], [-1.0, float("nan")]], (0, 1))
    {0: 2.0, 1: -1.0}
    """
    matrix = np.asarray(gains, dtype=np.float64)
    others = {task: [partner for partner in group if partner != task] for task in group}
    return {task: float(matrix[task, found].mean()) if found else 0.0 for task, found in others.items()}


def best_grouping(gains: ArrayLike, max_encoders: int) -> PredictedGrouping:
    """The partition into at most `max_encoders` groups with the largest predicted total gain, found exactly.

    Branch and bound: each branch chooses the group of the first task that has none yet. The gain of each remaining
    task is bounded by its best single partner among the remaining tasks, because a mean is never above its maximum.

    Args:
        gains: Gain of the row's task from the column's task, [K, K], all in one unit; the diagonal is ignored.
        max_encoders: Largest number of groups, at least 1.

    Raises:
        ValueError: If `gains` is not square, has more than `MAX_TASKS` tasks or lacks a pair, or `max_encoders` is
            below 1.
    """
    matrix = _checked(gains, max_encoders)
    sets = _Sets(matrix)
    groups = _Search(sets).run(max_encoders)
    by_task = {task: gain for group in groups for task, gain in predicted_gains(matrix, group).items()}
    values = tuple(by_task[task] for task in range(len(matrix)))
    return PredictedGrouping(groups, values, float(sum(values)))


def _checked(gains: ArrayLike, max_encoders: int) -> Array:
    matrix = np.array(gains, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not 1 <= len(matrix) <= MAX_TASKS:
        raise ValueError(f"gains must be a square matrix of 1 to {MAX_TASKS} tasks, got shape {matrix.shape}.")
    if max_encoders < 1:
        raise ValueError(f"max_encoders must be at least 1, got {max_encoders}.")
    np.fill_diagonal(matrix, 0.0)
    if not np.isfinite(matrix).all():
        target, partner = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(
            f"gains[{target}, {partner}] must be a finite number, got {matrix[target, partner]}. Run the missing pair,"
            " or leave the task out."
        )
    return matrix


class _Sets:
    """The gain of each set of tasks as one group, and an upper bound over all its partitions; sets are bit masks."""

    def __init__(self, matrix: Array) -> None:
        self.num_tasks = len(matrix)
        masks = np.arange(2**self.num_tasks)
        members = (masks[:, None] >> np.arange(self.num_tasks)) & 1  # [2^K, K]
        sizes = members.sum(axis=1)
        self.total: Array = ((members @ matrix) * members).sum(axis=1) / np.maximum(sizes - 1, 1)
        penalty = _PER_ENCODER * (float(np.abs(matrix).max()) or 1.0)
        self.total[1:] -= penalty
        self.bound: Array = np.zeros(len(masks))
        for task, row in enumerate(matrix):
            best = (members * row).max(axis=1)  # at least the 0 on the diagonal, the gain of the task on its own
            self.bound += np.where(members[:, task] == 1, best, 0.0)
        self.bound[1:] -= penalty  # the remaining tasks need at least one more encoder


class _Search:
    def __init__(self, sets: _Sets) -> None:
        self._sets = sets
        self._best = -np.inf
        self._best_groups: tuple[int, ...] = ()

    def run(self, max_encoders: int) -> tuple[tuple[int, ...], ...]:
        self._branch(2**self._sets.num_tasks - 1, max_encoders, 0.0, ())
        return tuple(_members(group) for group in self._best_groups)

    def _branch(self, left: int, encoders_left: int, total: float, groups: tuple[int, ...]) -> None:
        """Chooses the group of the lowest task of `left`, most promising group first."""
        if not left:
            if total > self._best:
                self._best, self._best_groups = total, groups
            return
        choices = np.array([left]) if encoders_left == 1 else _with_lowest(left)
        promise = total + self._sets.total[choices] + self._sets.bound[left & ~choices]
        for place in np.argsort(-promise, kind="stable"):
            if promise[place] <= self._best:
                return
            group = int(choices[place])
            self._branch(left & ~group, encoders_left - 1, total + float(self._sets.total[group]), (*groups, group))


def _with_lowest(left: int) -> NDArray[np.int64]:
    """All subsets of `left` that contain its lowest task."""
    lowest = left & -left
    subsets = np.array([lowest])
    for task in _members(left & ~lowest):
        subsets = np.concatenate([subsets, subsets | (1 << task)])
    return subsets


def _members(mask: int) -> tuple[int, ...]:
    return tuple(task for task in range(mask.bit_length()) if mask >> task & 1)
