"""Finished runs on disk, by key, and claims on runs that are being trained.

    ledger/3f/3f0a…/
        result.json       scores, curve, costs; exists only if the run is finished
        counts.npz        for each target: documents, counts, owners
        encoder.pt        the encoder, if another run starts from it
        failure.json      the last error, until the run finishes
        repeats.json      further trainings of the run because its encoder had been deleted
        claim             the process that trains the run; its modification time is the heartbeat

A result is found by its key alone, so studies share results. A claim is a file that only one process can create. A
killed process leaves its claim behind. Another process may then take it: at once if the killed process ran on this
machine, otherwise after a while without a heartbeat.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from mtl.files import make_folder, replacing, write_json
from mtl.hashed_ids import shared_id
from mtl.problems import InputError, Problem
from mtl.processes import is_gone, this_process
from mtl.study.design.run_spec import Finished
from mtl.tracking.checkpoint_file import damage

BEAT = 5.0
"""Seconds between two heartbeats."""

LEASE = 60.0
"""Seconds without a heartbeat after which another process may take a claim."""

Counts = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""By target: `documents`, `counts`, and `owners`, the index of the document of each row of `counts`."""


class Ledger:
    """A folder of runs.

    Args:
        folder: The folder; it is created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run_folder(self, key: str) -> Path:
        """Returns the folder of a run."""
        return self.folder / key[:2] / key

    def result(self, key: str) -> dict[str, Any] | None:
        """Returns the result of a run; None if it is not finished.

        Raises:
            InputError: Its file is damaged.
        """
        return _read(self.run_folder(key) / "result.json")

    def results(self, keys: Iterable[str]) -> dict[str, Finished]:
        """Returns the finished runs among these keys, by key."""
        found = {key: self.result(key) for key in keys}
        return {key: Finished(result, self.counts(key)) for key, result in found.items() if result is not None}

    def failure(self, key: str) -> dict[str, Any] | None:
        """Returns the last failure of a run; None if it did not fail or has finished since."""
        return _read_or_none(self.run_folder(key) / "failure.json")

    def encoder(self, key: str) -> Path:
        """Returns the path of the encoder of a run, which may not exist."""
        return self.run_folder(key) / "encoder.pt"

    def set_damaged_aside(self, keys: Iterable[str]) -> list[str]:
        """Renames the results of runs whose files are damaged, and deletes such encoders, so that they are made again.

        Args:
            keys: Keys of the runs.

        Returns:
            For each damaged file, a sentence with its path and what is wrong with it.
        """
        found: list[str] = []
        for key in keys:
            encoder = self.encoder(key)
            if encoder.is_file() and (problem := damage(encoder)) is not None:
                encoder.unlink()
                found.append(f"{encoder} {problem}")
            try:
                if self.result(key) is not None:
                    self.counts(key)
            except InputError as error:
                result = self.run_folder(key) / "result.json"
                result.rename(result.with_name("result.damaged.json"))
                found += [f"{problem.key} {problem.message}".rstrip(".") for problem in error.problems]
        return found

    def is_finished(self, key: str, *, with_encoder: bool = False) -> bool:
        """Returns whether there is a result, and, if required, the encoder."""
        has_result = (self.run_folder(key) / "result.json").is_file()
        return has_result and (not with_encoder or self.encoder(key).is_file())

    def claim(self, key: str, session: str = "") -> Lease | None:
        """Claims the right to train a run, until it is released or the process ends; None if another process has it.

        Args:
            key: Key of the run.
            session: Id of the command; the claim counts the workers of this session that died while training the run.
        """
        folder = self.run_folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "claim"
        holder = {**this_process(), "session": session, "deaths": 0}
        with FileLock(folder / "claim.lock"):  # checking and taking must be atomic
            if path.exists():
                if not _is_stale(path):
                    return None
                last = _read_or_none(path) or {}
                if last.get("session") == session:
                    holder["deaths"] = last.get("deaths", 0) + 1
                path.unlink()
            path.write_text(json.dumps(holder), encoding="utf-8")
        return Lease(path, holder)

    def finish(self, key: str, result: Mapping[str, Any], counts: Counts) -> None:
        """Stores a result, atomically.

        Raises:
            InputError: A file cannot be written.
        """
        folder = self.run_folder(key)
        make_folder(folder)
        arrays = {f"{target}/{name}": array for target, found in counts.items() for name, array in found.items()}
        with replacing(folder / "counts.npz") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub treats the names as options
        write_json(folder / "result.json", result)
        (folder / "failure.json").unlink(missing_ok=True)

    def take_over(self, old: str, key: str, labels: Mapping[str, Any]) -> None:
        """Stores the result of a finished run under another key, with the time at which it was trained.

        Args:
            old: Key of the finished run.
            key: The new key.
            labels: Fields of the result to replace under the new key.
        """
        result = self.result(old)
        assert result is not None
        self.finish(key, {**result, **labels}, self.counts(old))
        trained = (self.run_folder(old) / "result.json").stat()
        os.utime(self.run_folder(key) / "result.json", ns=(trained.st_atime_ns, trained.st_mtime_ns))

    def repeats(self, key: str) -> list[dict[str, Any]]:
        """Returns the records of `note_repeat` for a run."""
        found: list[dict[str, Any]] = (_read_or_none(self.run_folder(key) / "repeats.json") or {}).get("repeats", [])
        return found

    def note_repeat(self, key: str, repeat: Mapping[str, Any]) -> None:
        """Records that a finished run was trained again; its first result stays, because MLflow has it."""
        write_json(self.run_folder(key) / "repeats.json", {"repeats": [*self.repeats(key), dict(repeat)]})
        (self.run_folder(key) / "failure.json").unlink(missing_ok=True)

    def fail(self, key: str, failure: Mapping[str, Any], session: str = "") -> None:
        """Stores why a run failed, and in which sessions."""
        before = self.failure(key) or {}
        sessions = dict.fromkeys([*before.get("sessions", ()), session])
        write_json(self.run_folder(key) / "failure.json", {**failure, "sessions": list(sessions)})

    def counts(self, key: str) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Returns the counts of a finished run."""
        return read_counts(self.run_folder(key) / "counts.npz")


