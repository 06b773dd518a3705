"""Signals: what they interrupt, what is saved, and that the resumed run is the one that was not interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from mtl.config.loading import load_mixture
from mtl.tracking.run_folder import RunFolder
from mtl.training.saving import LastCheckpoint, checkpoint_callbacks
from mtl.training.signals import SIGNALS, Question, StopOnSignal, Stopped, StopSignals
from tests import signal_matrix

Write = Callable[..., Path]
Train = Callable[..., Any]

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
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
    toy_mixture: Write,
    train: Train,
    tmp_path: Path,
) -> None:
    mixture = load_mixture(toy_mixture())

    def fit(folder: RunFolder, *callbacks: Callback, **more: Any) -> Any:
        with StopSignals() as signals:
            kept = [*callbacks, *saving(folder, signals)]
            return train(mixture, callbacks=kept, max_epochs=3, enable_checkpointing=True, **options, **more)

    whole = fit(RunFolder.create(tmp_path / "whole", "toy", 1))
    folder = RunFolder.create(tmp_path / "stopped", "toy", 1)
    with pytest.raises(Stopped):
        fit(folder, SendAt(hook, number))
    last = folder.resolve_checkpoint("last")
    assert torch.load(last, weights_only=True)["global_step"] == step
    resumed = fit(folder, ckpt_path=last)
    assert resumed.trainer.global_step == whole.trainer.global_step
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())
    assert resumed.module.selection.state_dict() == whole.module.selection.state_dict()
    assert resumed.module.train_losses == whole.module.train_losses


@pytest.mark.parametrize("sent", SIGNALS)
def test_a_signal_before_the_training_ends_the_process_at_once(sent: signal.Signals) -> None:
    before = signal.getsignal(sent)
    with StopSignals() as signals:
        with pytest.raises(Stopped):
            signal.raise_signal(sent)
        signal.raise_signal(sent)  # a second one must not interrupt the end
        assert signals.received is sent
        assert signals.ends_since is not None
    assert signal.getsignal(sent) is before


def test_the_first_signal_of_a_run_is_passed_on_once(signals: StopSignals) -> None:
    passed: list[int] = []
    signals.pass_on = [passed.append]
    signals.waits = True
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    assert passed == [signal.SIGUSR1]


FORKING = """
import os, signal
from mtl.training.signals import StopSignals

with StopSignals() as signals:
    signals.waits = True
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), signals.received)
"""


@pytest.mark.slow
def test_a_forked_process_still_ends_by_the_signal() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == [str(-signal.SIGTERM), "None"]


def test_ranks_ask_each_other_about_once_a_second_and_all_at_the_same_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks whose clocks run differently, as if their collective operations met."""
    clock = {"now": 0.0}
    monkeypatch.setattr("mtl.training.signals.time.monotonic", lambda: clock["now"])
    monkeypatch.setattr("mtl.training.signals.world_size", lambda: 2)
    waiting: list[torch.Tensor] = []

    def meet(values: torch.Tensor) -> torch.Tensor:  # the second rank to come gets the maximum
        waiting.append(values)
        return values

    monkeypatch.setattr("mtl.training.signals.max_over_ranks", meet)
    trainer: Any = type("T", (), {"strategy": type("S", (), {"root_device": torch.device("cpu")})})
    one, other = Question(), Question()
    asked = []
    seconds = [0.125] * 100 + [4.0] * 20
    for step, duration in enumerate(seconds, start=1):
        clock["now"] += duration
        one_due, other_due = one._due, other._due
        assert one_due == other_due
        if step >= one_due:
            asked.append(step)
        one.ask(trainer, False, step=step)
        other.ask(trainer, False, step=step)
    assert asked[:5] == [1, 3, 7, 15, 23]
    assert asked[-15:] == list(range(106, 121))
    assert len(waiting) == 2 * len(asked)


# --- real processes ---------------------------------------------------------------------------------------------------


EXPECTED = {signal.SIGTERM: "KILLED", signal.SIGUSR1: "KILLED", signal.SIGINT: "KILLED", signal.SIGKILL: "FAILED"}


def check(mixture: Path, folder: Path, sent: signal.Signals, processes: int, target: str) -> signal_matrix.Outcome:
    run = signal_matrix.Run(mixture, folder / "run", processes)
    done = signal_matrix.hit(run, sent, processes, target)
    assert done.seconds is not None, done.output  # all processes have ended
    assert done.code != 0
    assert done.step is not None
    assert signal_matrix.resume(run) == 0, run.output
    whole = signal_matrix.Run(mixture, folder / "whole", processes)
    assert whole.start(pause=0.0).wait(600) == 0, whole.output
    assert signal_matrix.same_weights(run.last, whole.last)
    return done


