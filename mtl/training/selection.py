"""Selects the best evaluation on dev, for checkpoints, early stopping, the recorder and studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

MIXTURE = "best"
"""The name of the mixture's selection; a task's selection is named `of_task(task)`. Checkpoints have the same names."""


def of_task(task: str) -> str:
    """The name of a task's selection.

    >>> of_task("gad")
    'best:gad'
    """
    return f"{MIXTURE}:{task}"


class Best:
    """The best value of a score so far; higher is better, and an undefined value is below every number.

    >>> best = Best()
    >>> [best.improves(value) for value in (math.nan, 0.5, 0.5, 0.4, 0.6)]
    [True, True, False, False, True]
    """

    def __init__(self, value: float | None = None) -> None:
        self.value = value

    def improves(self, value: float, min_delta: float = 0.0) -> bool:
        """Adds a value and returns whether it is the first, or above the best so far by more than `min_delta`."""
        value = -math.inf if math.isnan(value) else value
        if self.value is not None and not value > self.value + min_delta:
            return False
        self.value = value
        return True


class Selection:
    """Scores every evaluation on dev, for the mixture and for each of its tasks, and keeps the best scores.

    Args:
        primary_metrics: The primary metric of each task, which selects the task's best evaluation.
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
        self.improved: frozenset[str] = frozenset()
        """The names of the selections for which the latest evaluation is the best so far."""
        self._rule, self._weights = rule, dict(weights or {})
        self._lower_is_better = {task: frozenset(names) for task, names in (lower_is_better or {}).items()}
        self._best: dict[str, Best] = {}
        self._best_rank: tuple[int, float] | None = None

    @property
    def best(self) -> dict[str, float]:
        """The best score so far, by name; minus infinity if all scores were undefined."""
        mixture = {} if self._best_rank is None else {MIXTURE: self._best_rank[1]}
        return mixture | {name: best.value for name, best in self._best.items() if best.value is not None}

    def add(self, results: Mapping[str, Mapping[str, float]]) -> None:
        """Adds the metrics of an evaluation and updates `scores` and `improved`.

        Evaluations in which some tasks have no score are compared too: the one with more scores is better; if they have
        equally many, the one with the higher score of the mixture over those is. As long as there is no score at all,
        the latest evaluation is the best.

        Args:
            results: ``{task: {metric: value}}`` of the tasks that were evaluated.
        """
        tasks = {of_task(task): metrics[self.primary_metrics[task]] for task, metrics in results.items()}
        self.scores = {MIXTURE: self.score(results), **tasks}
        improved = {name for name, score in tasks.items() if self._best.setdefault(name, Best()).improves(score)}
        rank = self._rank(results)
        if self._best_rank is None or rank > self._best_rank or rank[0] == self._best_rank[0] == 0:
            self._best_rank = rank
            improved.add(MIXTURE)
        self.improved = frozenset(improved)

    def _rank(self, results: Mapping[str, Mapping[str, float]]) -> tuple[int, float]:
        """How many scores the rule can use, and the score of the mixture over these."""
        scored = {t: found for t, found in results.items() if not math.isnan(found[self.primary_metrics[t]])}
        if not math.isnan(self.scores[MIXTURE]):
            return 1 if "/" in self._rule else len(scored), self.scores[MIXTURE]
        return (len(scored), self.score(scored)) if scored and "/" not in self._rule else (0, -math.inf)

    def score(self, results: Mapping[str, Mapping[str, float]]) -> float:
        """The score of the mixture; NaN if the score of a task that it depends on is undefined.

        Args:
            results: ``{task: {metric: value}}`` of the tasks that were evaluated.
        """
        if "/" in self._rule:
            task, metric = self._rule.split("/", 1)
            value = results[task][metric]
            return -value if metric in self._lower_is_better.get(task, ()) else value
        primary = {task: metrics[self.primary_metrics[task]] for task, metrics in results.items()}
        if self._rule == "worst":
            return math.nan if any(map(math.isnan, primary.values())) else min(primary.values())
        weights = {task: self._weights.get(task, 1.0) if self._rule == "weighted" else 1.0 for task in primary}
        return sum(weights[task] * value for task, value in primary.items()) / sum(weights.values())

    def state_dict(self) -> dict[str, Any]:
        """The best scores, with which a resumed run compares its evaluations."""
        return {"best": {name: best.value for name, best in self._best.items()}, "rank": self._best_rank}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `state_dict` returned."""
        self._best = {name: Best(value) for name, value in state["best"].items()}
        self._best_rank = None if state["rank"] is None else (int(state["rank"][0]), float(state["rank"][1]))
