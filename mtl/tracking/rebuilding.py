"""Rebuilds the records of a run that are damaged or missing, from its other files.

Each function returns what it found; `RunFolder` reports and writes it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from mtl.tracking.checkpoint_file import read_note
from mtl.tracking.checkpoint_folder import BEST, LAST, CheckpointFolder
from mtl.tracking.points import read_lines

_FOLDER = re.compile(r"(\d{8}-\d{6})-s(\d+)(-\d+)?")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, even if its `run.json` is missing."""
    return (folder / "run.json").is_file() or (
        (folder / "mixture.yaml").is_file() and (folder / "config.yaml").is_file()
    )


def rebuilt_info(run: Path) -> dict[str, Any]:
    """The content of `run.json`: what the checkpoints recorded of the run, else the mixture and the folder's name.

    The status is FINISHED if the run got as far as its final scores, otherwise KILLED.

    Args:
        run: Folder of the run.
    """
    info: dict[str, Any] = {"mixture": run.parent.name}
    if name := _FOLDER.fullmatch(run.name):
        started = datetime.strptime(name[1], "%Y%m%d-%H%M%S").astimezone()
        info |= {"seed": int(name[2]), "started": started.isoformat(timespec="seconds")}
    with suppress(OSError, ValueError, yaml.YAMLError):
        mixture = yaml.safe_load((run / "mixture.yaml").read_text(encoding="utf-8"))
        info |= {"mixture": str(mixture["name"]), "seed": int(mixture["seed"])}
    checkpoints = CheckpointFolder(run)
    for path in [*checkpoints.files(LAST), *checkpoints.files(BEST)]:
        if recorded := read_note(path).get("run"):
            info |= recorded
            break
    is_finished = False
    with suppress(OSError, ValueError):
        is_finished = "train" in json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {**info, "status": "FINISHED" if is_finished else "KILLED"}


def rebuilt_metrics(run: Path) -> dict[str, Any]:
    """The content of `metrics.json`, as far as `metrics.jsonl` has it: the scores on dev and test.

    Scores on dev are those of the best evaluation, on test the latest ones: an evaluation logs its scores in several
    records, and leaves out those that an earlier one has logged.

    Args:
        run: Folder of the run.
    """
    best = -math.inf
    dev: Mapping[str, Any] = {}
    test: dict[str, dict[str, Any]] = {}
    for record in (line.metrics for line in read_lines(run / "metrics.jsonl")):
        score = record.get("val/selection")
        if score is not None and score > best:
            best, dev = score, record
        for task, scores in _by_task(record, "test").items():
            test.setdefault(task, {}).update(scores)
    found = {"dev": _by_task(dev, "val"), "test": test}
    return {split: scores for split, scores in found.items() if scores}


def _by_task(record: Mapping[str, Any], prefix: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in record.items():
        match name.split("/"):
            case [start, task, metric] if start == prefix:
                found.setdefault(task, {})[metric] = value
    return found