@pytest.mark.slow
def test_a_signal_to_any_of_two_processes_saves_and_ends_both(toy_mixture: Write, tmp_path: Path) -> None:
    done = check(toy_mixture(), tmp_path, signal.SIGUSR1, 2, "1")
    assert (done.code, done.status, done.in_mlflow) == (1, "KILLED", "KILLED")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [pytest.param("0", marks=pytest.mark.soak), "1"])
def test_a_killed_rank_ends_the_other_with_the_reason_and_a_true_status(
    rank: str, toy_mixture: Write, tmp_path: Path
) -> None:
    run = signal_matrix.Run(toy_mixture(), tmp_path / "run", 2)
    done = signal_matrix.hit(run, signal.SIGKILL, 2, rank)
    assert done.seconds is not None, done.output
    assert (done.status, done.in_mlflow) == ("FAILED", "FAILED")
    assert f"rank {rank}" in done.output
    assert run.folder is not None
    assert f"rank {rank}" in signal_matrix.read(run.folder / "run.json")["reason"]


@pytest.mark.slow
def test_a_run_that_was_killed_is_killed_once_another_mixture_trains(toy_mixture: Write, tmp_path: Path) -> None:
    run = signal_matrix.Run(toy_mixture(), tmp_path / "run", 1)
    done = signal_matrix.hit(run, signal.SIGKILL, 1, "0")
    assert (done.status, done.in_mlflow) == ("RUNNING", "RUNNING")
    killed = run.folder
    assert killed is not None
    other = run.start("--mixture.name=other", "--trainer.max_epochs=1", pause=0.0)
    assert other.wait(300) == 0, run.output
    info = signal_matrix.read(killed / "run.json")
    assert (info["status"], run.in_mlflow(info)) == ("KILLED", "KILLED")


@pytest.mark.soak
@pytest.mark.parametrize(("sent", "processes", "target"), signal_matrix.CELLS, ids=str)
def test_every_signal_to_every_rank_ends_a_run_that_can_be_resumed(
    sent: signal.Signals, processes: int, target: str, toy_mixture: Write, tmp_path: Path
) -> None:
    done = check(toy_mixture(), tmp_path, sent, processes, target)
    if sent in SIGNALS:
        assert (done.code, done.status, done.in_mlflow) == (1, "KILLED", "KILLED")
    elif sent == signal.SIGINT:
        assert done.status == ("FAILED" if target == "1" else "KILLED")
    elif processes == 2 and target != "all":
        assert done.status == "FAILED"


@pytest.mark.soak
@pytest.mark.parametrize(("processes", "target"), [(1, "0"), (2, "0"), (2, "1"), (2, "all")])
def test_a_signal_in_an_evaluation_saves_and_the_resumed_run_repeats_it(
    processes: int, target: str, toy_mixture: Write, tmp_path: Path
) -> None:
    mixture = toy_mixture(batch_size=2)
    run = signal_matrix.Run(mixture, tmp_path / "run", processes)
    done = signal_matrix.hit(run, signal.SIGTERM, processes, target, pause=0.0, evaluation=4.0)
    assert done.seconds is not None, done.output
    assert (done.code, done.status) == (1, "KILLED")
    assert signal_matrix.resume(run) == 0, run.output
    whole = signal_matrix.Run(mixture, tmp_path / "whole", processes)
    assert whole.start(pause=0.0).wait(600) == 0, whole.output
    assert signal_matrix.same_weights(run.last, whole.last)


@pytest.mark.slow
@pytest.mark.soak
def test_a_preempted_job_of_submitit_is_requeued_and_resumes(
    toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    run = signal_matrix.Run(toy_mixture(), tmp_path / "run", 1)
    script = re.search(r"^```python\n(# requeue\.py\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert script is not None
    namespace: dict[str, Any] = {"__name__": "requeue"}
    exec(script[1], namespace)
    for name, value in signal_matrix.environment(run.root, run.store).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(run.root)
    executor = submitit.LocalExecutor(run.root / "jobs")
    executor.update_parameters(timeout_min=60)
    job = executor.submit(namespace["Command"]([*run.command(pause=0.3), "--ckpt_path=auto"]))
    try:
        until = time.monotonic() + 180
        while run.last is None and time.monotonic() < until:
            time.sleep(0.1)
        (task,) = psutil.Process(int(job.job_id)).children()
        task.send_signal(signal.SIGUSR2)  # submitit's own signal for preemption
        job.result()
    finally:
        job.cancel()
    assert run.folder is not None
    assert "KILLED" in job.stderr() + job.stdout() or "Interrupted" in job.stderr()
    info = signal_matrix.read(run.folder / "run.json")
    assert info["status"] == "FINISHED"
    assert signal_matrix.steps(run.last) == 70
    assert len(list(run.root.glob("runs/*/*/run.json"))) == 1
