"""One training of a trial: a process `mtl fit`, and the score that it leaves in the folder of its run.

Each training is a process of its own: a crash or a lack of memory fails one trial and not the search, a training may
use several devices, and its run has checkpoints, status and MLflow like any other. `--ckpt_path auto` resumes a
training that was interrupted, or starts it.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mtl.files import write_json, write_text
from mtl.tracking.points import read_lines
from mtl.tracking.resuming import CHECKPOINT_VARIABLE
from mtl.tracking.run_folder import FOLDER_VARIABLE, RunFolder

WATCH_EVERY = 1.0
"""Seconds between two looks at a training."""

GRACE = 120.0
"""Seconds that an interrupted training has to save its last checkpoint."""


class TrainingOrder(NamedTuple):
    """A training to start.

    Args:
        config: Config file of `mtl fit`.
        log: File for the output of the training.
        claim: Descriptor of the claim on the trial, which the training inherits.
        watch: Called about once per second while it trains.
    """

    config: Path
    log: Path
    claim: int
    watch: Callable[[], None]


def train(order: TrainingOrder) -> int:
    """Trains in a new process and returns its exit code. An interrupt makes it save, and ends it.

    Args:
        order: The training.
    """
    command = [sys.executable, "-m", "mtl", "fit", "--config", str(order.config), "--ckpt_path", "auto"]
    environment = {k: v for k, v in os.environ.items() if k not in (FOLDER_VARIABLE, CHECKPOINT_VARIABLE)}
    with order.log.open("ab") as output:
        # A session of its own, so that Ctrl-C reaches only this process, which then asks the training to save.
        process = subprocess.Popen(  # noqa: S603  # our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=(order.claim,),
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(WATCH_EVERY)
                order.watch()
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a training after it has saved; a second interrupt ends it at once."""
    process.terminate()
    try:
        process.wait(GRACE)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def write_config(
    path: Path, mixture: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], *, root: Path, experiment: str
) -> None:
    """Writes the config file of a training.

    Args:
        path: The file.
        mixture: Fields of the mixture, with the seed.
        sections: Options of `mtl fit`, by section.
        root: Folder of the runs of the trial.
        experiment: Name of the MLflow experiment.
    """
    trainer = {"enable_progress_bar": False, **sections.get("trainer", {})}
    run = {"root": str(root), "experiment": experiment, "baselines": False, "best_per_task": False, "keep": 1}
    content = {"mixture": dict(mixture), **sections, "trainer": trainer, "run": run}
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def run_of(root: Path, mixture_name: str, seed: int) -> RunFolder | None:
    """The newest run of a seed in the folder of a trial; None if there is none.

    Args:
        root: Folder of the runs of the trial.
        mixture_name: Name of the mixture.
        seed: Seed of the run.
    """
    runs = [run for run in RunFolder.all(root, mixture_name) if run.info.get("seed") == seed]
    return runs[-1] if runs else None


def best_value(run: RunFolder, objective: str, *, is_minimized: bool) -> float | None:
    """The objective at the best evaluation of a run; None if it was undefined in all of them.

    Args:
        run: Folder of the run.
        objective: Name of the objective among the logged scores.
        is_minimized: Whether lower is better.
    """
    logged = (line.metrics.get(objective) for line in read_lines(run.path / "metrics.jsonl"))
    values = [value for value in logged if value is not None and math.isfinite(value)]
    if not values:
        return None
    return min(values) if is_minimized else max(values)


def drop_checkpoints(run: RunFolder, *kinds: str) -> None:
    """Deletes the checkpoints of a finished run, which would fill the disk.

    Args:
        run: Folder of the run.
        kinds: Kinds of checkpoints to delete: `last`, `best`.
    """
    paths = [path for kind in kinds for path in run.saved.files(kind)]
    if not paths:
        return
    for path in paths:
        path.unlink(missing_ok=True)
    pointers = {name: entry for name, entry in run.saved.pointers().items() if name.partition(":")[0] not in kinds}
    write_json(run.path / "checkpoints.json", pointers)
