"""The average of the weights over updates or epochs, evaluated, selected and saved in place of the latest weights.

Lightning's callback keeps the average. This one differs from it in three ways. It swaps the average back only after
the other callbacks have seen the end of the evaluation, so that `best` holds the average. It starts late if it should,
and evaluates the latest weights until then. And it copies buffers instead of averaging them, because heads keep
decision thresholds there that an evaluation tunes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mtl.training.hyperparameters import Average, Optimisation

if TYPE_CHECKING:
    from torch import Tensor, nn

EMA_DECAY = 0.99
"""Default decay: it averages over about the last 100 updates, which suits trainings of hundreds to thousands."""

MEAN_START = 0.75
"""Default start of an equally weighted average, as in Izmailov et al. 2018 (https://arxiv.org/abs/1803.05407)."""


class WeightAverage(WeightAveraging):
    """Averages the weights of all updates from a start on, or those at the ends of the last epochs.

    In a checkpoint to resume from, ``state_dict`` has the average and ``current_model_state`` the latest weights.

    Args:
        kind: `ema`, an exponential moving average, or `mean`, an equally weighted one.
        decay: Weight of the old average at each update; only for `ema`.
        start: Fraction of all updates after which averaging starts.
        last: Number of the last epochs, at whose ends alone the weights are taken; None takes those of all updates.
    """

    def __init__(self, kind: Average, *, decay: float = EMA_DECAY, start: float = 0.0, last: int | None = None) -> None:
        make: Any = get_ema_multi_avg_fn  # untyped in PyTorch
        function = {"multi_avg_fn": make(decay)} if kind == "ema" else {}
        super().__init__(use_buffers=False, **function)
        self._start, self._last = start, last
        self._total = self._per_epoch = 0
        self._is_swapped = False

    @property
    def has_started(self) -> bool:
        """Whether there is an average yet."""
        return self._average_model is not None and bool(self._average_model.n_averaged)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module is moved there only after this hook
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._total = cast(Any, pl_module).total_updates()
        self._per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        if self._last is None:
            return step_idx >= round(self._start * self._total)
        # Not after the epoch, because the evaluation at its end comes before that.
        epoch, within = divmod(step_idx, self._per_epoch)
        is_end = within == self._per_epoch - 1 or step_idx == self._total - 1
        return is_end and epoch >= -(-self._total // self._per_epoch) - self._last

    # --- evaluation -----------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.has_started and trainer.state.fn == "fit":
            self._swap_models(pl_module)
            self._is_swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the average for the callbacks that save; `swap_back` follows."""

    def swap_back(self, pl_module: pl.LightningModule) -> None:
        """Restores the latest weights after an evaluation of the average."""
        if self._is_swapped:
            self._swap_models(pl_module)
            self._is_swapped = False

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        # Not the buffers: those of the module are the ones that evaluations tune.
        for average, current in zip(self._average.parameters(), pl_module.parameters(), strict=True):
            before = average.data.clone()
            average.data.copy_(current.data)
            current.data.copy_(before)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.has_started:
            for average, current in zip(self._average.parameters(), pl_module.parameters(), strict=True):
                current.data.copy_(average.data)

    @property
    def _average(self) -> nn.Module:
        assert self._average_model is not None
        return self._average_model.module

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self.has_started:
            return
        of_module: dict[str, Tensor] = checkpoint["state_dict"]
        tensors = itertools.chain(self._average.named_parameters(remove_duplicate=False))
        kept = {**of_module, **{name: value.detach() for name, value in tensors if name in of_module}}
        # While the average is evaluated, the module has the average, and the copy the latest weights.
        average, latest = (of_module, kept) if self._is_swapped else (kept, of_module)
        checkpoint["state_dict"], checkpoint["current_model_state"] = average, latest
        assert self._average_model is not None
        checkpoint["averaging_state"] = {"n_averaged": self._average_model.n_averaged}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._average_model is None or "averaging_state" not in checkpoint:
            return
        self._average.load_state_dict(checkpoint["state_dict"])
        self._average_model.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
        pl_module.load_state_dict(checkpoint["current_model_state"])


def weight_average(optimisation: Optimisation) -> list[WeightAverage]:
    """The callback for the settings of a training; an empty list without averaging."""
    kind = optimisation.average
    if kind is None:
        return []
    start = optimisation.average_start
    if start is None:
        start = MEAN_START if kind == "mean" else 0.0
    decay = optimisation.average_decay or EMA_DECAY
    return [WeightAverage(kind, decay=decay, start=start, last=optimisation.average_last)]
