"""Which tasks were still improving when training ended, so that their scores say more about its length than about them.

A task is undertrained if its last evaluation on dev is its best and its primary metric rose there by more than one unit
compared with the evaluation before. The unit is 1 / (number of scored dev rows): the change of accuracy if one row's
prediction changes. The same unit is used for metrics that have no such step, such as F1 and correlations.

The code decides no result, only what is reported of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DECIDES_RESULTS = False


def is_undertrained(scores: Sequence[float], num_rows: int) -> bool:
    """Whether the last score is the best one and more than one unit above the one before.

    Args:
        scores: The primary metric at each evaluation on dev, in order; higher is better.
        num_rows: Number of scored dev rows.

    >>> is_undertrained([0.5, 0.6, 0.7], 100), is_undertrained([0.5, 0.6, 0.61], 100), is_undertrained([0.7, 0.6], 100)
    (True, False, False)
    >>> is_undertrained([0.7], 100)  # nothing to compare with
    False
    """
    if len(scores) < 2 or not num_rows:
        return False
    *before, last = scores
    is_best = all(last > score for score in before if not math.isnan(score))
    return is_best and last - before[-1] > (1 + 1e-6) / num_rows


class DevCurves:
    """The primary metric of each task at every evaluation on dev."""

    def __init__(self) -> None:
        self._scores: dict[str, list[float]] = {}
        self._num_rows: dict[str, int] = {}

    def add(self, task: str, score: float, num_rows: int) -> None:
        """Adds an evaluation of a task.

        Args:
            task: Name of the task.
            score: Its primary metric; NaN if it is undefined.
            num_rows: Number of scored dev rows.
        """
        self._scores.setdefault(task, []).append(score)
        self._num_rows[task] = num_rows

    def undertrained(self) -> dict[str, bool]:
        """Whether each task is undertrained."""
        return {task: is_undertrained(scores, self._num_rows[task]) for task, scores in self._scores.items()}

    def state_dict(self) -> dict[str, Any]:
        """The evaluations so far, with which a resumed run continues."""
        return {"scores": {task: list(scores) for task, scores in self._scores.items()}, "rows": dict(self._num_rows)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._scores = {task: list(scores) for task, scores in state["scores"].items()}
        self._num_rows = dict(state["rows"])


def undertrained_caution(tasks: Iterable[str]) -> str:
    """A sentence for people about the tasks that are undertrained; empty if there are none.

    >>> undertrained_caution(["gad", "rqe"])
    'Undertrained, still improving at the last evaluation: gad, rqe. Raise trainer.max_epochs.'
    """
    listed = ", ".join(tasks)
    return f"Undertrained, still improving at the last evaluation: {listed}. Raise trainer.max_epochs." * bool(listed)
