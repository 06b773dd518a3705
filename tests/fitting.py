"""Runs of `mtl fit` for tests: the command line, in a process of its own or in this one, and what a run leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.commands import run
from mtl.tracking.run_folder import RunFolder

Write = Callable[..., Path]

MTL = Path(sys.executable).with_name("mtl")
PRIMARY = {"cause": "accuracy", "drugs": "f1", "risk": "pearson", "bleed": "accuracy"}
QUIET = ("--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.enable_progress_bar=false")
NO_DROPOUT = ("encoder.dropout=0", *(f"tasks.{task}.options.dropout=0" for task in PRIMARY))


def command(subcommand: str, mixture: Path, *options: str) -> list[str]:
    root = mixture.parent / "runs"
    words = [str(MTL), subcommand, f"--mixture={mixture}", f"--run.root={root}", "--run.track=false", *QUIET]
    return [*words, *(["--trainer.max_epochs=3"] if subcommand == "fit" else []), *options]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "MTL_RUN_FOLDER")}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def mtl(
    subcommand: str, mixture: Path, *options: str, expect: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(subcommand, mixture, *options),
        cwd=mixture.parent,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def latest(mixture: Path) -> RunFolder:
    return RunFolder.latest(mixture.parent / "runs", "toy")


def weights(folder: RunFolder, name: str = "last") -> dict[str, Tensor]:
    content = torch.load(folder.resolve_checkpoint(name), weights_only=True)
    return dict(content["state_dict"])


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def in_process(subcommand: str, mixture: Path, *options: str) -> int:
    return run(command(subcommand, mixture, "--run.baselines=false", "--trainer.log_every_n_steps=5", *options)[1:])


class StopError(Exception):
    """Stands for whatever ends a run."""


class StopAt(Callback):
    """Ends a training after a number of batches."""

    def __init__(self, batch: int) -> None:
        self._left = batch

    def on_train_batch_start(self, *_: Any) -> None:
        if self._left == 0:
            raise StopError
        self._left -= 1
