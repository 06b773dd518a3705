"""Runs that are stopped and resumed, and checkpoints by name."""

import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning.callbacks import Callback

from mtl.batching.data_module import MixtureData
from mtl.commands import fit, run
from mtl.commands.fit import _how_to_resume
from mtl.config.loading import load_mixture
from mtl.tracking.checkpoint_file import write_checkpoint
from mtl.tracking.live_runs import take
from mtl.tracking.run_folder import RunFolder
from mtl.training.early_stopping import early_stopping
from mtl.training.module import CHECKPOINT_KEY
from mtl.training.saving import checkpoint_callbacks
from tests.fitting import PRIMARY, StopAt, StopError, equal, in_process, latest, mtl, weights

Write = Callable[..., Path]
Train = Callable[..., Any]


# --- stopped and resumed ----------------------------------------------------------------------------------------------


class Rates:
    """The learning rate of every update, by the update's number."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def __call__(self, module: Any, data: MixtureData) -> None:
        step = module.optimizer_step

        def noting(epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
            self.seen[module.trainer.global_step] = optimizer.param_groups[0]["lr"]
            step(epoch, batch_idx, optimizer, closure)

        module.optimizer_step = noting


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (8, {}),  # within the first epoch
        (18, {}),  # within the second
        (14, {}),  # at the border: the end of an epoch is saved
        (15, {}),
        (21, {"accumulate_grad_batches": 4}),  # within an update: the one before it is saved
        (16, {"accumulate_grad_batches": 3}),
        (20, {"val_check_interval": 5}),
        (22, {"limit_train_batches": 9, "accumulate_grad_batches": 2}),
        (30, {"log_every_n_steps": 4}),
    ],
    ids=str,
)
def test_a_run_that_is_stopped_and_resumed_equals_one_that_was_not(
    stop: int, options: dict[str, Any], toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    mixture = load_mixture(toy_mixture())  # with dropout

    def go(folder: RunFolder, rates: Rates, *callbacks: Callback, **more: Any) -> Any:
        kept = [*callbacks, *checkpoint_callbacks(folder, list(PRIMARY), save_every=2)]
        fixed = {"max_epochs": 3, "enable_checkpointing": True, "before": rates, **options}
        return train(mixture, callbacks=kept, **{**fixed, **more})

    whole_folder, whole_rates = RunFolder.create(tmp_path / "whole", "toy", 1), Rates()
    whole = go(whole_folder, whole_rates)
    folder, before, after = RunFolder.create(tmp_path / "stopped", "toy", 1), Rates(), Rates()
    with pytest.raises(StopError):
        go(folder, before, StopAt(stop))
    resumed = go(folder, after, ckpt_path=folder.resolve_checkpoint("last"))

    assert min(after.seen) > 0  # it resumed, and did not start over
    assert {**before.seen, **after.seen} == whole_rates.seen
    assert resumed.trainer.global_step == whole.trainer.global_step
    assert equal(whole.weights, resumed.weights)
    scores = {task: result.scores for task, result in whole.module.results["dev"].items()}
    assert scores == {task: result.scores for task, result in resumed.module.results["dev"].items()}
    assert resumed.module.train_losses == whole.module.train_losses
    for name in ("best", *(f"best:{task}" for task in PRIMARY)):
        assert equal(weights(folder, name), weights(whole_folder, name))


def test_early_stopping_by_task_is_the_same_after_a_resume(toy_mixture: Write, train: Train, tmp_path: Path) -> None:
    mixture = load_mixture(toy_mixture())

    def go(folder: RunFolder, *callbacks: Callback, **more: Any) -> Any:
        stopping = early_stopping(patience=1, min_delta=0.0, per_task=True)
        kept = [*callbacks, *stopping, *checkpoint_callbacks(folder, list(PRIMARY), save_every=1)]
        return train(mixture, callbacks=kept, max_epochs=4, enable_checkpointing=True, val_check_interval=0.5, **more)

    whole = go(RunFolder.create(tmp_path / "whole", "toy", 1))
    assert whole.module.stopped  # or there would be nothing to see
    folder = RunFolder.create(tmp_path / "stopped", "toy", 1)
    with pytest.raises(StopError):
        go(folder, StopAt(16))
    resumed = go(folder, ckpt_path=folder.resolve_checkpoint("last"))
    assert resumed.module.stopped == whole.module.stopped
    assert equal(whole.weights, resumed.weights)


@pytest.mark.parametrize("per_task", [False, True])
def test_a_training_that_stopped_early_does_not_go_on_when_it_is_resumed(
    toy_mixture: Write, train: Train, tmp_path: Path, *, per_task: bool
) -> None:
    """It may be resumed since it was killed while it was scored, or since a job sends the same command again."""
    mixture = load_mixture(toy_mixture())
    folder = RunFolder.create(tmp_path / "runs", "toy", 1)

    def go(**more: Any) -> Any:
        stopping = early_stopping(patience=1, min_delta=5.0, per_task=per_task)  # nothing improves by that much
        kept = [*stopping, *checkpoint_callbacks(folder, list(PRIMARY))]
        return train(mixture, callbacks=kept, max_epochs=9, enable_checkpointing=True, **more)

    stopped = go()
    assert stopped.trainer.current_epoch == 2
    names = {path.name for path in folder.checkpoints.iterdir()}
    resumed = go(ckpt_path=folder.resolve_checkpoint("last"))
    assert resumed.trainer.global_step == stopped.trainer.global_step
    assert equal(stopped.weights, resumed.weights)
    assert names <= {path.name for path in folder.checkpoints.iterdir()}


KILL = """
import os
import signal

