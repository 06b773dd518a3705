"""The folder of a run: everything that a run writes to disk, with or without MLflow.

    runs/<mixture>/latest                              name of the folder of the newest run
    runs/<mixture>/20261121-093000-s1/
        mixture.yaml  config.yaml                      the resolved configuration
        checkpoints/  checkpoints.json                 `best`, `last`, `best:<task>` -> file and score
        metrics.json                                   {split: {task: {metric: value}}}, `baseline`, `interval`,
                                                       `groups`, `calibration`; train has the loss, and whether the
                                                       task is `undertrained`; `before` has dev before the training, of
                                                       tasks with rate 0
        calibration.json                               temperatures of one checkpoint, from `mtl calibrate`
        metrics.jsonl                                  all logged numbers, one line per call
        leakage.json                                   what dev and test share with train, and what was left out
        run.json                                       mixture, seed, status, process, and the run in MLflow
        artifacts/                                     reports, the same files as in MLflow
        encoder/                                       configuration and tokenizer of the encoder, for predictions

Only rank 0 writes. Files are replaced atomically, so an interrupted run leaves either the old or the new file. If the
disk damages one nevertheless, or if it is missing, it is rebuilt from the others, and a message says so.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mtl.distributed import is_rank_zero
from mtl.files import (
    finite,
    folder_name,
    make_folder,
    make_new_folder,
    not_writable,
    read_json,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)
from mtl.messages import say
from mtl.problems import InputError, Problem
from mtl.processes import is_gone, this_process
from mtl.tracking.checkpoint_folder import CheckpointFolder
from mtl.tracking.mlflow_client import end_run
from mtl.tracking.rebuilding import is_run, rebuilt_info, rebuilt_metrics

FOLDER_VARIABLE = "MTL_RUN_FOLDER"
"""Variable with the folder of the run, for processes that rank 0 or an external launcher starts."""

BEAT, LEASE = 30.0, 900.0
"""Seconds between two signs of life of a training, and seconds without one after which a process on another machine
counts as dead. Clocks of machines that share a folder may differ by minutes."""

PRIVATE = "biomtl_private"
"""Field of an encoder's configuration: whether it was trained on private data, by this run or one before it."""

_LOCK = threading.RLock()  # the tracking thread and the training thread write to the same files


_exported: set[str] = set()
"""Folders that this process has named for its children."""


def export_folder(path: Path) -> None:
    """Names the folder of a run for processes that this one starts."""
    os.environ[FOLDER_VARIABLE] = str(path)
    _exported.add(str(path))


def named_folder() -> Path | None:
    """The folder that the script of a job names for its processes, of which there may be one; None if it names none."""
    value = os.environ.get(FOLDER_VARIABLE)
    is_launched = "RANK" in os.environ or "SLURM_PROCID" in os.environ
    return Path(value).absolute() if value and is_launched and value not in _exported else None


