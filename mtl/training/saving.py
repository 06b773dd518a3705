"""When checkpoints are saved, and under which names `--ckpt_path` finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from mtl.tracking.run_folder import RunFolder
from mtl.training.selection import MIXTURE, of_task

if TYPE_CHECKING:
    from mtl.training.module import MultiTaskModule

LAST = "last"


def checkpoint_callbacks(folder: RunFolder, tasks: Sequence[str], *, save_every: int | None = None) -> list[Checkpoint]:
    """The callbacks that save `best`, `best:<task>` if there are several tasks, and `last`, from which a run resumes.

    Args:
        folder: Folder of the run.
        tasks: Tasks of the mixture.
        save_every: Number of updates between saves of `last` within an epoch; None saves it only at the end of epochs.
    """
    names = [MIXTURE, *(of_task(task) for task in tasks if len(tasks) > 1)]
    return [BestCheckpoints(folder, names), LastCheckpoint(folder, every=save_every)]


class BestCheckpoints(Checkpoint):
    """Saves the weights whenever an evaluation on dev is the best so far, once for each selection that improved.

    Args:
        folder: Folder of the run.
        names: Names of the selections, as in `Selection.scores`, whose best weights are saved.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        self._folder, self._names = folder, list(names)

    @property
    def best_model_path(self) -> str:
        """Path of the mixture's best checkpoint, for Lightning's ``ckpt_path="best"``; empty if there is none."""
        path = _path(self._folder, MIXTURE)
        return str(path) if path.is_file() else ""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        selection = cast("MultiTaskModule", pl_module).selection
        for name in self._names:
            if name in selection.improved:
                _save(trainer, self._folder, name, selection.scores[name], weights_only=True)


class LastCheckpoint(Checkpoint):
    """Saves `last` at the end of every epoch, and optionally every few updates.

    Within an epoch it saves only between two updates, and not right before an evaluation, which a resumed run would
    skip; it then saves after the next update.

    Args:
        folder: Folder of the run.
        every: Number of updates between saves within an epoch; None saves only at the end of epochs.
    """

    def __init__(self, folder: RunFolder, *, every: int | None = None) -> None:
        self._folder, self._every = folder, every
        self._saved_at = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._every is None or trainer.global_step // self._every <= self._saved_at // self._every:
            return
        loop = trainer.fit_loop
        evaluates = loop.epoch_loop._should_check_val_fx(cast(Any, loop._data_fetcher))
        if not loop._should_accumulate() and not evaluates:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def save_now(self, trainer: pl.Trainer) -> None:
        """Saves `last`; all ranks must call this, between two updates."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._saved_at = trainer.global_step
        _save(trainer, self._folder, LAST, None, weights_only=False)


def _save(trainer: pl.Trainer, folder: RunFolder, name: str, score: float | None, *, weights_only: bool) -> None:
    """Saves a checkpoint and points its name to it. All ranks must call this; only the first one writes."""
    if cast(Any, trainer).fast_dev_run:  # a trial run must leave no files
        return
    path = _path(folder, name)
    trainer.save_checkpoint(path, weights_only=weights_only)
    if trainer.is_global_zero:
        folder.point(name, path, score)


def _path(folder: RunFolder, name: str) -> Path:
    return folder.checkpoints / f"{name.replace(':', '-')}.ckpt"