from pytorch_lightning.callbacks import Callback


class KillAt(Callback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_start(self, trainer, *_) -> None:
        if trainer.global_step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices",
    [
        pytest.param((), id="one"),
        pytest.param(("--trainer.devices=2", "--trainer.strategy=ddp"), id="two", marks=pytest.mark.soak),
    ],
)
def test_a_killed_run_resumes_from_the_name_last(devices: tuple[str, ...], toy_mixture: Write, tmp_path: Path) -> None:
    (tmp_path / "kill_of_tests.py").write_text(KILL)
    path = toy_mixture()
    options = (
        *("--trainer.max_epochs=3", "--run.save_every=5", "--trainer.log_every_n_steps=3", "--run.baselines=false"),
        *devices,
    )
    mtl("fit", path, *options)
    whole = latest(path)
    killer = ("--trainer.callbacks=kill_of_tests.KillAt", "--trainer.callbacks.step=23")
    mtl("fit", path, *options, *killer, expect=-signal.SIGKILL, PYTHONPATH=str(tmp_path))
    folder = latest(path)
    assert folder.path != whole.path
    assert torch.load(folder.resolve_checkpoint("last"), weights_only=True)["global_step"] == 20  # of 42
    done = mtl("fit", path, *options, "--ckpt_path=last")
    assert "not resumable" not in done.stderr
    assert latest(path).path == folder.path
    assert equal(weights(whole), weights(folder))
    assert folder.metrics == whole.metrics
    assert len(list((path.parent / "runs" / "toy").glob("*/run.json"))) == 2


