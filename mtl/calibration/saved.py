"""The calibration of a run in its folder, `calibration.json`, which holds for one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl.calibration.task_calibration import TaskCalibration
from mtl.files import read_json
from mtl.messages import say
from mtl.tracking.checkpoint_file import checksum
from mtl.tracking.run_folder import RunFolder

FILE = "calibration.json"


def save_calibration(folder: RunFolder, checkpoint: Path, tasks: Mapping[str, TaskCalibration]) -> None:
    """Saves the calibration of tasks; that of other tasks stays if it is of the same checkpoint.

    Args:
        folder: Folder of the run.
        checkpoint: The checkpoint that was calibrated.
        tasks: The calibration of each task.
    """
    identity = {"checkpoint": checkpoint.name, "checksum": checksum(checkpoint)}
    before = read_json(folder.path / FILE)
    kept = before.get("tasks", {}) if before.get("checksum") == identity["checksum"] else {}
    found = {name: one.to_dict() for name, one in tasks.items()}
    folder.write_json(FILE, {**identity, "tasks": {**kept, **found}})


def calibration_of(checkpoint: Path) -> dict[str, Any]:
    """The saved calibration of each task that has one, as `TaskCalibration.to_dict` gives it.

    It is empty if the run was not calibrated. It is also empty, with a message, if another checkpoint was.

    Args:
        checkpoint: A checkpoint in the folder of a run.
    """
    found = read_json(checkpoint.parent.parent / FILE)
    if not found:
        return {}
    if found.get("checksum") != checksum(checkpoint):
        which = f"{FILE} is of {found.get('checkpoint')}, not of {checkpoint.name}"
        say(f"{which}: probabilities are not calibrated. Run mtl calibrate for this checkpoint.")
        return {}
    return dict(found["tasks"])


def temperatures(calibration: Mapping[str, Any]) -> dict[str, float]:
    """The temperature of each calibrated task: its logits are to be divided by it.

    Args:
        calibration: Result of `calibration_of`.
    """
    return {name: float(one["temperature"]) for name, one in calibration.items()}
