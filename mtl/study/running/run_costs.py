"""The cost of a run of a study, and the versions and the machine with which it is trained."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.tracking.versions import versions

if TYPE_CHECKING:
    from mtl.batching.batch import Batch
    from mtl.study.design.run_spec import RunSpec

DECIDES_RESULTS = False


class RunCosts(Callback):
    """Measures times in seconds, and counts training examples and tokens. The clock starts with the callback.

    It must come after callbacks whose work counts as part of an evaluation.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds = {"training": 0.0, "evaluation": 0.0}
        self._since = 0.0
        self._examples = 0
        self._tokens: Tensor | int = 0

    def cost(self) -> dict[str, float]:
        """Returns the seconds of the run, its training and its evaluations, and the numbers of examples and tokens."""
        return {
            "seconds": time.perf_counter() - self._started,
            "training_seconds": self._seconds["training"],
            "evaluation_seconds": self._seconds["evaluation"],
            "examples": self._examples,
            "tokens": int(self._tokens),
        }

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self._examples += len(batch)
        self._tokens = self._tokens + batch.mask.sum()  # kept on the device

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._lap("training")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._lap("evaluation")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._lap("evaluation")

    def _lap(self, kind: str) -> None:
        now = time.perf_counter()
        self._seconds[kind] += now - self._since
        self._since = now


def environment(run_spec: RunSpec) -> dict[str, str]:
    """Returns versions, commit, device and threads of a run that this process trains."""
    return _environment(run_spec.trainer["accelerator"], run_spec.trainer["threads"])


@cache  # a process does not reload its code
def _environment(accelerator: str, threads: int) -> dict[str, str]:
    return versions(accelerator)
