"""Selects the best evaluation on dev, for checkpoints, early stopping, the recorder and studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

MIXTURE = "best"
"""The name of the mixture's selection; a task's selection is named `of_task(task)`. Checkpoints have the same names."""


def of_task(task: str) -> str:
    """The name of a task's selection.

    >>> of_task("gad")
    'best:gad'
    """
    return f"{MIXTURE}:{task}"


class Rank(NamedTuple):
    """Where an evaluation stands: of two, the one with more scores is better, then the one with the higher score.

    Args:
        defined: Number of primary metrics that are defined, of those that the score depends on.
        score: The score over these; minus infinity if there are none.
    """

    defined: int
    score: float


UNDEFINED = Rank(0, -math.inf)


class Best:
    """The best evaluation so far.

    >>> best = Best()
    >>> [best.improves(Rank(1, score)) for score in (0.5, 0.5, 0.4, 0.6)]
    [True, False, False, True]
    >>> [best.improves(rank) for rank in (Rank(2, 0.1), Rank(1, 0.9), UNDEFINED)]
    [True, False, False]
    """

    def __init__(self, rank: Rank | None = None) -> None:
        self.rank = rank

    def improves(self, rank: Rank, min_delta: float = 0.0) -> bool:
        """Adds an evaluation and returns whether it is the first, or better than the best so far.

        Args:
            rank: Rank of the evaluation.
            min_delta: With equally many scores, the score must be higher by more than this.
        """
        if self.rank is not None:
            defined, score = self.rank
            if not rank > self.rank or (rank.defined == defined and not rank.score > score + min_delta):
                return False
        self.rank = rank
        return True

    def state_dict(self) -> list[float] | None:
        """The rank as plain values."""
        return None if self.rank is None else list(self.rank)

    @classmethod
    def from_state(cls, state: Sequence[float] | None) -> Best:
        """Restores what `state_dict` returned."""
        return cls(None if state is None else Rank(int(state[0]), float(state[1])))


class Selection:
    """Scores every evaluation on dev, for the mixture and for each of its tasks, and keeps the best scores.

    Args:
        primary_metrics: The primary metric of each trained task, which selects the task's best evaluation.
        rule: Score of the mixture: the `mean`, `weighted` mean or `worst` of the primary metrics, or one metric as
            ``task/metric``.
        weights: Weights of the tasks for `weighted`; 1 for tasks without one.
        lower_is_better: The metrics of each task for which lower is better; their values are negated.
    """

    def __init__(
        self,
        primary_metrics: Mapping[str, str],
        *,
        rule: str = "mean",
        weights: Mapping[str, float] | None = None,
        lower_is_better: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.primary_metrics = dict(primary_metrics)
        self.scores: dict[str, float] = {}
        """The scores of the latest evaluation, by name."""
        self.ranks: dict[str, Rank] = {}
        """The ranks of the latest evaluation, by name."""
        self.improved: frozenset[str] = frozenset()
        """The names of the selections for which the latest evaluation is the best so far."""
        self._rule, self._weights = rule, dict(weights or {})
        self._lower_is_better = {task: frozenset(names) for task, names in (lower_is_better or {}).items()}
        self._best: dict[str, Best] = {}

    @property
    def best(self) -> dict[str, float]:
        """The best score so far, by name; minus infinity if all scores were undefined."""
        return {name: best.rank.score for name, best in self._best.items() if best.rank is not None}

    def add(self, results: Mapping[str, Mapping[str, float]]) -> None:
        """Adds the metrics of an evaluation and updates `scores`, `ranks` and `improved`.

        Evaluations in which some tasks have no score are compared too: the one with more scores is better; if they have
        equally many, the one with the higher score of the mixture over those is. As long as there is no score at all,
        the latest evaluation of the mixture is the best.

        Args:
            results: ``{task: {metric: value}}`` of the tasks that were evaluated.
        """
        tasks = {of_task(task): value for task, value in self._primary(results).items()}
        self.scores = {MIXTURE: self.score(results), **tasks}
        ranks = {name: UNDEFINED if math.isnan(score) else Rank(1, score) for name, score in tasks.items()}
        self.ranks = {MIXTURE: self._rank(results), **ranks}
        improved = {name for name, rank in self.ranks.items() if self._best.setdefault(name, Best()).improves(rank)}
        if self._best[MIXTURE].rank == UNDEFINED:
            improved.add(MIXTURE)
        self.improved = frozenset(improved)

    def _rank(self, results: Mapping[str, Mapping[str, float]]) -> Rank:
        """How many scores the rule can use, and the score of the mixture over these."""
        primary = self._primary(results)
        scored = {task: results[task] for task, value in primary.items() if not math.isnan(value)}
        if not math.isnan(self.scores[MIXTURE]):
            return Rank(1 if "/" in self._rule else len(scored), self.scores[MIXTURE])
        return Rank(len(scored), self.score(scored)) if scored and "/" not in self._rule else UNDEFINED

    def score(self, results: Mapping[str, Mapping[str, float]]) -> float:
        """The score of the mixture; NaN if the score of a task that it depends on is undefined.

        Args:
            results: ``{task: {metric: value}}`` of the tasks that were evaluated.
        """
        if "/" in self._rule:
            task, metric = self._rule.split("/", 1)
            value = results[task][metric]
            return -value if metric in self._lower_is_better.get(task, ()) else value
        primary = self._primary(results)
        if not primary:
            return math.nan
        if self._rule == "worst":
            return math.nan if any(map(math.isnan, primary.values())) else min(primary.values())
        weights = {task: self._weights.get(task, 1.0) if self._rule == "weighted" else 1.0 for task in primary}
        return sum(weights[task] * value for task, value in primary.items()) / sum(weights.values())

    def _primary(self, results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The primary metric of each trained task that was evaluated."""
        return {task: results[task][metric] for task, metric in self.primary_metrics.items() if task in results}

    def state_dict(self) -> dict[str, Any]:
        """The best ranks, with which a resumed run compares its evaluations."""
        return {name: best.state_dict() for name, best in self._best.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `state_dict` returned."""
        self._best = {name: Best.from_state(rank) for name, rank in state.items()}
