"""The folder of a run: everything that a run writes to disk, with or without MLflow.

    runs/<mixture>/latest                              name of the folder of the newest run
    runs/<mixture>/20261121-093000-s1/
        mixture.yaml  config.yaml                      the resolved configuration
        checkpoints/  checkpoints.json                 `best`, `last`, `best:<task>` -> file and score
        metrics.json                                   {split: {task: {metric: value}}}, and `baseline` like a split
        metrics.jsonl                                  all logged numbers, one line per call
        leakage.json                                   what dev and test share with train, and what was left out
        run.json                                       mixture, seed, status, and the run in MLflow
        artifacts/                                     reports, the same files as in MLflow
        encoder/                                       configuration and tokenizer of the encoder, for predictions

Only rank 0 writes. Files are replaced atomically, so an interrupted run leaves either the old or the new file.
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

from mtl.distributed import is_one_of_several, is_rank_zero
from mtl.files import finite, folder_name, make_folder, not_writable, read_json, write_json, write_text
from mtl.problems import InputError, Problem, did_you_mean

FOLDER_VARIABLE = "MTL_RUN_FOLDER"
"""Variable with the folder of the run, for processes that rank 0 or an external launcher starts."""

_LOCK = threading.RLock()  # the tracking thread and the training thread both update run.json


class RunFolder:
    """The existing folder of a run; use `create`, `latest` or `open` to get one.

    Args:
        path: Path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def create(cls, root: Path, mixture_name: str, seed: int) -> RunFolder:
        """Creates the folder ``root/<mixture>/<time>-s<seed>``, which becomes the latest.

        Processes of other ranks get the folder that rank 0 created.

        Raises:
            InputError: The name is not a valid folder name, the folder is not writable, or an external launcher started
                the processes without setting the variable for the folder.
        """
        is_named = FOLDER_VARIABLE in os.environ and ("RANK" in os.environ or is_one_of_several())
        if not is_rank_zero() or is_named:
            return cls._from_variable(root, mixture_name, seed)
        family = Path(root).absolute() / folder_name(mixture_name)
        path = _make_new(family, f"{datetime.now():%Y%m%d-%H%M%S}-s{seed}")
        os.environ[FOLDER_VARIABLE] = str(path)
        return cls(path)._begin(mixture_name, seed)

    @classmethod
    def latest(cls, root: Path, mixture_name: str) -> RunFolder:
        """Returns the newest run of a mixture.

        Raises:
            InputError: The mixture has no run under `root`.
        """
        family = Path(root).absolute() / folder_name(mixture_name)
        runs = sorted(file.parent for file in family.glob("*/run.json"))
        if not runs:
            raise InputError(
                Problem(
                    str(family),
                    "There is no run in this folder.",
                    "Train the mixture first, or give the path of a checkpoint.",
                )
            )
        pointer = family / "latest"
        named = family / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else runs[-1]
        return cls(named if named in runs else runs[-1])

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Returns the run at a path: the folder of a run, a file in it, or the folder of a mixture for its newest run.

        Raises:
            InputError: The path does not exist, or it does not belong to a run.
        """
        start = Path(path).absolute()
        if not start.exists():
            raise InputError(
                Problem(str(path), "The path does not exist.", "Give the folder of a run or a checkpoint in it.")
            )
        for folder in (start, *start.parents):
            if (folder / "run.json").is_file():
                return cls(folder)
        if (start / "latest").is_file():
            return cls.latest(start.parent, start.name)
        raise InputError(
            Problem(
                str(path),
                "This is not the folder of a run, nor in one: no run.json was found.",
                "Give the folder of a run.",
            )
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
        """Returns the file of a checkpoint.

        Args:
            name: `best`, `last`, `best:<task>`, or a path, relative to the working folder or the folder of the run.

        Raises:
            InputError: There is no such checkpoint; the message lists those that exist.
        """
        pointers = self._read("checkpoints.json")
        status = self.info.get("status", "FINISHED")
        if str(name) == "best" and status != "FINISHED" and is_rank_zero():
            sys.stderr.write(f"mtl: The run {self.path} is {status}; using its best checkpoint so far.\n")
        if str(name) in pointers:
            path = self.path / str(pointers[str(name)]["path"])
            if path.is_file():
                return path
            raise InputError(
                Problem(str(path), f"The checkpoint '{name}' of this run was deleted.", _available(pointers))
            )
        for path in (Path(name).absolute(), self.path / name):
            if path.is_file():
                return path
        raise InputError(
            Problem(f"{self.path}: ckpt_path", f"There is no checkpoint '{name}'.", _available(pointers, name))
        )

    # --- what is written ------------------------------------------------------------------------------------------

    def point(self, name: str, path: Path, score: float | None) -> None:
        """Sets the checkpoint of a name (`best`, `last`, `best:<task>`), with the score that selected it."""
        path = Path(path).absolute()
        inside = (
            path.relative_to(self.path) if path.is_relative_to(self.path) else path
        )  # relative, so that a moved run still resolves
        with _LOCK:
            pointers = self._read("checkpoints.json")
            self.write_json("checkpoints.json", {**pointers, name: {"path": inside.as_posix(), "score": score}})

    def write_metrics(self, split: str, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Merges the scores of tasks on a split into `metrics.json`.

        Args:
            split: train, dev or test; `baseline` for the strongest trivial predictor.
            scores: ``{task: {metric: value}}``. New values replace old ones; other metrics are kept.
        """
        with _LOCK:
            metrics = self.metrics
            tasks = metrics.setdefault(split, {})
            for task, values in scores.items():
                tasks[task] = {**tasks.get(task, {}), **values}
            self.write_json("metrics.json", metrics)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`; empty before the first evaluation."""
        return self._read("metrics.json")

    @property
    def info(self) -> dict[str, Any]:
        """The content of `run.json`: mixture, seed, started, status, and, under `mlflow`, the run in MLflow."""
        return self._read("run.json")

    def update_info(self, **values: Any) -> None:
        """Sets some keys of `run.json`."""
        with _LOCK:
            self.write_json("run.json", {**self.info, **values})

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replaces a JSON file of the folder; numbers that JSON cannot represent become null."""
        if is_rank_zero():
            write_json(self.path / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Replaces a text file of the folder; the name may contain subfolders.

        Raises:
            InputError: The file is not writable.
        """
        if is_rank_zero():
            write_text(self.path / name, text)

    def append_line(self, name: str, record: Mapping[str, Any]) -> None:
        """Appends one line of JSON to a file; NaN and infinity become null."""
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
    def _from_variable(cls, root: Path, mixture_name: str, seed: int) -> RunFolder:
        path = os.environ.get(FOLDER_VARIABLE)
        if path is None:
            example = Path(root) / mixture_name / "my-run"
            raise InputError(
                Problem(
                    FOLDER_VARIABLE,
                    "An external launcher started this process, but the variable for the folder of the run is not set.",
                    f"Set it for all processes, for example {FOLDER_VARIABLE}={example}.",
                )
            )
        folder = cls(Path(path).absolute())
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
    """Creates a new folder; further runs that start in the same second are numbered from 2."""
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


def _available(pointers: Mapping[str, Any], name: str | Path = "") -> str:
    if not pointers:
        return "This run has no checkpoints yet."
    return did_you_mean(str(name), pointers)