class RunFolder:
    """The existing folder of a run; use `create`, `latest` or `open` to get one.

    Args:
        path: Path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved = CheckpointFolder(path)

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
        if not is_rank_zero() or named_folder() is not None:
            return cls._from_variable(root, mixture_name, seed)
        cls.end_dead(root)
        family = Path(root).absolute() / folder_name(mixture_name)
        now = datetime.now().astimezone()
        path = make_new_folder(family, f"{now:%Y%m%d-%H%M%S}-s{seed}")
        export_folder(path)
        return cls(path)._begin(mixture_name, seed, now)

    @classmethod
    def latest(cls, root: Path, mixture_name: str) -> RunFolder:
        """Returns the newest run of a mixture.

        Raises:
            InputError: The mixture has no run under `root`.
        """
        family = Path(root).absolute() / folder_name(mixture_name)
        runs = cls.all(root, mixture_name)
        if not runs:
            raise InputError(
                Problem(
                    str(family),
                    "There is no run in this folder.",
                    "Train the mixture first, or give the path of a checkpoint.",
                )
            )
        pointer = family / "latest"
        named = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else ""
        return next((run for run in runs if run.path.name == named), runs[-1])

    @classmethod
    def all(cls, root: Path, mixture_name: str) -> list[RunFolder]:
        """Returns the runs of a mixture, the oldest first."""
        family = Path(root).absolute() / folder_name(mixture_name)
        return [cls(path) for path in sorted(family.glob("*")) if is_run(path)]

    @classmethod
    def end_dead(cls, root: Path) -> None:
        """Ends the runs of all mixtures whose process has ended without recording how (see `end_if_dead`)."""
        silent: set[str] = set()
        for file in Path(root).absolute().glob("*/*/run.json"):
            with suppress(InputError):  # a damaged file of another run
                cls(file.parent).end_if_dead(silent)

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Returns the run at a path: the folder of a run, or a file in it.

        The folder of a mixture and the file `latest` in it stand for the newest run of the mixture.

        Raises:
            InputError: The path does not exist, or it does not belong to a run.
        """
        start = Path(path).absolute()
        if not start.exists():
            raise InputError(
                Problem(str(path), "The path does not exist.", "Give the folder of a run or a checkpoint in it.")
            )
        for folder in (start, *start.parents):
            if is_run(folder):
                return cls(folder)
        family = start.parent if start.name == "latest" else start
        if (family / "latest").is_file():
            return cls.latest(family.parent, family.name)
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
        return self.saved.path

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
            InputError: There is no such checkpoint, or it is damaged; the message lists those that exist. A damaged
                `last` is named in a message, and the previous one is used.
        """
        self.end_if_dead()
        status = self.info.get("status", "FINISHED")
        if str(name) == "best" and status != "FINISHED":
            say(f"The run {self.path} is {status}; using its best checkpoint so far.")
        return self.saved.resolve(name)

    # --- what is written ------------------------------------------------------------------------------------------

    def write_metrics(self, split: str, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Merges the scores of tasks on a split into `metrics.json`.

        Args:
            split: train, dev or test; `baseline` for the strongest trivial predictor; `interval` for the intervals of
                the scores; `groups` for the scores of groups of rows; `calibration` for those of probabilities;
                `before` for dev before the training.
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
        file = self.path / "metrics.json"
        is_lost = not file.is_file() and (self.path / "checkpoints.json").is_file() and "best" in self.saved.pointers()
        return self._read(file.name, rebuilt_metrics, is_lost=is_lost)

    @property
    def info(self) -> dict[str, Any]:
        """The content of `run.json`: mixture, seed, started, status, and, under `mlflow`, the run in MLflow."""
        return self._read("run.json", rebuilt_info, is_lost=not (self.path / "run.json").is_file())

    def update_info(self, **values: Any) -> None:
        """Sets some keys of `run.json`, also if the disk is full, so that the status is true."""
        with _LOCK:
            content = {**self.info, **values}
            if is_rank_zero():
                write_json(self.path / "run.json", content, in_place_if_full=True)

    def begin_training(self) -> None:
        """Records that this process trains the run, so that others can see whether it is still alive."""
        self.update_info(status="RUNNING", reason=None, process={**this_process(), "beats": True})

    def beat(self) -> None:
        """Shows processes on other machines that the training is alive: the time of `run.json` is its heartbeat."""
        with suppress(OSError):
            os.utime(self.path / "run.json")

    def end(self, status: str, reason: str, *, process: Mapping[str, Any] | None = None) -> bool:
        """Sets the status of a run that is RUNNING, also from another process than the one that trains it.

        Args:
            status: FAILED or KILLED.
            reason: Why the run ended.
            process: The process whose end this is; if another one trains the run by now, nothing is set.

        Returns:
            Whether the status was set.
        """
        with _LOCK:
            info = self.info
            if info.get("status") != "RUNNING" or process not in (None, info.get("process")):
                return False
            content = {**info, "status": status, "reason": reason, **_unsent(info, status)}
            write_json(self.path / "run.json", content, in_place_if_full=True)
            return True

    def finish(self, status: str, ended: str) -> None:
        """Sets the status at the end of the process that trains the run; `mlflow_has_status` says that MLflow has it.

        Args:
            status: FINISHED, FAILED or KILLED.
            ended: Time of the end.
        """
        with _LOCK:
            self.update_info(status=status, ended=ended, **_unsent(self.info, status))

    def note_tracking(self, **values: str) -> None:
        """Sets some keys of what `run.json` has under `mlflow`: the place of the run, and whether it is complete."""
        with _LOCK:
            self.update_info(mlflow={**self.info.get("mlflow", {}), **values})

    def mlflow_has_status(self) -> None:
        """Records that MLflow has the status of the run; otherwise a later process sends it again."""
        with _LOCK:
            tracked = self.info.get("mlflow", {})
            if "unsent_status" in tracked:
                self.update_info(mlflow={name: value for name, value in tracked.items() if name != "unsent_status"})

    def end_if_dead(self, silent: set[str] | None = None) -> bool:
        """Sets the status of a run that is RUNNING to KILLED, here and in MLflow, if its process is gone.

        Nothing can record the end of a process that gets SIGKILL, as for lack of memory. A process on another machine
        or in another container counts as dead after a time without a sign of life.

        Args:
            silent: Addresses of MLflow that do not answer, and are not asked again; one that is found is added.

        Returns:
            Whether the status was set.
        """
        info = self.info
        identity = info.get("process")
        if info.get("mlflow", {}).get("unsent_status", "") == info.get("status"):
            self.end_in_mlflow(silent)
        if info.get("status") != "RUNNING" or identity is None or not self._is_gone(identity):
            return False
        message = f"The process {identity['pid']} ended without recording its status."
        was_running = self.end("KILLED", message, process=identity)
        if was_running:
            say(f"The run {self.path} is KILLED, not RUNNING: its process is gone.")
            self.end_in_mlflow(silent)
        return was_running

    def end_in_mlflow(self, silent: set[str] | None = None) -> None:
        """Gives MLflow the status of a run whose process cannot do it; if that fails, `end_if_dead` repeats it.

        Args:
            silent: See `end_if_dead`; each try takes up to a minute.
        """
        silent = set() if silent is None else silent
        info = self.info
        unsent = _unsent(info, info["status"])
        if unsent:
            self.update_info(**unsent)  # first, because this process may be killed while it waits for MLflow
            place = unsent["mlflow"]["tracking_uri"]
            if place in silent:
                return
            if end_run(unsent["mlflow"], info["status"]):
                self.mlflow_has_status()
            else:
                silent.add(place)

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

    def write_encoder(self, config: Any, tokenizer: Any, *, private: bool = False) -> None:
        """Replaces the files of the encoder's configuration and tokenizer one by one, so that none is ever torn.

        Args:
            config: Configuration, with `save_pretrained` of transformers.
            tokenizer: Tokenizer, likewise.
            private: Whether the run is trained on private data. The configuration says so, and so do those of exported
                encoders and of trainings that start from them, also if this run is no longer there.

        Raises:
            InputError: A file is not writable.
        """
        if not is_rank_zero():
            return
        if private:
            setattr(config, PRIVATE, True)
        with TemporaryDirectory() as place:
            for part in (config, tokenizer):
                part.save_pretrained(place)
            for file in sorted(path for path in Path(place).rglob("*") if path.is_file()):
                target = self.encoder / file.relative_to(place)
                make_folder(target.parent)
                with replacing(target) as copy:
                    copy.write(file.read_bytes())

    def append_line(self, name: str, record: Mapping[str, Any]) -> None:
        """Appends one line of JSON to a file; NaN and infinity become null.

        If a process was killed while it wrote the last line, the part of it is removed first, with a message.
        """
        if not is_rank_zero():
            return
        path = self.path / name
        line = json.dumps(finite(record), allow_nan=False).encode() + b"\n"
        try:
            with _LOCK, path.open("a+b", buffering=0) as file:
                size = _end_last_line(file, path)
                try:
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError:
                    with suppress(OSError):
                        file.truncate(size)
                    raise
        except OSError as error:
            raise not_writable(path, error) from error

    def repair(self) -> None:
        """Prepares a run that was killed for resuming: removes unfinished files and rebuilds damaged records.

        No other process may be writing in the folder.
        """
        if is_rank_zero():
            remove_leftovers(self.path)
            remove_leftovers(self.checkpoints)
            with _LOCK:
                info, _, _ = self.info, self.metrics, self.saved.pointers()
            numbers = self.path / "metrics.jsonl"
            if "mlflow" in info and not numbers.is_file():
                say(f"{numbers} is missing; the file now begins with the resumed training.")

    # --- details --------------------------------------------------------------------------------------------------

    def _is_gone(self, identity: Mapping[str, Any]) -> bool:
        beats = identity.get("beats", False)  # earlier versions gave no sign of life
        return is_gone(identity, (self.path / "run.json").stat().st_mtime, LEASE if beats else math.inf)

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
            folder._begin(mixture_name, seed, datetime.now().astimezone())
        return folder

    def _begin(self, mixture_name: str, seed: int, now: datetime) -> RunFolder:
        started = now.isoformat(timespec="seconds")
        info = {"mixture": mixture_name, "seed": seed, "started": started, "status": "RUNNING"}
        self.write_json("run.json", {**info, "process": this_process()})
        write_text(self.path.parent / "latest", self.path.name + "\n")
        return self

    def _read(
        self, name: str, rebuild: Callable[[Path], dict[str, Any]] | None = None, *, is_lost: bool = False
    ) -> dict[str, Any]:
        """The content of a JSON file, which is rebuilt if it is damaged or lost."""
        path, problem = self.path / name, "is missing"
        if not is_lost:
            try:
                return read_json(path)
            except InputError:
                if rebuild is None:
                    raise
                problem = "is damaged"
        if rebuild is None or not is_run(self.path):
            return {}
        with _LOCK:
            found = rebuild(self.path)
            say(f"{path} {problem}; it was rebuilt from the other files of the run: {', '.join(found) or 'empty'}.")
            self.write_json(name, found)
        return found


def is_private_folder(folder: str | Path | None) -> bool:
    """Whether a folder has the configuration of an encoder, or a tokenizer's, that was made from private data."""
    config = None if folder is None else Path(folder) / "config.json"
    return config is not None and config.is_file() and bool(read_json(config).get(PRIVATE))


def _unsent(info: Mapping[str, Any], status: str) -> dict[str, dict[str, Any]]:
    """What `run.json` has under `mlflow` while MLflow lacks a status; nothing for a run that MLflow does not have."""
    tracked = info.get("mlflow", {})
    is_tracked = "run_id" in tracked or "token" in tracked
    return {"mlflow": {**tracked, "unsent_status": status}} if is_tracked else {}


def _end_last_line(file: FileIO, path: Path) -> int:
    """Ends the last line of a file of JSON lines, or removes it if it is incomplete; returns the size of the file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read(1) in (b"", b"\n"):
        return size
    whole = path.read_bytes()
    start = whole.rfind(b"\n") + 1
    try:
        json.loads(whole[start:])
        file.write(b"\n")
        return size + 1
    except ValueError:
        say(f"{path}: The last line was incomplete and was removed.")
        file.truncate(start)
        return file.seek(start)
