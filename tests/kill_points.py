"""Kills trainings at random moments and resumes them, and counts what was lost.

A training is a fork of this process, in which all libraries are loaded already, so that a kill costs seconds. It is
killed with SIGKILL several times, resumed with `--ckpt_path auto` each time, and in the end compared with a training
that was not killed. Half of the kills hit a moment at which a checkpoint is being written. Half of the trainings have
the folder for temporary files on another file system. Some kills are followed by damage to the newest checkpoint.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from mtl import commands
from mtl.tracking import checkpoint_file
from mtl.tracking.checkpoint_file import damage
from mtl.tracking.run_folder import RunFolder
from mtl.training import recorder

OTHER_FILE_SYSTEM = Path("/dev/shm")

QUIET = (
    *("--run.track=false", "--run.baselines=false", "--trainer.max_epochs=3", "--trainer.enable_progress_bar=false"),
    *("--trainer.accelerator=cpu", "--trainer.precision=32-true"),
)

CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "every update": ("--run.save_every=1",),
    "by time": ("--run.save_minutes=0.001",),
    "ends of epochs": ("--run.save_minutes=null",),
    "accumulation": ("--run.save_every=1", "--trainer.accumulate_grad_batches=3"),
    "evaluations within epochs": ("--run.save_every=2", "--trainer.val_check_interval=5"),
    "one state kept": ("--run.save_every=1", "--run.keep=1", "--run.best_per_task=false"),
    "uncertainty, two tasks per step": (
        *("--run.save_every=1", "--mixture.balancing.name=uncertainty", "--mixture.tasks_per_step=2"),
    ),
    "early stopping per task": (
        *("--run.save_every=1", "--early_stopping.patience=1", "--early_stopping.per_task=true"),
    ),
}


@dataclass
class Counts:
    """What happened to the trainings of a configuration.

    Args:
        kills: Trainings that were killed.
        in_save: Kills that left the unfinished file of a checkpoint.
        unreadable: Checkpoints under their final name that were damaged after a kill.
        left_over: Files in the folder for temporary files after a kill.
        damaged: Checkpoints that the harness damaged.
        not_named: Damaged checkpoints that the resumed training did not name.
        fresh: Resumed trainings that began from the start although a checkpoint had been saved.
        lost: The most updates that a kill cost, without those that damage to a checkpoint cost.
        failed: Resumed trainings that ended with an error.
        runs: Trainings that were killed and then completed.
        identical: Those whose weights, optimiser, schedule and scores equal those of the training that was not killed.
    """

    kills: int = 0
    in_save: int = 0
    unreadable: int = 0
    left_over: int = 0
    damaged: int = 0
    not_named: int = 0
    fresh: int = 0
    lost: int = 0
    failed: int = 0
    runs: int = 0
    identical: int = 0

    def add(self, other: Counts) -> None:
        for name in (each.name for each in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name == "lost" else mine + theirs)


@dataclass
class Training:
    """A training that can be killed.

    Args:
        mixture: File of the mixture.
        root: Folder of the runs.
        temporary: Folder for temporary files.
        options: Options of `mtl fit`.
    """

    mixture: Path
    root: Path
    temporary: Path
    options: Sequence[str]
    _updates: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 8))

    @property
    def updates(self) -> int:
        """Number of updates of the training; -1 before the first one since the process started."""
        return int(struct.unpack("q", self._updates[:8])[0])

    def start(self, in_save: Callable[[], bool] | None = None, kill_at: int | None = None) -> int:
        """Starts the training, or resumes it; returns the id of its process.

        Args:
            in_save: Whether to kill the process now, asked whenever the file of a checkpoint grows or is synced.
            kill_at: Number of updates after which the process kills itself; None never does.
        """
        self.count(-1)
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            os.setpgid(0, 0)
            sys.stdout = sys.stderr = self.log.open("a", buffering=1, encoding="utf-8")
            warnings.simplefilter("ignore")
            os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
            self._count_updates(kill_at)
            if in_save is not None:
                _kill_in_save(in_save)
            words = ["fit", f"--mixture={self.mixture}", f"--run.root={self.root}", *QUIET, *self.options]
            code = commands.run([*words, "--ckpt_path=auto"])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def count(self, updates: int) -> None:
        self._updates[:8] = struct.pack("q", updates)

    def _count_updates(self, kill_at: int | None) -> None:
        count = self.count

        class Counting(recorder.RunRecorder):
            def on_train_batch_end(self, trainer: pl.Trainer, *words: Any) -> None:
                super().on_train_batch_end(trainer, *words)
                count(trainer.global_step)
                if trainer.global_step == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        from mtl.commands import fit

        fit.RunRecorder = Counting  # type: ignore[misc]

    @property
    def log(self) -> Path:
        return self.root.with_suffix(".log")

    @property
    def run(self) -> RunFolder | None:
        runs = RunFolder.all(self.root, "toy") if self.root.is_dir() else []
        return runs[-1] if runs else None

    def last(self) -> Path | None:
        return None if self.run is None else self.run.saved.last()


def _kill_in_save(now: Callable[[], bool]) -> None:
    """Makes this process kill itself while it saves a checkpoint."""

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*words: Any) -> Any:
            found = call(*words)
            if now():
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return do

    checkpoint_file._ChecksumWriter.write = watched(checkpoint_file._ChecksumWriter.write)  # type: ignore[method-assign]
    os.fsync = watched(os.fsync)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def has_ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def outcome(run: RunFolder) -> tuple[dict[str, Any], Any]:
    """What a finished training leaves: the content of its last state, and its scores."""
    state = torch.load(run.resolve_checkpoint("last"), weights_only=True)
    best = {
        name: torch.load(run.resolve_checkpoint(name), weights_only=True)["state_dict"]
        for name in run.saved.pointers()
        if name != "last"
    }
    kept = {name: state[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops")}
    return {**kept, "best": best}, (run.metrics, {name: entry["score"] for name, entry in run.saved.pointers().items()})


def equal(one: Any, other: Any) -> bool:
    """Whether nested values are identical to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) or (one != one and other != other)


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for place in rng.sample(range(len(content)), 64):
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda content, rng: b"",
    lambda content, rng: content[: rng.randrange(len(content))],
    flipped,
)


def kill(training: Training, seconds: float, rng: random.Random) -> tuple[bool, bool]:
    """Starts a training and kills it; returns whether it was killed, and whether in a save.

    Args:
        training: The training.
        seconds: Duration of the whole training.
        rng: Chooses the moment: within the start of the process, within its training, or within a save.
    """
    place = rng.choice(["start", "training", "training", "save", "save"])
    chance = random.Random(rng.random())  # at one of the 150 or so calls of a save, in this save or in a later one
    process = training.start((lambda: chance.random() < 0.005) if place == "save" else None)
    while place != "start" and training.updates < 0 and not has_ended(process):
        time.sleep(0.002)
    end = time.monotonic() + (seconds if place == "save" else rng.uniform(0, 0.3) * seconds)
    while time.monotonic() < end and not has_ended(process):
        time.sleep(0.002)
    if not has_ended(process):
        os.killpg(process, signal.SIGKILL)
    code = wait(process)
    assert code in (0, -signal.SIGKILL), training.log.read_text()[-3000:]
    return code != 0, bool(list(training.root.glob("toy/*/checkpoints/.*")))


def torture(training: Training, seconds: float, kills: int, rng: random.Random, *, damages: bool = True) -> Counts:
    """Kills and resumes a training until it was killed often enough, then completes it.

    Args:
        training: The training.
        seconds: Duration of the whole training.
        kills: Number of kills.
        rng: Chooses moments and damage.
        damages: Whether to damage the newest checkpoint after some kills.
    """
    counts = Counts(runs=1)
    torn: dict[Path, bytes] = {}
    damaged: set[Path] = set()  # those of them that no process has named yet

    def read_log(start: int) -> str:
        """What the latest process wrote; takes note of the damaged checkpoints that it named."""
        said = training.log.read_bytes()[start:].decode(errors="replace")
        damaged.difference_update({path for path in damaged if str(path) in said})
        return said

    for _ in range(20 * kills):
        if counts.kills == kills:
            break
        start = training.log.stat().st_size if training.log.exists() else 0
        had = training.last()
        was_killed, in_save = kill(training, seconds, rng)
        is_fresh = "There is no checkpoint to resume from" in read_log(start)
        counts.fresh += is_fresh and had is not None
        run = training.run
        if not was_killed:  # it was complete
            break
        counts.kills += 1
        counts.in_save += in_save
        counts.left_over += len(list(training.temporary.iterdir()))
        if run is None:
            continue
        broken = [path for path in run.checkpoints.glob("*.ckpt") if damage(path) is not None]
        counts.unreadable += sum(path.read_bytes() != torn.get(path) for path in broken)
        newest = training.last()
        if newest is not None and damages and len(run.saved.files("last")) > 1 and rng.random() < 0.3:
            torn[newest] = rng.choice(DAMAGES)(newest.read_bytes(), rng)
            newest.write_bytes(torn[newest])
            counts.damaged += 1
            damaged.add(newest)
        elif newest is not None and not torn:
            step = torch.load(newest, weights_only=True, mmap=True)["global_step"]
            counts.lost = max(counts.lost, training.updates - step)
    start = training.log.stat().st_size if training.log.exists() else 0
    code = wait(training.start())
    read_log(start)
    counts.not_named += len(damaged)
    counts.failed += code != 0
    assert training.run is not None
    assert training.run.info["status"] == "FINISHED"
    return counts


@contextmanager
def fresh_environment(folder: Path) -> Iterator[None]:
    """The working folder and the variables of a fresh process."""
    before, place = dict(os.environ), Path.cwd()
    os.chdir(folder)
    for name in ("MTL_RUN_FOLDER", "MTL_RUN_CHECKPOINT", "RANK", "LOCAL_RANK"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)


def try_configuration(
    mixture: Path, name: str, *, runs: int, kills: int, seed: int = 1, damages: bool = True
) -> tuple[Counts, list[str]]:
    """Kills and resumes trainings of a configuration; every second has its temporary files on another file system.

    Args:
        mixture: File of the mixture.
        name: Name of the configuration.
        runs: Number of trainings.
        kills: Number of kills of each.
        seed: Chooses moments and damage.
        damages: Whether to damage checkpoints after some kills.

    Returns:
        The counts, and the logs of trainings whose outcome differs.
    """
    rng, counts, differing = random.Random(f"{seed} {name}"), Counts(), []
    options, base = CONFIGURATIONS[name], mixture.parent / name.replace(" ", "-").replace(",", "")
    with fresh_environment(mixture.parent):
        whole = Training(mixture, base / "whole", base, options)
        base.mkdir()
        start = time.monotonic()
        assert wait(whole.start()) == 0, whole.log.read_text()[-3000:]
        seconds = time.monotonic() - start
        assert whole.run is not None
        expected = outcome(whole.run)
        for number in range(runs):
            parent = OTHER_FILE_SYSTEM if number % 2 else base
            with tempfile.TemporaryDirectory(dir=parent) as temporary:
                training = Training(mixture, base / str(number), Path(temporary), options)
                found = torture(training, seconds, kills, rng, damages=damages and "--run.keep=1" not in options)
                assert training.run is not None
                found.identical += equal(outcome(training.run), expected)
                if not found.identical:
                    differing.append(training.log.read_text()[-5000:])
            counts.add(found)
    return counts, differing


def table(counts: Mapping[str, Counts]) -> str:
    """A table of the counts of each configuration."""
    names = [each.name for each in fields(Counts)]
    rows = [["configuration", *(name.replace("_", " ") for name in names)], ["---"] + ["---:"] * len(names)]
    for title, found in counts.items():
        rows.append([title, *(str(getattr(found, name)) for name in names)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
