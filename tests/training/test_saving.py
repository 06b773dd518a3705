import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.config.loading import load_mixture
from mtl.tracking.run_folder import RunFolder
from mtl.training.saving import checkpoint_callbacks

Write = Callable[..., Path]
Train = Callable[..., Any]

PRIMARY = {"cause": "accuracy", "drugs": "f1", "risk": "pearson", "bleed": "accuracy"}


class Evaluations(Callback):
    """Keeps scores and weights of every evaluation."""

    def __init__(self) -> None:
        self.scores: list[dict[str, float]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.scores.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.weights.append({name: value.detach().clone() for name, value in pl_module.state_dict().items()})

    def best(self, name: str) -> int:
        values = [scores[name] for scores in self.scores]
        return values.index(max(values))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def folder_in(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "toy", 1)


@pytest.mark.parametrize("select", ["mean", "worst", "weighted", "risk/mse"])
def test_best_holds_the_weights_of_the_best_evaluation(
    select: str, toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    weights = {"weights": {"drugs": 5.0}} if select == "weighted" else {}
    mixture = load_mixture(toy_mixture(evaluation={"select": select, **weights}))
    folder, seen = folder_in(tmp_path), Evaluations()
    callbacks = [seen, *checkpoint_callbacks(folder, list(PRIMARY))]
    train(mixture, model={"learning_rate": 2e-2}, callbacks=callbacks, enable_checkpointing=True, max_epochs=5)
    names = {"best": "val/selection", **{f"best:{task}": f"val/{task}/{metric}" for task, metric in PRIMARY.items()}}
    places = {}
    for name, metric in names.items():
        places[name] = seen.best(metric)
        content = torch.load(folder.resolve_checkpoint(name), weights_only=True)
        assert equal(content["state_dict"], seen.weights[places[name]])
        assert "optimizer_states" not in content
    assert len(set(places.values())) > 1  # otherwise the test could not tell the names apart
    last = torch.load(folder.resolve_checkpoint("last"), weights_only=True)
    assert equal(last["state_dict"], seen.weights[-1])
    assert last["optimizer_states"]
    # One file for each evaluation that is the best for some name, and the last two states.
    steps = {
        *(f"best-step{14 * (place + 1)}.ckpt" for place in places.values()),
        "last-step56.ckpt",
        "last-step70.ckpt",
    }
    assert {path.name for path in folder.checkpoints.iterdir()} == steps


def test_a_single_task_has_one_best(toy_mixture: Write, train: Train, tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    callbacks = checkpoint_callbacks(folder, ["risk"])
    train(load_mixture(toy_mixture()).only(["risk"]), callbacks=callbacks, enable_checkpointing=True)
    assert {re.sub(r"\d+", "", path.name) for path in folder.checkpoints.iterdir()} == {
        "best-step.ckpt",
        "last-step.ckpt",
    }


def test_a_checkpoint_is_found_by_name_as_soon_as_it_is_saved(toy_mixture: Write, train: Train, tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    found: list[tuple[int, bool]] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            pointers = folder._read("checkpoints.json")
            found.append((trainer.global_step, "last" in pointers and folder.resolve_checkpoint("last").is_file()))

    callbacks = [Look(), *checkpoint_callbacks(folder, list(PRIMARY), save_every=5)]
    trained = train(load_mixture(toy_mixture()), callbacks=callbacks, enable_checkpointing=True)
    assert found == [(step, step >= 5) for step in range(14)]
    assert folder._read("checkpoints.json")["best"]["score"] == trained.module.selection.best["best"]
    assert trained.trainer.checkpoint_callback.best_model_path == str(folder.resolve_checkpoint("best"))


@pytest.mark.parametrize(("accumulate", "steps"), [(1, [3, 6, 9, 12]), (4, [3])])
def test_last_is_saved_only_between_updates_and_not_before_an_evaluation(
    accumulate: int, steps: list[int], toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    folder = folder_in(tmp_path)
    saved: list[tuple[int, int]] = []

    class Look(Callback):
        def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
            if "optimizer_states" in checkpoint and not trainer.validating:
                saved.append((trainer.global_step, trainer.fit_loop.epoch_loop.batch_progress.current.ready))

    callbacks = [Look(), *checkpoint_callbacks(folder, list(PRIMARY), save_every=3)]
    mixture = load_mixture(toy_mixture())
    train(mixture, callbacks=callbacks, enable_checkpointing=True, accumulate_grad_batches=accumulate)
    end = math.ceil(14 / accumulate)
    assert saved == [*((step, step * accumulate) for step in steps), (end, 14)]
    saved.clear()
    callbacks = [Look(), *checkpoint_callbacks(folder_in(tmp_path), list(PRIMARY), save_every=3)]
    train(mixture, callbacks=callbacks, enable_checkpointing=True, val_check_interval=6)
    assert [step for step, _ in saved] == [3, 7, 9, 13, 14]
