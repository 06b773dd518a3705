"""When checkpoints are saved, and under which names `--ckpt_path` finds them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from mtl.distributed import gather
from mtl.files import make_folder, remove_leftovers
from mtl.problems import InputError, Problem
from mtl.tracking.checkpoint_file import NOTE, write_checkpoint
from mtl.tracking.checkpoint_folder import BEST, LAST
from mtl.tracking.run_folder import RunFolder
from mtl.training.selection import MIXTURE, of_task

if TYPE_CHECKING:
    from mtl.training.module import MultiTaskModule

MAX_TASKS = 10
"""Number of tasks up to which the best checkpoint of each task is saved by default."""

_CHECKS = 20
"""How often several processes compare clocks between two saves by time."""


def checkpoint_callbacks(
    folder: RunFolder,
    tasks: Sequence[str],
    *,
    save_every: int | None = None,
    save_minutes: float | None = None,
    keep: int = 2,
    best_per_task: bool | None = None,
) -> list[Checkpoint]:
    """The callbacks that save `best`, `best:<task>` if there are several tasks, and `last`, from which a run resumes.

    Args:
        folder: Folder of the run.
        tasks: Tasks of the mixture.
        save_every: Number of updates between saves of `last` within an epoch; None does not count updates.
        save_minutes: Minutes between saves of `last` within an epoch; None does not count minutes.
        keep: Number of checkpoints to keep as `last`: the newest, and those to use if it is damaged.
        best_per_task: Whether to save the best checkpoint of each task; None does so for up to `MAX_TASKS` tasks.
    """
    if best_per_task is None:
        best_per_task = len(tasks) <= MAX_TASKS
    names = [MIXTURE, *(of_task(task) for task in tasks if best_per_task and len(tasks) > 1)]
    return [BestCheckpoints(folder, names), LastCheckpoint(folder, every=save_every, minutes=save_minutes, keep=keep)]


class BestCheckpoints(Checkpoint):
    """Saves the weights whenever an evaluation on dev is the best so far, once for all selections that improved.

    Args:
        folder: Folder of the run.
        names: Names of the selections, as in `Selection.scores`, whose best weights are saved.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        self._folder, self._names = folder, list(names)

    @property
    def best_model_path(self) -> str:
        """Path of the mixture's best checkpoint, for Lightning's ``ckpt_path="best"``; empty if there is none."""
        pointer = self._folder.saved.pointers().get(MIXTURE)
        return "" if pointer is None else str(self._folder.path / pointer["path"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _use_own_files(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        selection = cast("MultiTaskModule", pl_module).selection
        scores = {name: float(selection.scores[name]) for name in self._names if name in selection.improved}
        if scores:
            _save(trainer, self._folder, BEST, scores)
            self._folder.saved.prune()


class LastCheckpoint(Checkpoint):
    """Saves `last` at the end of every epoch, and within it after some updates or minutes.

    Within an epoch it saves only between two updates, and not right before an evaluation, which a resumed run would
    skip; it then saves after the next update.

    Args:
        folder: Folder of the run.
        every: Number of updates between saves within an epoch; None does not count updates.
        minutes: Minutes between saves within an epoch; None does not count minutes.
        keep: Number of checkpoints to keep.
    """

    def __init__(
        self, folder: RunFolder, *, every: int | None = None, minutes: float | None = None, keep: int = 2
    ) -> None:
        self._folder, self._every, self._keep = folder, every, keep
        self._saved_at = 0
        self._clock = None if minutes is None else SaveClock(60 * minutes)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _use_own_files(trainer)
        if stage == "fit":
            _check_agreement(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._clock is not None:
            self._clock.restart(trainer.global_step)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if not self._is_due(trainer):
            return
        loop = trainer.fit_loop
        evaluates = loop.epoch_loop._should_check_val_fx(cast(Any, loop._data_fetcher))
        if not loop._should_accumulate() and not evaluates:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if self._every is not None and trainer.global_step // self._every > self._saved_at // self._every:
            return True
        return self._clock is not None and self._clock.is_due(trainer.global_step)

    def save_now(self, trainer: pl.Trainer) -> None:
        """Saves `last`; all ranks must call this, between two updates."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._saved_at = trainer.global_step
        _save(trainer, self._folder, LAST, {LAST: None}, keep=self._keep)
        if self._clock is not None:
            self._clock.restart(trainer.global_step)


class SaveClock:
    """Decides after which updates a save by time is due, at the same update on all ranks.

    The clock of rank 0 decides. Because asking it interrupts the training of several processes, the ranks ask about 20
    times between two saves, at updates that they agreed on the last time.

    Args:
        seconds: Seconds between saves.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started, self._first, self._next = time.monotonic(), 0, 0
        self._due = False

    def restart(self, update: int) -> None:
        """Starts to count, at the start of the training or after a save.

        Args:
            update: Number of updates so far.
        """
        self._started, self._first, self._next = time.monotonic(), update, update + 1
        self._due = False

    def is_due(self, update: int) -> bool:
        """Whether a save is due; all ranks must ask after each update, and get the same answer.

        Args:
            update: Number of updates so far.
        """
        if not self._due and update >= self._next:
            passed = time.monotonic() - self._started
            passed, *_ = gather(passed)
            self._due = passed >= self._seconds
            speed = (update - self._first) / max(passed, 1e-9)
            self._next = update + max(1, int(speed * self._seconds / _CHECKS))
        return self._due


class ChecksummedCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints next to their final place, with a checksum, and moves them there once they are on disk.

    Lightning writes to the temporary folder and copies the file if that is on another file system. A process that is
    killed during the copy leaves a part of a checkpoint in the place of the last one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: Content of the checkpoint.
            path: The file.
            storage_options: What to record with it (see `mtl.tracking.checkpoint_file`); None records nothing.

        Raises:
            InputError: The file cannot be written.
        """
        path = Path(path)
        make_folder(path.parent)
        remove_leftovers(path.parent)
        content = checkpoint if storage_options is None else {**checkpoint, NOTE: storage_options}
        write_checkpoint(path, partial(torch.save, content))


def _use_own_files(trainer: pl.Trainer) -> None:
    """Replaces Lightning's way to write checkpoints, unless the user chose a plugin."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = ChecksummedCheckpointIO()


def _check_agreement(trainer: pl.Trainer) -> None:
    """Checks that all ranks resume from the same checkpoint.

    Raises:
        InputError: They do not.
    """
    found = [None if path is None else Path(path).name for path in gather(trainer.ckpt_path)]
    if len(set(found)) > 1:
        listed = ", ".join(f"rank {rank}: {name or 'none'}" for rank, name in enumerate(found))
        raise InputError(
            Problem(
                "ckpt_path",
                f"must be the same checkpoint for all processes, got {listed}.",
                "Give the path of one of them, on a file system that all processes share.",
            )
        )


def _save(
    trainer: pl.Trainer, folder: RunFolder, kind: str, scores: Mapping[str, float | None], *, keep: int | None = None
) -> None:
    """Saves a checkpoint and points names to it. All ranks must call this; only the first one writes.

    Args:
        trainer: The trainer.
        folder: Folder of the run.
        kind: `last` or `best`, which holds weights only.
        scores: The score of each name that will point to the checkpoint.
        keep: Number of checkpoints of this kind to keep; None keeps all.
    """
    if cast(Any, trainer).fast_dev_run:  # a trial run must leave no files
        return
    path = folder.saved.file(kind, trainer.global_step)
    has_note = isinstance(trainer.strategy.checkpoint_io, ChecksummedCheckpointIO)
    run = {name: value for name, value in folder.info.items() if name in ("mixture", "seed", "started", "mlflow")}
    note = {"scores": dict(scores), "run": run} if has_note else None
    trainer.save_checkpoint(path, weights_only=kind == BEST, storage_options=note)
    if trainer.is_global_zero:
        folder.saved.point(path, scores)
        if keep is not None:
            folder.saved.prune(newest=path, keep=keep)
