"""Stopping before the last epoch, for the whole mixture or task by task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mtl.training.selection import MIXTURE, UNDEFINED, Best, Rank, of_task

if TYPE_CHECKING:
    from mtl.training.module import MultiTaskModule


class SelectionEarlyStopping(Callback):
    """Stops training when a score on dev has not improved for a while.

    With `per_task`, the steps of a stopped task stay empty, so that the learning-rate schedule and the batches of the
    other tasks do not change. Training ends when all tasks have stopped.

    Args:
        patience: Number of dev evaluations without improvement after which training stops. `Selection` compares them,
            also if some tasks have no score; an evaluation without any score does not count.
        min_delta: An improvement must be larger than this.
        per_task: Whether each task stops by its own primary metric; otherwise the whole mixture stops by the score of
            its selection.
    """

    def __init__(self, *, patience: int, min_delta: float = 0.0, per_task: bool = False) -> None:
        self._patience, self._min_delta, self._per_task = patience, min_delta, per_task
        self._best: dict[str, Best] = {}
        self._waited: dict[str, int] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        module = cast("MultiTaskModule", pl_module)
        names = {of_task(task): task for task in module.selection.primary_metrics} if self._per_task else {MIXTURE: ""}
        for name in names:
            self._compare(name, module.selection.ranks.get(name, UNDEFINED))
        if self._per_task:
            module.stopped |= {task for name, task in names.items() if self._is_done(name)}
        self._stop(trainer, module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends a training that had stopped before it was resumed; Lightning begins each one as if it had not."""
        self._stop(trainer, cast("MultiTaskModule", pl_module))

    def _stop(self, trainer: pl.Trainer, module: MultiTaskModule) -> None:
        if self._per_task:
            is_over = len(module.stopped) == len(module.selection.primary_metrics)
        else:
            is_over = self._is_done(MIXTURE)
        trainer.should_stop = trainer.should_stop or is_over

    def _is_done(self, name: str) -> bool:
        return self._waited.get(name, 0) >= self._patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": {name: best.state_dict() for name, best in self._best.items()}, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = {name: Best.from_state(rank) for name, rank in state_dict["best"].items()}
        self._waited = dict(state_dict["waited"])

    def _compare(self, name: str, rank: Rank) -> None:
        if rank == UNDEFINED:
            return
        is_better = self._best.setdefault(name, Best()).improves(rank, self._min_delta)
        self._waited[name] = 0 if is_better else self._waited.get(name, 0) + 1


def early_stopping(*, patience: int | None, min_delta: float, per_task: bool) -> list[Callback]:
    """The callback for these options of `SelectionEarlyStopping`; an empty list if `patience` is None."""
    if patience is None:
        return []
    return [SelectionEarlyStopping(patience=patience, min_delta=min_delta, per_task=per_task)]
