"""What happens beside training: checkpoints, and stopping early, for the whole mixture or task by task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint

from mtl.tracking.run_folder import RunFolder

SELECTION = "val/selection"


def checkpoints(
    folder: RunFolder, primary_metrics: Mapping[str, str], *, save_every: int | None = None
) -> list[Checkpoint]:
    """Keeps `best.ckpt` by the mixture's selection, `best-<task>.ckpt` by each task's primary metric on dev, and
    `last.ckpt` with everything that a resume needs.

    Args:
        folder: Of the run.
        primary_metrics: Of each task.
        save_every: Updates after which `last` is saved within an epoch, too; None saves at the end of epochs only.
    """
    monitored = {"best": SELECTION}
    if len(primary_metrics) > 1:
        monitored |= {f"best:{task}": f"val/{task}/{metric}" for task, metric in primary_metrics.items()}
    kept: list[Checkpoint] = [
        NamedCheckpoint(folder, name, monitor=metric, mode="max", save_weights_only=True, save_on_train_epoch_end=False)
        for name, metric in monitored.items()
    ]
    if save_every is not None:
        kept.append(StepCheckpoint(folder, save_every))
    return [*kept, NamedCheckpoint(folder, "last", every_n_epochs=1, save_on_train_epoch_end=True)]


class NamedCheckpoint(ModelCheckpoint):
    """Keeps one checkpoint under a name that `--ckpt_path` finds, from the moment it is saved.

    Args:
        folder: Of the run.
        name: `best`, `last` or `best:<task>`.
        arguments: Of `ModelCheckpoint`: what is saved, and when.
    """

    def __init__(self, folder: RunFolder, name: str, **arguments: Any) -> None:
        super().__init__(
            folder.checkpoints, filename=name.replace(":", "-"), save_top_k=1, enable_version_counter=False, **arguments
        )
        self._folder, self._name = folder, name

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        score = None if self.monitor is None or self.best_model_score is None else float(self.best_model_score)
        if trainer.is_global_zero:
            self._folder.point(self._name, Path(filepath), score)


class StepCheckpoint(Checkpoint):
    """Saves `last` every few updates, so that a run that was stopped goes on within the epoch.

    It saves between two updates only, and not where an evaluation follows, which a resumed run would leave out: then
    after the next update. The end of the epoch saves what comes out of it.

    Args:
        folder: Of the run.
        every: Updates from one save to the next.
    """

    def __init__(self, folder: RunFolder, every: int) -> None:
        self._folder, self._every = folder, every
        self._saved_at = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        loop = trainer.fit_loop
        evaluates = loop.epoch_loop._should_check_val_fx(cast(Any, loop._data_fetcher))
        is_due = trainer.global_step // self._every > self._saved_at // self._every
        if not is_due or loop._should_accumulate() or evaluates:
            return
        self._saved_at = trainer.global_step
        path = self._folder.checkpoints / "last.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            self._folder.point("last", path, None)


class TaskEarlyStopping(Callback):
    """Stops training a task whose primary metric on dev has not risen for a while; the others go on.

    The stopped task's steps stay empty, so the learning-rate schedule and the other tasks' batches are what they
    would have been. Training ends when all tasks have stopped.

    Args:
        primary_metrics: Of each task.
        patience: Evaluations without a rise of more than `min_delta`, after which the task stops.
        min_delta: What counts as a rise.
    """

    def __init__(self, primary_metrics: Mapping[str, str], *, patience: int, min_delta: float = 0.0) -> None:
        self._metrics = dict(primary_metrics)
        self._patience, self._min_delta = patience, min_delta
        self._best = dict.fromkeys(self._metrics, float("-inf"))
        self._waited = dict.fromkeys(self._metrics, 0)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        for task, metric in self._metrics.items():
            score = float(trainer.callback_metrics[f"val/{task}/{metric}"])
            if math.isnan(score):  # the trainer was told to evaluate a few batches only
                continue
            if score > self._best[task] + self._min_delta:
                self._best[task], self._waited[task] = score, 0
            else:
                self._waited[task] += 1
        stopped = {task for task, waited in self._waited.items() if waited >= self._patience}
        cast(Any, trainer).datamodule.stopped.update(stopped)
        if len(cast(Any, trainer).datamodule.stopped) == len(self._metrics):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._waited = dict(state_dict["best"]), dict(state_dict["waited"])


def early_stopping(
    primary_metrics: Mapping[str, str], *, patience: int | None, min_delta: float, per_task: bool
) -> list[Callback]:
    """The callback that the options ask for; none without a patience."""
    if patience is None:
        return []
    if per_task:
        return [TaskEarlyStopping(primary_metrics, patience=patience, min_delta=min_delta)]
    return [EarlyStopping(SELECTION, mode="max", patience=patience, min_delta=min_delta, check_finite=False)]
