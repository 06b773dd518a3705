"""Which tasks were still improving when training ended, so that their scores say more about its length than about them.

A task is undertrained if its last evaluation on dev is its best, and exceeds all earlier ones by more than one unit of
dev (`mtl.evaluation.units`). Runs and studies use the same definition. It decides no result, only what is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DECIDES_RESULTS = False

_ROUNDING = 1 + 1e-6
"""Factor on the unit, so that a rise of exactly one unit is none after rounding."""


def rise_at_the_end(curve: Sequence[float], unit: float) -> float | None:
    """By how much the last evaluation exceeds all earlier ones, if that is more than one unit; None otherwise.

    With one evaluation, or an undefined last one, nothing is known.

    Args:
        curve: The primary metric at each evaluation on dev, in order; NaN if it is undefined. Higher is better.
        unit: One unit of dev.

    >>> rise_at_the_end([0.5, 0.75], unit=0.01), rise_at_the_end([0.75, 0.755], unit=0.01)
    (0.25, None)
    """
    *before, last = curve or [math.nan]
    defined = [score for score in before if not math.isnan(score)]
    if not defined:
        return None
    rise = last - max(defined)
    return rise if rise > unit * _ROUNDING else None


class DevCurves:
    """The primary metric of each task at every evaluation on dev."""

    def __init__(self) -> None:
        self._scores: dict[str, list[float]] = {}

    def add(self, task: str, score: float) -> None:
        """Adds an evaluation of a task.

        Args:
            task: Name of the task.
            score: Its primary metric; NaN if it is undefined.
        """
        self._scores.setdefault(task, []).append(score)

    def undertrained(self, units: Mapping[str, float]) -> dict[str, bool]:
        """Whether each task is undertrained.

        Args:
            units: One unit of dev for each task.
        """
        return {task: rise_at_the_end(scores, units[task]) is not None for task, scores in self._scores.items()}

    def state_dict(self) -> dict[str, Any]:
        """The evaluations so far, with which a resumed run continues."""
        return {"scores": {task: list(scores) for task, scores in self._scores.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._scores = {task: list(scores) for task, scores in state["scores"].items()}


def undertrained_caution(tasks: Iterable[str]) -> str:
    """A sentence for people about the tasks that are undertrained; empty if there are none.

    >>> undertrained_caution(["gad", "rqe"])
    'Undertrained, still improving at the last evaluation: gad, rqe. Raise trainer.max_epochs.'
    """
    listed = ", ".join(tasks)
    return f"Undertrained, still improving at the last evaluation: {listed}. Raise trainer.max_epochs." * bool(listed)