class Lease:
    """A claim that this process holds; used in a `with` statement, which releases it."""

    def __init__(self, path: Path, holder: Mapping[str, Any]) -> None:
        self._path, self._holder = path, dict(holder)
        self.deaths: int = holder["deaths"]
        """Number of successive processes of this session that died while training the run."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="mtl-claim")

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if _read_or_none(self._path) == self._holder:  # a process that was suspended for long may have lost it
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            with suppress(OSError):
                os.utime(self._path)


def read_counts(path: Path) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Returns the content of `counts.npz`, by target.

    Raises:
        InputError: The file is missing or damaged; the archive has a checksum of each array.
    """
    found: dict[str, dict[str, npt.NDArray[Any]]] = {}
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            for name in arrays.files:
                target, _, kind = name.rpartition("/")
                found.setdefault(target, {})[kind] = arrays[name]
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path) from error
    return found


def _damaged(path: Path) -> InputError:
    return InputError(Problem(str(path), "is damaged or missing.", "`mtl study run` trains the run again."))


def shared_counts(path: Path, folder: Path) -> Path:
    """Returns a `counts.npz` that may leave this machine: a copy if the ids of documents must not be shown.

    Args:
        path: The file.
        folder: Folder for the copy.
    """
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    shared = {name: shared_documents(array) if name.endswith("/documents") else array for name, array in arrays.items()}
    if all(shared[name] is array or np.array_equal(shared[name], array) for name, array in arrays.items()):
        return path
    np.savez_compressed(folder / path.name, **shared)  # type: ignore[arg-type]  # the stub treats the names as options
    return folder / path.name


def shared_documents(documents: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns the ids of documents, in the same order, as they may leave this machine."""
    return np.array([shared_id(document) for document in documents.tolist()], dtype=np.str_)


def _is_stale(path: Path) -> bool:
    try:
        last_beat = path.stat().st_mtime
        holder = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:  # incomplete: being written, or truncated
        return time.time() - last_beat > LEASE
    return is_gone(holder, last_beat, LEASE)


def _read_or_none(path: Path) -> dict[str, Any] | None:
    """Like `_read`, but also None for a truncated file."""
    try:
        return _read(path)
    except InputError:
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None if there is none.

    Raises:
        InputError: The file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content
