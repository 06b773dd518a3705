"""Sees to it that one process at a time trains a run: two would overwrite each other's checkpoints and records."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from filelock import FileLock

from mtl.distributed import is_rank_zero
from mtl.messages import say
from mtl.problems import InputError, Problem
from mtl.processes import has_ended, is_this_process
from mtl.tracking.run_folder import BEAT, LEASE, RunFolder

LOOK_EVERY = 5.0
"""Seconds between two looks at a run whose process ran on another machine or in another container."""


def take(folder: RunFolder) -> None:
    """Makes this process the one that trains a run, and prepares the folder for it. Ranks other than 0 do nothing.

    Nothing tells whether a process on another machine or in another container has ended, unless this is the same
    Slurm job after it was requeued. So this waits for a sign of life, or until there has been none for long enough.

    Args:
        folder: Folder of the run.

    Raises:
        InputError: Another process trains the run.
    """
    if not is_rank_zero():
        return
    until: float | None = None
    before = _last_beat(folder)
    while (holder := _take_unless_held(folder)) is not None:
        if has_ended(holder) is False or _last_beat(folder) != before:
            raise _held(folder, holder)
        if until is None:
            silent = min(max(0.0, time.time() - before), LEASE)  # clocks of machines differ
            until = time.monotonic() + LEASE - silent + BEAT
            say(
                f"The run {folder.path} was trained by process {holder['pid']} on {holder['host']}. Waiting for a sign"
                f" of life, at most {round(until - time.monotonic())} seconds; without one the run is resumed."
            )
        if time.monotonic() > until:
            folder.end("KILLED", f"The process {holder['pid']} on {holder['host']} gave no sign of life.")
        else:
            time.sleep(LOOK_EVERY)
    folder.repair()


def _take_unless_held(folder: RunFolder) -> Mapping[str, Any] | None:
    """Records this process as the one that trains the run, or returns the identity of another that does."""
    with FileLock(folder.path / ".train.lock"):  # looking and taking must be one step
        folder.end_if_dead()
        info = folder.info
        holder = info.get("process") or {}
        # Earlier versions gave no sign of life, so that their processes cannot be waited for.
        if info.get("status") == "RUNNING" and holder.get("beats") and not is_this_process(holder):
            return dict(holder)
        folder.begin_training()
        return None


def _last_beat(folder: RunFolder) -> float:
    """Time of the last sign of life, in seconds since 1970."""
    return (folder.path / "run.json").stat().st_mtime


def _held(folder: RunFolder, holder: Mapping[str, Any]) -> InputError:
    message = f"is being trained by process {holder['pid']} on {holder['host']}."
    advice = "Wait until it has ended, stop it, or train another run."
    return InputError(Problem(str(folder.path), message, advice))
