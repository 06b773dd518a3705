"""The score of a suite from those of its tasks; a suite with a missing task has none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from mtl.suites.suite_spec import SuiteSpec

Number = float | Decimal


class PartialMean(NamedTuple):
    """The mean of the available scores.

    Args:
        mean: The mean; None if no score is there.
        found: Number of scores.
        total: Number of scores of a complete mean.
    """

    mean: Number | None
    found: int
    total: int

    @property
    def is_complete(self) -> bool:
        """Whether no score is missing."""
        return self.found == self.total

    @property
    def label(self) -> str:
        """How many scores are missing, in words; empty if none is.

        >>> PartialMean(84.0, 9, 13).label
        'incomplete (9 of 13)'
        """
        return "" if self.is_complete else f"incomplete ({self.found} of {self.total})"


class SuiteScore(NamedTuple):
    """The score of a model on a suite.

    Args:
        score: The score of the suite; its mean is None unless every task has a score.
        groups: The mean of the available scores, by group.
    """

    score: PartialMean
    groups: dict[str, PartialMean]


def suite_score(spec: SuiteSpec, scores: Mapping[str, Number]) -> SuiteScore:
    """Aggregates the scores of one model.

    Args:
        spec: The suite.
        scores: Score by task; others than the suite's tasks are ignored.
    """
    groups = {name: _partial(scores, members) for name, members in spec.aggregation.groups.items()}
    tasks = _partial(scores, spec.tasks)
    if not tasks.is_complete:
        return SuiteScore(PartialMean(None, tasks.found, tasks.total), groups)
    if spec.aggregation.rule == "mean_of_tasks":
        return SuiteScore(tasks, groups)
    means = [group.mean for group in groups.values() if group.mean is not None]
    return SuiteScore(PartialMean(_mean(means), tasks.found, tasks.total), groups)


def _partial(scores: Mapping[str, Number], tasks: Collection[str]) -> PartialMean:
    found = [scores[task] for task in tasks if task in scores]
    return PartialMean(_mean(found) if found else None, len(found), len(tasks))


def _mean(values: Sequence[Number]) -> Number:
    total: Number = sum(values)
    return total / len(values)
