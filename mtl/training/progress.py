"""Says how far a training is where no terminal shows a progress bar, such as in batch jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mtl.training.selection import MIXTURE

if TYPE_CHECKING:
    from mtl.batching.data_module import MixtureData
    from mtl.training.module import MultiTaskModule

DECIDES_RESULTS = False

EVERY = 30.0
"""Seconds between lines."""


class ProgressLines(Callback):
    """Prints a line every so often, one after each evaluation on dev, and one per task before those of a checkpoint.

    Args:
        write: Prints a line.
        clock: Seconds of a clock.
        every: Seconds between lines.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic, every: float = EVERY
    ) -> None:
        self._write, self._clock, self._every = write, clock, every
        self._begun: tuple[float, int] | None = None
        self._last = 0.0
        self._evaluation_begun = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if not trainer.is_global_zero:
            return
        now, step = self._clock(), trainer.global_step
        if self._begun is None:  # the first update takes longer than the others
            self._begun, self._last = (now, step), now
        elif now - self._last >= self._every:
            self._last = now
            started, first = self._begun
            total = cast("MixtureData", cast(Any, trainer).datamodule).total_updates()
            speed = (step - first) / (now - started)
            self._write(progress_line(step, total, speed))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_evaluation(trainer, "dev")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_evaluation(trainer, "test")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: object
    ) -> None:
        if not trainer.sanity_checking:
            self._continue_evaluation(trainer, "dev", batch_idx + 1, trainer.num_val_batches)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: object
    ) -> None:
        self._continue_evaluation(trainer, "test", batch_idx + 1, trainer.num_test_batches)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        selection = cast("MultiTaskModule", pl_module).selection
        tasks = ", ".join(
            f"{name.removeprefix(f'{MIXTURE}:')} {score:.4f}"
            for name, score in selection.scores.items()
            if name != MIXTURE
        )
        note = " (best so far)" if MIXTURE in selection.improved else ""
        self._write(f"update {trainer.global_step}, dev: {selection.scores[MIXTURE]:.4f}{note}; {tasks}")

    def _begin_evaluation(self, trainer: pl.Trainer, split: str) -> None:
        self._evaluation_begun = self._clock()
        if trainer.state.fn == "fit" or not trainer.is_global_zero:
            return
        for task, content in cast("MixtureData", cast(Any, trainer).datamodule).splits(split).items():
            self._write(f"{split}: evaluating {task}, {len(content.rows)} rows")

    def _continue_evaluation(
        self, trainer: pl.Trainer, split: str, num_done: int, num_batches: Sequence[int | float]
    ) -> None:
        now = self._clock()
        if not trainer.is_global_zero or now - max(self._last, self._evaluation_begun) < self._every:
            return
        self._last = now
        speed = num_done / (now - self._evaluation_begun)
        self._write(progress_line(num_done, int(sum(num_batches)), speed, f"{split}: batch"))


def progress_line(step: int, total: int, speed: float, what: str = "update") -> str:
    """A line of how many updates or batches are done, their speed, and the time that is left.

    Args:
        step: Number of updates so far.
        total: Number of all updates.
        speed: Updates per second.
        what: What is counted.

    >>> progress_line(300, 1200, 2.5)
    'update 300 of 1200 (25%), 2.5 per second, 6 min left'
    >>> progress_line(300, 320, 0.1)
    'update 300 of 320 (94%), 10 s each, 3 min left'
    """
    seconds = (total - step) / speed if speed else 0.0
    left = (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
    pace = f"{speed:.1f} per second" if speed >= 0.5 else f"{1 / speed:.0f} s each" if speed else f"no {what} yet"
    return f"{what} {step} of {total} ({step / total:.0%}), {pace}, {left} left"
