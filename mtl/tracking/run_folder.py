"""The folder of a run: everything a run leaves on disk, with or without MLflow.

    runs/<mixture>/latest                              the newest run's folder, by name
    runs/<mixture>/20261121-093000-s1/
        mixture.yaml  config.yaml                      what was trained, resolved
        checkpoints/  checkpoints.json                 `best`, `last`, `best:<task>` -> file and score
        metrics.json                                   {split: {task: {metric: value}}}, and `baseline` like a split
        metrics.jsonl                                  every logged number, a line per call
        run.json                                       mixture, seed, status, where MLflow has it
        artifacts/                                     reports, as MLflow holds them
        encoder/                                       its configuration and tokenizer, for predictions

Only rank 0 writes. Files are replaced whole, so a run that is stopped leaves the old file or the new one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from mtl.distributed import is_rank_zero
from mtl.files import finite, folder_name, make_folder, not_writable, read_json, write_json, write_text
from mtl.problems import InputError, Problem, did_you_mean

FOLDER_VARIABLE = "MTL_RUN_FOLDER"
"""Tells the processes that rank 0 starts, or all those an outside launcher starts, the run's folder."""

_LOCK = threading.RLock()  # the tracker's thread and the training update run.json


class RunFolder:
    """A run's folder that exists; `create`, `latest` and `open` make one.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def create(cls, root: Path, mixture_name: str, seed: int) -> RunFolder:
        """A new folder ``root/<mixture>/<time>-s<seed>``, which becomes the latest.

        A process of another rank gets the folder that rank 0 made.

        Raises:
            InputError: The name is no folder name, the folder can't be written, or an outside launcher started the
                processes without telling them the folder.
        """
        if not is_rank_zero() or ("RANK" in os.environ and FOLDER_VARIABLE in os.environ):
            return cls._told_by_parent(root, mixture_name, seed)
        family = Path(root).absolute() / folder_name(mixture_name)
        path = _make_new(family, f"{datetime.now():%Y%m%d-%H%M%S}-s{seed}")
        os.environ[FOLDER_VARIABLE] = str(path)
        return cls(path)._begin(mixture_name, seed)

    @classmethod
    def latest(cls, root: Path, mixture_name: str) -> RunFolder:
        """The mixture's newest run.

        Raises:
            InputError: The mixture has no run under `root`.
        """
        family = Path(root).absolute() / folder_name(mixture_name)
        runs = sorted(file.parent for file in family.glob("*/run.json"))
        if not runs:
            raise InputError(Problem(str(family), "It holds no run.", "Train the mixture first, or name a checkpoint."))
        pointer = family / "latest"
        named = family / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else runs[-1]
        return cls(named if named in runs else runs[-1])

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """The run that a folder is, or that a checkpoint lies in; the newest of a mixture's folder.

        Raises:
            InputError: There is nothing there, or it belongs to no run.
        """
        start = Path(path).absolute()
        if not start.exists():
            raise InputError(Problem(str(path), "It does not exist.", "Give a run's folder or a checkpoint in one."))
        for folder in (start, *start.parents):
            if (folder / "run.json").is_file():
                return cls(folder)
        if (start / "latest").is_file():
            return cls.latest(start.parent, start.name)
        raise InputError(
            Problem(str(path), "It is no run's folder and lies in none: there is no run.json.", "Give a run's folder.")
        )

    # --- where things are -----------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def encoder(self) -> Path:
        return self.path / "encoder"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    def resolve_checkpoint(self, name: str | Path) -> Path:
        """The file behind `best`, `last`, `best:<task>`, or a path (from here or from the run's folder).

        Raises:
            InputError: No such checkpoint; the message lists those that exist.
        """
        pointers = self._read("checkpoints.json")
        status = self.info.get("status", "FINISHED")
        if str(name) == "best" and status != "FINISHED" and is_rank_zero():
            sys.stderr.write(f"mtl: The run {self.path} is {status}: this is its best checkpoint so far.\n")
        if str(name) in pointers:
            path = self.path / str(pointers[str(name)]["path"])
            if path.is_file():
                return path
            raise InputError(Problem(str(path), f"The checkpoint '{name}' of this run was removed.", _those(pointers)))
        for path in (Path(name).absolute(), self.path / name):
            if path.is_file():
                return path
        raise InputError(
            Problem(f"{self.path}: ckpt_path", f"There is no checkpoint '{name}'.", _those(pointers, name))
        )

    # --- what is written ------------------------------------------------------------------------------------------

    def point(self, name: str, path: Path, score: float | None) -> None:
        """Lets a name (`best`, `last`, `best:<task>`) stand for a checkpoint, with the score that chose it."""
        path = Path(path).absolute()
        inside = path.relative_to(self.path) if path.is_relative_to(self.path) else path  # a moved run still resolves
        with _LOCK:
            pointers = self._read("checkpoints.json")
            self.write_json("checkpoints.json", {**pointers, name: {"path": inside.as_posix(), "score": score}})

    def write_metrics(self, split: str, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Merges the scores of tasks on a split into `metrics.json`.

        Args:
            split: train, dev or test; `baseline` for the trivial predictor to beat.
            scores: ``{task: {metric: value}}``. A metric given again replaces the old value, the others stay.
        """
        with _LOCK:
            metrics = self.metrics
            tasks = metrics.setdefault(split, {})
            for task, values in scores.items():
                tasks[task] = {**tasks.get(task, {}), **values}
            self.write_json("metrics.json", metrics)

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds; empty before the first evaluation."""
        return self._read("metrics.json")

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` holds: mixture, seed, started, status, and under `mlflow` where MLflow has the run."""
        return self._read("run.json")

    def update_info(self, **values: Any) -> None:
        """Sets some keys of `run.json`."""
        with _LOCK:
            self.write_json("run.json", {**self.info, **values})

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replaces a JSON file of the folder; numbers JSON can't hold become null."""
        if is_rank_zero():
            write_json(self.path / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Replaces a text file of the folder, whose name may hold subfolders.

        Raises:
            InputError: It can't be written.
        """
        if is_rank_zero():
            write_text(self.path / name, text)

    def append_line(self, name: str, record: Mapping[str, Any]) -> None:
        """Adds one line of JSON to a file; not-a-number and infinity become null."""
        if not is_rank_zero():
            return
        line = json.dumps(finite(record), allow_nan=False) + "\n"
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise not_writable(self.path / name, error) from error

    # --- details --------------------------------------------------------------------------------------------------

    @classmethod
    def _told_by_parent(cls, root: Path, mixture_name: str, seed: int) -> RunFolder:
        told = os.environ.get(FOLDER_VARIABLE)
        if told is None:
            example = Path(root) / mixture_name / "my-run"
            raise InputError(
                Problem(
                    FOLDER_VARIABLE,
                    "An outside launcher started this process, and it must be told the run's folder; it is not set.",
                    f"Set it for all processes, e.g. {FOLDER_VARIABLE}={example}.",
                )
            )
        folder = cls(Path(told).absolute())
        if is_rank_zero() and not (folder.path / "run.json").exists():
            make_folder(folder.path)
            folder._begin(mixture_name, seed)
        return folder

    def _begin(self, mixture_name: str, seed: int) -> RunFolder:
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        self.write_json("run.json", {"mixture": mixture_name, "seed": seed, "started": started, "status": "RUNNING"})
        write_text(self.path.parent / "latest", self.path.name + "\n")
        return self

    def _read(self, name: str) -> dict[str, Any]:
        return read_json(self.path / name)


def _make_new(family: Path, stem: str) -> Path:
    """A folder that did not exist; runs that start in the same second are numbered from 2."""
    make_folder(family)
    for number in count(1):
        path = family / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise not_writable(path, error) from error
        return path
    raise AssertionError("count never ends")


def _those(pointers: Mapping[str, Any], name: str | Path = "") -> str:
    if not pointers:
        return "This run has no checkpoints yet."
    return did_you_mean(str(name), pointers)
