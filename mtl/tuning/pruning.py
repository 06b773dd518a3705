"""The callback that reports the evaluations of a training to the search, and ends it early if the search says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from optuna.trial import TrialState
from pytorch_lightning.callbacks import Callback

from mtl.tuning.suggestions import Direction, open_trials

PRUNED = "pruned"
"""Attribute of a trial with the seed and the evaluation after which it was ended."""

STEPS_PER_SEED = 100_000
"""Distance between the steps of two seeds, so that an evaluation is compared with the same one of the same seed."""


class PruneTraining(Callback):
    """Reports the objective at every evaluation on dev, and ends the training if the trial is to be pruned.

    Args:
        folder: Folder of the search.
        search: Name of the search.
        trial: Number of the trial.
        objective: Name of the objective among the logged scores.
        direction: `maximize` or `minimize`.
        pruner: Name of the pruner.
        seed_index: Index of the seed of this training among those of the trial.
    """

    def __init__(
        self,
        *,
        folder: str,
        search: str,
        trial: int,
        objective: str,
        direction: Direction,
        pruner: str,
        seed_index: int,
    ) -> None:
        self._folder, self._search, self._trial = Path(folder), search, trial
        self._objective, self._direction, self._pruner = objective, direction, pruner
        self._seed_index = seed_index
        self._num_evaluations = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends a training that had been pruned before it was resumed; Lightning begins each one as if it had not."""
        was_pruned = self._was_pruned() if trainer.is_global_zero else False
        if trainer.strategy.broadcast(was_pruned):
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._num_evaluations += 1
        prunes = self._report(float(trainer.callback_metrics[self._objective])) if trainer.is_global_zero else False
        if trainer.strategy.broadcast(prunes):
            trainer.should_stop = True

    def _was_pruned(self) -> bool:
        study = open_trials(self._folder, self._search, direction=self._direction, pruner=self._pruner)
        note = study.get_trials(deepcopy=False)[self._trial].user_attrs.get(PRUNED)
        return note is not None and note["seed_index"] == self._seed_index

    def _report(self, value: float) -> bool:
        """Reports an evaluation; returns whether the trial is to be pruned."""
        if not math.isfinite(value):
            return False
        study = open_trials(self._folder, self._search, direction=self._direction, pruner=self._pruner)
        storage = cast(Any, study)._storage
        trial = study.get_trials(deepcopy=False)[self._trial]
        if trial.state is not TrialState.RUNNING:  # another process has ended it
            return False
        step = self._seed_index * STEPS_PER_SEED + self._num_evaluations
        storage.set_trial_intermediate_value(trial._trial_id, step, value)
        # Optuna compares the best of all values of the trial, so those of other seeds would hide a bad one.
        view = study.get_trials(deepcopy=True)[self._trial]
        view.intermediate_values = of_seed(view.intermediate_values, self._seed_index)
        prunes = study.pruner.prune(study, view)
        if prunes:
            note = {"seed_index": self._seed_index, "evaluation": self._num_evaluations}
            storage.set_trial_user_attr(trial._trial_id, PRUNED, note)
        return bool(prunes)

    def state_dict(self) -> dict[str, Any]:
        return {"num_evaluations": self._num_evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._num_evaluations = state_dict["num_evaluations"]


def of_seed(values: Mapping[int, float], seed_index: int) -> dict[int, float]:
    """The reported values of one seed of a trial, by step.

    >>> of_seed({1: 0.9, 2: 0.8, 100001: 0.1}, seed_index=1)
    {100001: 0.1}
    """
    return {step: value for step, value in values.items() if step // STEPS_PER_SEED == seed_index}
