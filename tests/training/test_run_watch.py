"""The thread that ends a run whose other processes have died, or that a signal finds stuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from mtl.training import run_watch
from mtl.training.run_watch import PARENT, RunWatch
from mtl.training.signals import StopSignals
from tests.mlflow_server import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print(1, flush=True); time.sleep(600)",
]


class Record:
    """Notes how a run ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.noted: list[str] = []
        self.beats = 0

    def is_running(self) -> bool:
        return not self.ended

    def beat(self) -> None:
        self.beats += 1

    def note(self, reason: str) -> None:
        self.noted.append(reason)

    def end(self, status: str, reason: str) -> None:
        self.ended.append((status, reason))


class Scene:
    """A trainer of two processes, the watch of one of them, and what the watch did."""

    def __init__(self, signals: StopSignals) -> None:
        self.record, self.signals, self.left = Record(), signals, threading.Event()
        launcher = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
        launcher.procs = [subprocess.Popen(SLEEP)]
        self.child = launcher.procs[0]
        self.trainer: Any = type("T", (), {"world_size": 2, "strategy": type("S", (), {"launcher": launcher})})

    def watch(self) -> RunWatch:
        return RunWatch(self.trainer, self.signals, self.record, leave=lambda code: self.left.set())


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name, seconds in {
        "LOOK_EVERY": 0.01,
        "GRACE": 0.2,
        "AFTER_SIGNAL": 0.2,
        "STUCK": 0.2,
        "OTHER_ENDS": 0.2,
    }.items():
        monkeypatch.setattr(run_watch, name, seconds)
    monkeypatch.setenv(PARENT, "0")  # restores it
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with StopSignals() as signals:
        found = Scene(signals)
        yield found
        found.child.kill()
        found.child.wait()


def test_a_run_gives_signs_of_life(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_watch, "BEAT", 0.02)
    with scene.watch():
        wait_for(lambda: scene.record.beats > 2)


@pytest.mark.parametrize("seen", ["killed", "failed"])
def test_a_dead_child_ends_the_run_as_failed_with_its_rank_and_how_it_died(
    seen: str, scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    if seen == "failed":
        scene.child.kill()
        scene.child.wait()
        scene.trainer.strategy.launcher.procs = [subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])]
    else:
        scene.child.kill()
    with scene.watch():
        assert scene.left.wait(60)
    ((status, reason),) = scene.record.ended
    assert status == "FAILED"
    assert "rank 1" in reason
    assert ("SIGKILL" if seen == "killed" else "3") in reason
    assert reason in capfd.readouterr().err


def test_an_error_that_comes_from_the_death_of_a_child_is_explained(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_watch, "LOOK_EVERY", 60.0)  # the error comes before the thread looks
    scene.signals.end()
    scene.child.kill()
    with pytest.raises(ConnectionError), scene.watch():
        raise ConnectionError
    (reason,) = scene.record.noted
    assert "rank 1" in reason
    assert reason in capfd.readouterr().err
    assert not scene.left.is_set()


def test_a_run_that_ends_by_itself_after_a_child_died_records_its_own_end(scene: Scene) -> None:
    scene.child.kill()
    with scene.watch() as watch:
        while not scene.record.noted:
            time.sleep(0.01)
    watch._thread.join()
    assert scene.record.ended == []
    assert not scene.left.is_set()


def test_a_child_whose_parent_has_ended_records_that_and_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(PARENT, str(os.getpid()))  # not the parent of this process
    with scene.watch():
        assert scene.left.wait(60)
    ((status, reason),) = scene.record.ended
    assert status == "FAILED"
    assert "rank 0" in reason


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_child_that_fails_records_the_end_of_its_parent_if_that_has_ended(
    is_alone: bool, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_watch, "LOOK_EVERY", 60.0)  # the error comes before the thread looks
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(PARENT, str(os.getpid() if is_alone else os.getppid()))
    scene.signals.end()
    with pytest.raises(ConnectionError), scene.watch():
        raise ConnectionError
    assert [status for status, _ in scene.record.ended] == (["FAILED"] if is_alone else [])
    assert scene.left.is_set() == is_alone


@pytest.mark.parametrize("phase", ["stuck", "ending"])
def test_a_run_that_does_not_end_after_a_signal_is_ended_as_killed_with_its_children(phase: str, scene: Scene) -> None:
    scene.signals.waits = True
    scene.child.kill()
    scene.child.wait()
    child = subprocess.Popen(DEAF, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline()
    scene.child = child
    scene.trainer.strategy.launcher.procs = [child]
    with scene.watch():
        signal.raise_signal(signal.SIGUSR1)
        if phase == "ending":
            scene.signals.end()
        assert scene.left.wait(60)
    assert [status for status, _ in scene.record.ended] == ["KILLED"]
    assert child.wait(60) == -signal.SIGKILL
    child.stdout.close()


def test_a_run_that_is_saving_after_a_signal_has_all_the_time_it_needs(scene: Scene) -> None:
    scene.signals.waits = scene.signals.stops = True
    with scene.watch():
        scene.signals.pass_on = []  # the child of this test would end by it
        signal.raise_signal(signal.SIGTERM)
        assert not scene.left.wait(0.6)  # three times as long as all limits


def test_a_signal_is_seen_while_the_main_thread_is_blocked_as_in_a_collective_operation(scene: Scene) -> None:
    scene.child.kill()
    scene.child.wait()
    scene.trainer.strategy.launcher.procs = []
    scene.signals._note = lambda *_: None  # type: ignore[method-assign]  # as if Python never got to run it
    signal.signal(signal.SIGTERM, scene.signals._note)
    with scene.watch():
        os.kill(os.getpid(), signal.SIGTERM)
        assert scene.left.wait(60)
    assert scene.signals.received is None
    assert [status for status, _ in scene.record.ended] == ["KILLED"]


def test_a_signal_is_passed_on_to_the_children(scene: Scene) -> None:
    scene.signals.waits = True
    with scene.watch():
        signal.raise_signal(signal.SIGTERM)
        assert scene.child.wait(60) == -signal.SIGTERM


def test_lightnings_observer_has_nothing_to_observe(scene: Scene) -> None:
    from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

    observer = _ChildProcessObserver(os.getpid(), [scene.child])
    vars(observer)["_sleep_period"] = 0.5
    observer.start()
    with scene.watch():
        observer.join(60)
    assert not observer.is_alive()
    assert scene.child.poll() is None
