"""How the runs of a study learned: which of them collapsed, and which were stopped while they still improved.

Shapes: E evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LAST_FIFTH = 0.8
"""Share of a run after which its last fifth begins."""

SETTLED_SHARE = 2 / 3
"""A task is trained to near saturation if the best evaluation of this share of its runs is before the last fifth."""


class Learning(NamedTuple):
    """How the runs of one target learned, one run per seed; `UNKNOWN` without any run.

    Args:
        num_runs: Number of finished runs.
        collapsed: Names of the runs that collapsed, see `collapsed`.
        undertrained: Names of the runs that are undertrained, see `mtl.training.undertrained`.
        num_settled: Number of runs whose best evaluation is before the last fifth of the run; None if the runs have
            only one evaluation.
    """

    num_runs: int = 0
    collapsed: tuple[str, ...] = ()
    undertrained: tuple[str, ...] = ()
    num_settled: int | None = None

    @property
    def is_settled(self) -> bool | None:
        """Whether the best evaluation is before the last fifth in at least two of three runs; None if unknown."""
        if not self.num_runs or self.num_settled is None:
            return None
        return self.num_settled >= SETTLED_SHARE * self.num_runs


UNKNOWN = Learning()


def collapsed(scores: Sequence[float], trivial: float) -> list[int]:
    """The runs that collapsed, as positions: they fail at a task that such runs usually learn.

    Their dev score is at or below that of the best trivial predictor, while the median of all runs is above it.

    Args:
        scores: Dev score of each run, in one cell; NaN if it is undefined.
        trivial: Dev score of the best trivial predictor.

    >>> collapsed([0.8, 0.0, 0.9], trivial=0.5), collapsed([0.4, 0.0, 0.9], trivial=0.5)
    ([1], [])
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).all() or not np.nanmedian(values) > trivial:
        return []
    return [int(number) for number in np.flatnonzero(values <= trivial)]


def is_settled(curve: Sequence[float]) -> bool:
    """Whether the first of the best evaluations is before the last fifth of the run.

    Args:
        curve: Dev score at each evaluation, [E].

    >>> is_settled([0.5, 0.8, 0.8, 0.7, 0.8]), is_settled([0.5, 0.6, 0.7, 0.8, 0.9])
    (True, False)
    """
    values = np.asarray(curve, dtype=np.float64)
    if np.isnan(values).all():
        return False
    return bool((np.nanargmax(values) + 1) / len(values) <= LAST_FIFTH)
