"""The trials of a search as plain values, for the report, MLflow and JSON."""

from __future__ import annotations

import math
import statistics
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.tuning.search_space import SearchSpace, fit_overrides

if TYPE_CHECKING:
    import optuna

    from mtl.tuning.tuning_file import Tuning

SCORES, REASON, REPEATS, UNDERTRAINED = "scores", "reason", "repeats", "undertrained"
"""Attributes of a trial in Optuna's study: see `TrialRecord`."""

STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "running"}


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Args:
        number: Number of the trial, from 0.
        state: finished, pruned, failed or running.
        values: Its values by searched key.
        scores: The objective by seed, as far as trained.
        reason: Why it failed or was pruned; empty otherwise.
        repeats: Number of an earlier trial with the same values, whose scores it has; None if it was trained.
        undertrained: Tasks that were still improving at the last evaluation, for at least one seed.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    scores: Mapping[str, float]
    reason: str = ""
    repeats: int | None = None
    undertrained: Sequence[str] = ()

    @property
    def mean(self) -> float | None:
        """Mean of the objective over the seeds; None without any."""
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the objective over the seeds; None with fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "mean": self.mean, "spread": self.spread, "overrides": fit_overrides(self.values)}


@dataclass(frozen=True)
class SearchRecord:
    """A search so far.

    Args:
        name: Name of the search.
        objective: Name of the objective.
        is_minimized: Whether a lower objective is better.
        wanted: Number of trials to ask for, at most.
        seeds: The seeds of each trial.
        sampler: Name of the sampler.
        mixture: Path of the mixture file, with which the best values are trained.
        fixed: Fixed options of `mtl fit`, as its arguments.
        trials: The trials.
        importance: Share of each key in the differences between trials; empty if it cannot be estimated.
    """

    name: str
    objective: str
    is_minimized: bool
    wanted: int
    seeds: Sequence[int]
    sampler: str
    mixture: str
    fixed: Sequence[str]
    trials: Sequence[TrialRecord]
    importance: Mapping[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state, and of those that repeat an earlier one."""
        found = Counter(trial.state for trial in self.trials)
        repeats = sum(trial.repeats is not None for trial in self.trials)
        return {**{state: found[state] for state in dict.fromkeys(STATES.values())}, "repeated": repeats}

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the best mean, the first of several; None if no trial is finished."""
        sign = 1 if self.is_minimized else -1
        finished = [trial for trial in self.trials if trial.state == "finished" and trial.mean is not None]
        return min(finished, key=lambda trial: sign * (trial.mean or 0.0), default=None)

    @property
    def fit_arguments(self) -> list[str]:
        """The arguments of `mtl fit` that train with the best values; empty if no trial is finished."""
        best = self.best
        if best is None:
            return []
        return [f"--mixture={self.mixture}", *self.fixed, *fit_overrides(best.values)]


def record_of(tuning: Tuning, study: optuna.Study, mixture_file: Path, *, with_importance: bool) -> SearchRecord:
    """The record of a search.

    Args:
        tuning: The search.
        study: Its trials.
        mixture_file: File with the mixture.
        with_importance: Whether to estimate the importance of each key.
    """
    spec = tuning.spec
    fixed = {f"{section}.{name}": value for section, values in spec.sections.items() for name, value in values.items()}
    fixed = {key: value for key, value in fixed.items() if key not in tuning.space}
    return SearchRecord(
        name=spec.name,
        objective=spec.objective,
        is_minimized=tuning.is_minimized,
        wanted=tuning.num_trials,
        seeds=spec.seed_list,
        sampler=spec.sampler,
        mixture=str(mixture_file),
        fixed=fit_overrides(fixed),
        trials=[_trial_record(trial, tuning.space) for trial in study.get_trials(deepcopy=False)],
        importance=_importance(study) if with_importance else {},
    )


def values_of(trial: optuna.trial.FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    """The values of a trial by searched key, in the order of the file."""
    return {key: values.value(trial.params[key]) for key, values in space.items() if key in trial.params}


def _trial_record(trial: optuna.trial.FrozenTrial, space: SearchSpace) -> TrialRecord:
    attributes = trial.user_attrs
    return TrialRecord(
        trial.number,
        STATES[trial.state.name],
        values_of(trial, space),
        attributes.get(SCORES, {}),
        attributes.get(REASON, ""),
        attributes.get(REPEATS),
        tuple(attributes.get(UNDERTRAINED, ())),
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    """Optuna's importance of each key; empty with too few trials, or if all are equally good."""
    import optuna

    with warnings.catch_warnings():
        # With too few trials, a warning says that all keys are equally important.
        warnings.filterwarnings("error", ".*importance")
        try:
            found = optuna.importance.get_param_importances(study)
        except (ValueError, RuntimeError, ZeroDivisionError, Warning):
            return {}
    return {key: value for key, value in found.items() if math.isfinite(value)}
