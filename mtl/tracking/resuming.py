"""Which checkpoint a training resumes from or an evaluation reads: one choice for all processes of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mtl.distributed import is_one_of_several, is_rank_zero
from mtl.problems import InputError, Problem
from mtl.tracking.run_folder import FOLDER_VARIABLE, RunFolder, export_folder, named_folder

CHECKPOINT_VARIABLE = "MTL_RUN_CHECKPOINT"
"""Variable with the checkpoint that rank 0 chose, for the processes that it starts; empty for a new run."""


def agreed(choose: Callable[[], Path | None]) -> Path | None:
    """The checkpoint that this function chooses, or that rank 0 chose if rank 0 started this process.

    A launcher that starts all processes at once leaves each of them to choose for itself, from the same files; the
    callback that saves checkpoints compares their choices.

    Args:
        choose: Chooses a checkpoint; None for a new run.
    """
    if not is_rank_zero() and not _has_launcher() and CHECKPOINT_VARIABLE in os.environ:
        chosen = os.environ[CHECKPOINT_VARIABLE]
        return Path(chosen) if chosen else None
    path = choose()
    os.environ[CHECKPOINT_VARIABLE] = "" if path is None else str(path)
    return path


def newest_last(root: Path, mixture_name: str, seed: int) -> Path | None:
    """The undamaged `last` that was saved most recently in any run of a mixture and seed; None if there is none.

    Args:
        root: Folder of all runs.
        mixture_name: Name of the mixture.
        seed: Seed of the run.
    """
    found = [path for run in _runs(root, mixture_name, seed) if (path := run.saved.last()) is not None]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def fresh_start(root: Path, mixture_name: str, seed: int, config: Mapping[str, Any]) -> RunFolder:
    """The folder for a training from the start: that of an earlier start without a checkpoint, else a new one.

    An earlier start is continued, in its folder and in MLflow, if it has the same configuration, because only then do
    the points that it has recorded belong to this training.

    Args:
        root: Folder of all runs.
        mixture_name: Name of the mixture.
        seed: Seed of the run.
        config: The resolved configuration of the training, as the run's `config.yaml` has it.

    Raises:
        InputError: As for `RunFolder.create`, or the script of a job names the folder of another training.
    """
    named = named_folder()
    if named is not None and is_rank_zero() and _is_of_another(RunFolder(named), config):
        message = f"must name a new folder, or that of a run with the same configuration; got {named}."
        advice = "Name another folder: the run in this one has other options, and no checkpoint to resume from."
        raise InputError(Problem(FOLDER_VARIABLE, message, advice))
    runs = _runs(root, mixture_name, seed)
    if named is not None or not runs or not is_rank_zero() or _has_launcher() or _is_over(runs[-1], config):
        return RunFolder.create(root, mixture_name, seed)
    export_folder(runs[-1].path)
    return runs[-1]


def _is_over(run: RunFolder, config: Mapping[str, Any]) -> bool:
    return run.info.get("status") == "FINISHED" or _is_of_another(run, config)


def _is_of_another(run: RunFolder, config: Mapping[str, Any]) -> bool:
    """Whether a run has recorded another configuration; one that ended before it recorded any has not."""
    file = run.path / "config.yaml"
    if not file.is_file():
        return False
    try:
        recorded = yaml.safe_load(file.read_text(encoding="utf-8", errors="replace"))
    except yaml.YAMLError:  # a damaged file
        return True
    return not isinstance(recorded, dict) or _without_checkpoint(recorded) != _without_checkpoint(config)


def _without_checkpoint(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "ckpt_path"}


def _runs(root: Path, mixture_name: str, seed: int) -> list[RunFolder]:
    """The runs of a mixture and seed; only the one that the script of a job names, if it names one."""
    named = named_folder()
    if named is not None:
        return [RunFolder(named)] if named.is_dir() else []
    return [run for run in RunFolder.all(root, mixture_name) if run.info.get("seed") == seed]


def _has_launcher() -> bool:
    """Whether a launcher other than Lightning started this process."""
    return "RANK" in os.environ or is_one_of_several()
