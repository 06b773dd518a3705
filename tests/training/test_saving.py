import errno
import math
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.tracking.checkpoint_file import read_note
from mtl.tracking.run_folder import RunFolder
from mtl.training import saving
from mtl.training.recorder import RunRecorder
from mtl.training.saving import BestCheckpoints, checkpoint_callbacks

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
    best = {f"best-step{14 * (place + 1)}.ckpt" for place in places.values()}
    assert {path.name for path in folder.checkpoints.iterdir()} == best | {"last-step56.ckpt", "last-step70.ckpt"}


def test_a_single_task_has_one_best(toy_mixture: Write, train: Train, tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    callbacks = checkpoint_callbacks(folder, ["risk"])
    train(load_mixture(toy_mixture()).only(["risk"]), callbacks=callbacks, enable_checkpointing=True)
    assert set(folder.saved.pointers()) == {"best", "last"}


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


@pytest.mark.parametrize(
    ("tasks", "chosen", "is_saved"), [(10, None, True), (11, None, False), (11, True, True), (3, False, False)]
)
def test_the_best_checkpoint_of_each_task_is_saved_for_up_to_ten_tasks(
    tasks: int, chosen: bool | None, is_saved: bool, tmp_path: Path
) -> None:
    names = [f"task{number}" for number in range(tasks)]
    best, _ = checkpoint_callbacks(folder_in(tmp_path), names, best_per_task=chosen)
    assert isinstance(best, BestCheckpoints)
    assert best._names == ["best", *(f"best:{name}" for name in names if is_saved)]


def test_tasks_whose_best_is_the_same_evaluation_share_one_file_that_is_written_once(
    toy_mixture: Write, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = saving.write_checkpoint
    monkeypatch.setattr(saving, "write_checkpoint", lambda path, save: (written.append(path.name), write(path, save)))
    folder = folder_in(tmp_path)
    callbacks = checkpoint_callbacks(folder, list(PRIMARY))
    train(load_mixture(toy_mixture()), callbacks=callbacks, enable_checkpointing=True)
    assert written == ["best-step14.ckpt", "last-step14.ckpt"]
    assert {name: entry["path"] for name, entry in folder.saved.pointers().items()} == {
        "last": "checkpoints/last-step14.ckpt",
        **dict.fromkeys(["best", *(f"best:{task}" for task in PRIMARY)], "checkpoints/best-step14.ckpt"),
    }


class Clock:
    """A clock that advances when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(saving.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_last_is_saved_within_an_epoch_after_some_minutes(
    accumulate: int, toy_mixture: Write, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, clock = folder_in(tmp_path), Clock(monkeypatch)
    saved: list[tuple[int, int]] = []

    class Look(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            clock.now += 60 / accumulate

        def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
            if not trainer.validating:
                saved.append((trainer.global_step, trainer.fit_loop.epoch_loop.batch_progress.current.ready))

    callbacks = [Look(), *checkpoint_callbacks(folder, list(PRIMARY), save_minutes=3)]
    mixture = load_mixture(toy_mixture())
    train(mixture, callbacks=callbacks, enable_checkpointing=True, accumulate_grad_batches=accumulate)
    steps = [3, 6, 9, 12] if accumulate == 1 else [3, 6]
    assert saved == [*((step, step * accumulate) for step in steps), (14 // accumulate, 14)]


def test_all_ranks_save_at_the_same_update_and_seldom_compare_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    ranks = [saving.SaveClock(100.0), saving.SaveClock(100.0)]
    passed: list[float] = []  # by the clock of rank 0, at each comparison

    def gather(value: float) -> list[float]:
        if rank == 0:
            passed.append(value)
        return [passed[-1], value]

    monkeypatch.setattr(saving, "gather", gather)
    due: tuple[list[int], list[int]] = ([], [])
    for update in range(2001):
        for rank, save_clock in enumerate(ranks):
            clock.now = 100.0 + update * (0.1, 0.13)[rank]  # the clock of rank 1 is fast
            if update == 0 or save_clock.is_due(update):
                due[rank].append(update)
                save_clock.restart(update)
    assert due[0] == due[1]
    assert all(1000 <= later - earlier <= 1050 for earlier, later in pairwise(due[0]))
    assert len(due[0]) == 3
    assert len(passed) <= 50


def test_a_full_disk_ends_the_run_with_an_error_and_keeps_the_last_checkpoint(
    toy_mixture: Write, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_in(tmp_path)
    mixture = load_mixture(toy_mixture())
    write = saving.write_checkpoint

    def fill(path: Path, save: Callable[[Any], None]) -> None:
        def half(file: Any) -> None:
            file.write(b"a part of a checkpoint")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        write(path, half if path.name == "last-step8.ckpt" else save)

    monkeypatch.setattr(saving, "write_checkpoint", fill)
    recorder = RunRecorder(folder, None, {}, baselines=False)
    callbacks = [recorder, *checkpoint_callbacks(folder, list(PRIMARY), save_every=2)]
    with pytest.raises(InputError, match="No space left on device") as caught:
        train(mixture, callbacks=callbacks, enable_checkpointing=True)
    assert [problem.key for problem in caught.value.problems] == [str(folder.checkpoints / "last-step8.ckpt")]
    assert folder.info["status"] == "FAILED"
    assert {path.name for path in folder.checkpoints.iterdir()} == {"last-step4.ckpt", "last-step6.ckpt"}
    assert folder.resolve_checkpoint("last").name == "last-step6.ckpt"


def test_a_plugin_of_the_user_writes_the_checkpoints(toy_mixture: Write, train: Train, tmp_path: Path) -> None:
    class Own(TorchCheckpointIO):
        pass

    folder = folder_in(tmp_path)
    callbacks = checkpoint_callbacks(folder, list(PRIMARY), save_every=6)
    train(load_mixture(toy_mixture()), callbacks=callbacks, plugins=[Own()], enable_checkpointing=True)
    assert read_note(folder.resolve_checkpoint("last")) == {}
    assert {path.name for path in folder.checkpoints.glob("last*")} == {"last-step12.ckpt", "last-step14.ckpt"}


def test_ranks_with_different_checkpoints_do_not_train(
    toy_mixture: Write, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "gather", lambda value: [value, "other/last-step4.ckpt"])
    callbacks = checkpoint_callbacks(folder_in(tmp_path), list(PRIMARY))
    with pytest.raises(InputError, match=r"^ckpt_path: .*last-step4\.ckpt"):
        train(load_mixture(toy_mixture()), callbacks=callbacks, enable_checkpointing=True)
