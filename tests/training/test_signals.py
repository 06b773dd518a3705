"""Signals: what they interrupt, what is saved, and that the resumed run is the one that was not interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from mtl.config.loading import load_mixture
from mtl.tracking.run_folder import RunFolder
from mtl.training.saving import LastCheckpoint, checkpoint_callbacks
from mtl.training.signals import SIGNALS, Question, Stopped, StopOnSignal, StopSignals
from tests import signal_matrix

Write = Callable[..., Path]
Train = Callable[..., Any]

PRIMARY = {"cause": "accuracy", "drugs": "f1", "risk": "pearson", "bleed": "accuracy"}


class SendAt(Callback):
    """Sends a signal to this process at the n-th call of a hook, and again whenever a checkpoint is saved."""

    def __init__(self, hook: str, number: int, sent: signal.Signals = signal.SIGTERM) -> None:
        self._left, self._sent = number, sent
        vars(self)[hook] = self._count

    def _count(self, *_: Any) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._sent)

    def on_save_checkpoint(self, *_: Any) -> None:
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    with StopSignals() as noted:
        yield noted


def saving(folder: RunFolder, signals: StopSignals) -> list[Callback]:
    callbacks = checkpoint_callbacks(folder, list(PRIMARY))
    (last,) = (callback for callback in callbacks if isinstance(callback, LastCheckpoint))
    return [*callbacks, StopOnSignal(signals, last)]


@pytest.mark.parametrize(
    ("hook", "number", "options", "step"),
    [
        ("on_train_batch_start", 5, {}, 5),
        ("on_train_batch_start", 14, {}, 14),  # the evaluation of the first epoch is due after this update
        ("on_train_batch_start", 42, {}, 42),  # the last update of all
        ("on_train_batch_start", 10, {"accumulate_grad_batches": 4}, 3),
        ("on_train_batch_start", 14, {"check_val_every_n_epoch": 2}, 14),  # an epoch ends without an evaluation
        ("on_train_batch_start", 5, {"val_check_interval": 5}, 5),
        ("on_validation_batch_start", 1, {}, 14),
        ("on_validation_batch_start", 3, {"val_check_interval": 5}, 5),
        ("on_validation_end", 1, {"val_check_interval": 5}, 6),
        ("on_train_epoch_end", 1, {}, 15),
        ("on_train_epoch_end", 3, {}, 42),
    ],
    ids=str,
)
def test_a_run_that_a_signal_stops_can_be_resumed_to_the_same_weights_and_scores(
    hook: str,
    number: int,
    options: dict[str, Any],
    step: int,
    signals: StopSignals,
    toy_mixture: Write,
    train: Train,
    tmp_path: Path,
) -> None:
    mixture = load_mixture(toy_mixture())

    def fit(folder: RunFolder, *callbacks: Callback, **more: Any) -> Any:
        kept = [*callbacks, *saving(folder, signals)]
        return train(mixture, callbacks=kept, max_epochs=3, enable_checkpointing=True, **options, **more)

    whole = fit(RunFolder.create(tmp_path / "whole", "toy", 1))
    folder = RunFolder.create(tmp_path / "stopped", "toy", 1)
    with pytest.raises(Stopped):
        fit(folder, SendAt(hook, number))
    last = folder.resolve_checkpoint("last")
    assert torch.load(last, weights_only=True)["global_step"] == step
    signals.__init__()  # type: ignore[misc]  # as in the process that resumes
    resumed = fit(folder, ckpt_path=last)
    assert resumed.trainer.global_step == whole.trainer.global_step
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())
    assert resumed.module.selection.state_dict() == whole.module.selection.state_dict()
    assert resumed.module.train_losses == whole.module.train_losses
