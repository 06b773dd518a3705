"""Which checkpoint a training resumes from or an evaluation reads: one choice for all processes of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mtl.distributed import is_one_of_several, is_rank_zero
from mtl.tracking.run_folder import RunFolder, export_folder, named_folder

CHECKPOINT_VARIABLE = "MTL_RUN_CHECKPOINT"
"""Variable with the checkpoint that rank 0 chose, for the processes that it starts; empty for a fresh start."""


def agreed(choose: Callable[[], Path | None]) -> Path | None:
    """The checkpoint that this function chooses, or that rank 0 chose if rank 0 started this process.

    A launcher that starts all processes at once leaves each of them to choose for itself, from the same files; the
    callback that saves checkpoints compares their choices.

    Args:
        choose: Chooses a checkpoint; None for a fresh start.
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


def fresh_start(root: Path, mixture_name: str, seed: int) -> RunFolder:
    """The folder for a training from the start: that of the newest run of the mixture and seed, else a new one.

    Args:
        root: Folder of all runs.
        mixture_name: Name of the mixture.
        seed: Seed of the run.

    Raises:
        InputError: As for `RunFolder.create`.
    """
    runs = _runs(root, mixture_name, seed)
    if not runs or not is_rank_zero() or _has_launcher() or named_folder() is not None:
        return RunFolder.create(root, mixture_name, seed)
    export_folder(runs[-1].path)
    return runs[-1]


def _runs(root: Path, mixture_name: str, seed: int) -> list[RunFolder]:
    """The runs of a mixture and seed; only the one that the script of a job names, if it names one."""
    named = named_folder()
    if named is not None:
        return [RunFolder(named)] if named.is_dir() else []
    return [run for run in RunFolder.all(root, mixture_name) if run.info.get("seed") == seed]


def _has_launcher() -> bool:
    """Whether a launcher other than Lightning started this process."""
    return "RANK" in os.environ or is_one_of_several()
