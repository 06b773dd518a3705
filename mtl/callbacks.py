"""What happens beside training: checkpoints, and stopping early, for the whole mixture or task by task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

SELECTION = "val/selection"


def checkpoints(folder: Path, primary_metrics: Mapping[str, str]) -> list[ModelCheckpoint]:
    """Keeps `best.ckpt` by the mixture's selection, `best-<task>.ckpt` by each task's primary metric on dev, and
    `last.ckpt` with everything that a resume needs.
    """
    last = ModelCheckpoint(
        folder,
        filename="last",
        save_top_k=1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    monitored = {"best": SELECTION}
    if len(primary_metrics) > 1:
        monitored |= {f"best-{task}": f"val/{task}/{metric}" for task, metric in primary_metrics.items()}
    return [*(_best(folder, name, metric) for name, metric in monitored.items()), last]


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
    return [EarlyStopping(SELECTION, mode="max", patience=patience, min_delta=min_delta)]


def _best(folder: Path, name: str, metric: str) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder,
        filename=name,
        monitor=metric,
        mode="max",
        save_top_k=1,
        save_weights_only=True,
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )
