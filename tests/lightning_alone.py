"""What Lightning alone does under faults that this project guards against, and what our callbacks and commands do.

    pytest -m soak -s tests/test_lightning_alone.py

prints the counts. Saves are compared with the same module, trainer and faults: once with Lightning's `ModelCheckpoint`,
once with our callback. Trainings are forks of this process, in which all libraries are loaded already.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mtl.tracking.run_folder import RunFolder
from mtl.training.saving import LastCheckpoint
from tests.kill_points import DAMAGES, has_ended, wait

DAMAGE = dict(zip(("emptied", "cut short", "64 bytes flipped"), DAMAGES, strict=True))


class Plain(pl.LightningModule):
    """A module of 2 million weights, whose checkpoints with the states of Adam have 25 MB.

    Args:
        nan_from: Number of the update from which the loss is NaN; None for never.
    """

    def __init__(self, nan_from: int | None = None) -> None:
        super().__init__()
        self._nan_from = nan_from
        self.layers = nn.Sequential(nn.Linear(1024, 1024), nn.Linear(1024, 1024))

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        loss: Tensor = self.layers(batch).square().mean()
        is_nan = self._nan_from is not None and self.global_step >= self._nan_from
        return loss * float("nan") if is_nan else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(torch.ones(50, 1024))  # type: ignore[arg-type]  # a tensor is a sequence of its rows


class Saver:
    """One of the two ways to save.

    Args:
        folder: New folder for the checkpoints.
        is_ours: Whether our callback saves; otherwise Lightning's.
        every: Number of updates between saves.
    """

    def __init__(self, folder: Path, is_ours: bool, every: int = 1) -> None:
        folder.mkdir(parents=True)
        self.folder, self._every = folder, every
        self.run = RunFolder.create(folder, "plain", 0) if is_ours else None
        self.checkpoints = folder if self.run is None else self.run.checkpoints

    def trainer(self, *callbacks: Callback, **options: Any) -> pl.Trainer:
        """A trainer that saves."""
        if self.run is not None:
            saving: Any = LastCheckpoint(self.run, every=self._every)
        else:
            saving = ModelCheckpoint(self.folder, save_last=True, every_n_train_steps=self._every)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return pl.Trainer(accelerator="cpu", callbacks=[saving, *callbacks], **{"max_steps": 400, **quiet, **options})

    def last(self) -> Path | None:
        """The checkpoint from which a training would resume; None if none has been saved."""
        if self.run is None:
            return path if (path := self.folder / "last.ckpt").exists() else None
        pointer = self.run.saved.pointers().get("last")
        return None if pointer is None else self.run.path / pointer["path"]


@contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def forked(work: Callable[[], Any], log: Path, temporary: Path | None = None) -> int:
    """Starts work in a fork of this process, and returns its id.

    Args:
        work: The work.
        log: File for its output.
        temporary: Folder for temporary files; None for the usual one.
    """
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        sys.stdout = sys.stderr = log.open("a", buffering=1, encoding="utf-8")
        if temporary is not None:
            os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        with quietly():
            work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def is_readable(path: Path) -> bool:
    """Whether torch loads a file."""
    try:
        torch.load(path, weights_only=True)
    except Exception:  # a torn file raises all sorts of errors
        return False
    return True


# --- kills in a save --------------------------------------------------------------------------------------------------


def killed_save(saver: Saver, temporary: Path, seconds: float) -> Counter[str]:
    """Kills a training soon after a save has begun, and counts what is left.

    Args:
        saver: How to save.
        temporary: Folder for temporary files.
        seconds: Time from the moment at which the unfinished file appears to the kill.
    """
    process = forked(lambda: saver.trainer().fit(Plain()), saver.folder / "log", temporary)
    while not (saver.last() and _is_saving(saver, temporary)) and not has_ended(process):
        time.sleep(0.0002)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    assert wait(process) == -signal.SIGKILL, (saver.folder / "log").read_text()
    last = saver.last()
    files = list(saver.checkpoints.glob("*.ckpt"))
    unreadable = [path for path in files if not is_readable(path)]
    if saver.run is not None:
        saver.run.repair()  # as the next training does
    left = [*temporary.iterdir(), *saver.checkpoints.glob(".*")]
    return Counter(
        {
            "killed": 1,
            "`last` unreadable": last in unreadable,
            "other files unreadable": len(set(unreadable) - {last}),
            "nothing readable": len(unreadable) == len(files),
            "files left over": len(left),
        }
    )


def _is_saving(saver: Saver, temporary: Path) -> bool:
    place, pattern = (temporary, "*") if saver.run is None else (saver.checkpoints, ".*")
    return next(place.glob(pattern), None) is not None


# --- damaged checkpoints ----------------------------------------------------------------------------------------------


def resumed_from_damage(saver: Saver, damage: Callable[[bytes, random.Random], bytes], rng: random.Random) -> str:
    """What happens to a training that resumes after its newest checkpoint was damaged.

    Args:
        saver: How to save.
        damage: Changes the content of the file.
        rng: Chooses what is changed.

    Returns:
        `resumed from the damaged file`, `resumed from the previous one` or `stopped with an error`.
    """
    with quietly():
        saver.trainer(max_steps=3).fit(Plain())
        newest = saver.last()
        assert newest is not None
        newest.write_bytes(damage(newest.read_bytes(), rng))
        try:
            path = newest if saver.run is None else saver.run.resolve_checkpoint("last")
            trainer = saver.trainer(max_steps=4)
            trainer.fit(Plain(), ckpt_path=str(path), weights_only=True)
        except Exception:  # Lightning has no common error for this
            return "stopped with an error"
    return "resumed from the damaged file" if path == newest else "resumed from the previous one"


# --- losses that are not finite ---------------------------------------------------------------------------------------


def nan_weights_of_lightning(folder: Path) -> tuple[int, int]:
    """How many weights of `last` are NaN, and of how many, after a training with a NaN loss from its third update."""
    with quietly():
        Saver(folder, is_ours=False).trainer(max_steps=6).fit(Plain(nan_from=2))
    return not_finite(folder / "last.ckpt")


def not_finite(path: Path) -> tuple[int, int]:
    """The number of weights of a checkpoint that are not finite, and of all weights."""
    weights = [
        value for value in torch.load(path, weights_only=True)["state_dict"].values() if value.is_floating_point()
    ]
    return sum(int((~value.isfinite()).sum()) for value in weights), sum(value.numel() for value in weights)


# --- signals ----------------------------------------------------------------------------------------------------------


class Slow(Callback):
    """Slows a training down, and notes that it has begun.

    Args:
        begun: File that exists after the third update.
    """

    def __init__(self, begun: Path) -> None:
        self._begun = begun

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            self._begun.touch()
        time.sleep(0.05)


def lightning_after(sent: signal.Signals, folder: Path) -> tuple[int, bool]:
    """The exit status of a training of Lightning alone that gets a signal in its first epoch, and whether it saved.

    Args:
        sent: The signal.
        folder: New folder for the checkpoints.
    """
    saver = Saver(folder, is_ours=False, every=50)  # once per epoch
    begun = folder / "begun"
    process = forked(lambda: saver.trainer(Slow(begun)).fit(Plain()), folder / "log")
    while not begun.exists() and not has_ended(process):
        time.sleep(0.01)
    os.kill(process, sent)
    return wait(process), saver.last() is not None