# --- checkpoints by name ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_best_last_and_the_best_of_a_task_are_found_by_name(
    toy_mixture: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy_mixture()
    assert in_process("fit", path, "--trainer.max_epochs=3", "--model.learning_rate=0.02") == 0
    folder = latest(path)
    for name in ("best", "last", *(f"best:{task}" for task in PRIMARY)):
        assert in_process("validate", path, f"--ckpt_path={name}") == 0
        scored = folder.metrics["dev"]
        score = folder._read("checkpoints.json")[name]["score"]
        if name == "best":
            mean = sum(scored[task][metric] for task, metric in PRIMARY.items()) / 4
            assert mean == pytest.approx(score, abs=1e-6)
        elif name != "last":
            task = name.removeprefix("best:")
            assert scored[task][PRIMARY[task]] == pytest.approx(score, abs=1e-6)
    monkeypatch.chdir("/")
    assert in_process("test", path, f"--ckpt_path={folder.checkpoints / 'best.ckpt'}") == 0
    assert in_process("test", path, f"--ckpt_path={folder.path}") == 0
    assert in_process("test", path, f"--ckpt_path={folder.path.parent / 'latest'}") == 2  # a pointer, no checkpoint
    assert set(folder.metrics["test"]) == set(PRIMARY)
    assert latest(path).path == folder.path  # evaluating makes no run


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
@pytest.mark.filterwarnings("ignore:You passed `Trainer")
def test_the_precision_of_a_checkpoint_is_checked_against_the_device(
    toy_mixture: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    assert in_process("fit", path) == 0
    file = latest(path).resolve_checkpoint("last")
    content = torch.load(file, weights_only=True)
    content[CHECKPOINT_KEY]["precision"] = "16-mixed"  # as from a GPU
    write_checkpoint(file, partial(torch.save, content))
    words = ["--mixture", str(path), "--trainer.accelerator=cpu", "--run.baselines=false", f"--ckpt_path={file}"]
    assert run(["test", *words]) == 2
    assert "trainer.precision: " in capsys.readouterr().err
    before = latest(path).info
    assert run(["fit", *words, "--trainer.max_epochs=9"]) == 2
    assert "trainer.precision: " in capsys.readouterr().err
    assert latest(path).info == before  # a refusal does not change the status of the run
    assert run(["test", *words, "--trainer.precision=32-true"]) == 0


@pytest.mark.usefixtures("fresh")
def test_a_checkpoint_of_another_mixture_is_an_error_with_every_difference(
    toy_mixture: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    assert in_process("fit", path, "--trainer.limit_val_batches=0") == 0
    changed = yaml.safe_load(path.read_text())
    changed["tasks"]["cause"]["labels"] = ["yes", "no"]
    changed["tasks"]["risk"]["options"]["range"] = [0, 5]
    del changed["tasks"]["bleed"]
    path.write_text(yaml.safe_dump(changed))
    capsys.readouterr()
    assert in_process("fit", path, "--ckpt_path=last") == 2
    error = capsys.readouterr().err
    for key in ("tasks.bleed: ", "tasks.cause.labels: ", "tasks.risk.options: "):
        assert f"mtl: {key}" in error


@pytest.mark.usefixtures("fresh")
def test_what_cannot_be_resumed_or_found_is_an_input_error(
    toy_mixture: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    assert in_process("fit", path, "--ckpt_path=last") == 2
    error = capsys.readouterr().err
    assert str(Path("runs") / "toy") in error
    assert "--ckpt_path auto" in error
    assert in_process("fit", path) == 0
    assert in_process("fit", path, "--ckpt_path=best") == 2
    assert "--ckpt_path last" in capsys.readouterr().err
    assert in_process("validate", path, "--ckpt_path=best:cuase") == 2
    assert "best:cause" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # an abbreviation, which could match another option
        in_process("fit", path, "--trainer.max_epoch=1")
    assert "max_epoch" in capsys.readouterr().err
    for option in ("save_every", "save_minutes", "keep"):
        assert in_process("fit", path, f"--run.{option}=0") == 2
        assert capsys.readouterr().err.startswith(f"mtl: run.{option}: ")


@pytest.mark.usefixtures("fresh")
def test_auto_resumes_from_the_newest_last_of_the_seed_and_otherwise_starts_a_new_run_in_the_same_folder(
    toy_mixture: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    killed = RunFolder.create(tmp_path / "runs", "toy", 1)  # it was killed before its first save
    RunFolder.create(tmp_path / "runs", "toy", 2)
    auto = ("--ckpt_path=auto", "--run.save_every=5")
    assert in_process("fit", path, *auto, "--trainer.max_epochs=1") == 0
    assert killed.info["status"] == "FINISHED"
    assert len(RunFolder.all(tmp_path / "runs", "toy")) == 2
    first = weights(killed)
    assert in_process("fit", path, *auto, "--trainer.max_epochs=1") == 0  # as a job that is sent again
    assert equal(weights(killed), first)
    assert str(killed.resolve_checkpoint("last")) in capsys.readouterr().err
    other = ("--mixture.seed=3", "--trainer.max_steps=5", "--trainer.limit_val_batches=0")
    assert in_process("fit", path, *auto, *other) == 0
    assert [run.info["seed"] for run in RunFolder.all(tmp_path / "runs", "toy")] == [1, 2, 3]
    for broken in killed.saved.files("last"):
        broken.write_bytes(b"")
    killed.update_info(status="KILLED")
    assert in_process("fit", path, *auto, "--trainer.max_epochs=1") == 0
    assert str(broken) in capsys.readouterr().err
    assert equal(weights(killed), first)
    assert killed.saved.files("last") == [killed.resolve_checkpoint("last"), killed.saved.file("last", 10)]
    assert len(RunFolder.all(tmp_path / "runs", "toy")) == 3


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("word", ["auto", "last"])
def test_a_job_resumes_from_what_the_job_before_it_saved_while_it_started(
    word: str, toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    short = ("--run.save_every=5", "--trainer.max_epochs=1")
    assert in_process("fit", path, *short) == 0
    newest = latest(path).resolve_checkpoint("last")
    before = weights(latest(path))
    newest.rename(tmp_path / "newest.ckpt")

    def take_late(folder: RunFolder) -> None:
        (tmp_path / "newest.ckpt").rename(newest)
        take(folder)

    monkeypatch.setattr(fit, "take", take_late)
    assert in_process("fit", path, *short, f"--ckpt_path={word}") == 0
    assert f"Resuming from {newest}" in capsys.readouterr().err
    assert equal(weights(latest(path)), before)


@pytest.mark.usefixtures("fresh")
def test_the_folder_of_all_runs_may_be_in_the_home_folder(
    toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    short = ("--trainer.max_steps=1", "--trainer.limit_val_batches=0")
    for root in ("~/runs", "$HOME/runs"):
        assert in_process("fit", toy_mixture(), f"--run.root={root}", "--ckpt_path=auto", *short) == 0
    assert len(RunFolder.all(tmp_path / "home" / "runs", "toy")) == 1


@pytest.mark.usefixtures("fresh")
def test_an_aborted_start_with_other_options_keeps_its_folder(toy_mixture: Write, tmp_path: Path) -> None:
    path = toy_mixture()
    short = ("--ckpt_path=auto", "--trainer.max_epochs=1", "--trainer.limit_val_batches=0")
    assert in_process("fit", path, *short, "--trainer.enable_checkpointing=false") == 0
    first = latest(path)
    first.update_info(status="KILLED")
    recorded = (first.path / "config.yaml").read_bytes()
    assert in_process("fit", path, *short, "--model.learning_rate=0.01") == 0
    assert latest(path).path != first.path
    assert (first.path / "config.yaml").read_bytes() == recorded
    assert first.info["status"] == "KILLED"


@pytest.mark.usefixtures("fresh")
def test_a_run_resumes_only_on_the_rows_that_it_was_trained_on(
    toy_mixture: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    assert in_process("fit", path, "--trainer.max_epochs=1") == 0
    folder = latest(path)
    shutil.move(tmp_path / "drugs", tmp_path / "moved")  # the place of the data may change
    mixture = yaml.safe_load(path.read_text())
    mixture["tasks"]["drugs"]["data"]["path"] = str(tmp_path / "moved")
    path.write_text(yaml.safe_dump(mixture, sort_keys=False))
    dev, train = (tmp_path / "moved" / f"{split}.jsonl" for split in ("dev", "train"))
    dev.write_text("".join(dev.read_text().splitlines(keepends=True)[:-1]))
    capsys.readouterr()
    assert in_process("fit", path, "--ckpt_path=last", "--trainer.max_epochs=2") == 0
    assert "mtl: tasks.drugs.data: The rows of dev" in capsys.readouterr().err
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:-1]))
    before = folder.info
    assert in_process("fit", path, "--ckpt_path=last", "--trainer.max_epochs=3") == 2
    assert "mtl: tasks.drugs.data: The rows of train" in capsys.readouterr().err
    assert folder.info == before
    assert in_process("validate", path, "--ckpt_path=last") == 0


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("sampler", "changed", "key"),
    [
        ("proportional", "--trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches"),
        ("proportional", "--trainer.limit_train_batches=3", "trainer.limit_train_batches"),
        ("annealed", "--trainer.max_epochs=20", "trainer.max_epochs"),
        ("proportional", "--trainer.max_epochs=3", None),
    ],
)
def test_a_run_resumes_only_if_its_updates_go_on_as_they_began(
    sampler: str, changed: str, key: str | None, toy_mixture: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture(sampler={"name": sampler})
    assert in_process("fit", path, "--trainer.max_epochs=2", "--run.baselines=false") == 0
    folder = latest(path)
    before = folder.info
    capsys.readouterr()
    words = ("--ckpt_path=last", "--trainer.max_epochs=2", "--run.baselines=false", changed)
    assert in_process("fit", path, *words) == (0 if key is None else 2)
    if key is not None:
        assert f"mtl: {key}: " in capsys.readouterr().err
        assert folder.info == before


@pytest.mark.usefixtures("fresh")
def test_an_interrupted_run_names_the_command_that_resumes_it_if_there_is_a_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "toy", 1)
    words = ["fit", "--mixture", "my notes.yaml"]
    assert "--run.save_every" in _how_to_resume(folder, words)
    folder.checkpoints.mkdir()
    folder.saved.file("last", 3).touch()
    RunFolder.create(tmp_path, "toy", 2)  # now the mixture's newest run, whose checkpoint `last` would mean
    assert _how_to_resume(folder, words).endswith(f": mtl fit --mixture 'my notes.yaml' --ckpt_path {folder.path}")
    for named in (["--ckpt_path=last"], ["--ckpt_path", "last"]):
        again = ["fit", *named, "--seed_everything=1"]
        assert _how_to_resume(folder, again).endswith(f": mtl fit --seed_everything=1 --ckpt_path {folder.path}")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("error", "status"), [(RuntimeError("no"), "FAILED"), (SystemExit(1), "KILLED")])
def test_a_training_that_does_not_begin_is_not_left_running(
    toy_mixture: Write, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mtl.commands.fit.RunRecorder", fail)
    path = toy_mixture()
    with suppress(type(error)):
        in_process("fit", path)
    assert latest(path).info["status"] == status
