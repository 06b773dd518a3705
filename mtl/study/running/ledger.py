"""Finished runs on disk, by key, and who is at work on which.

    ledger/3f/3f0a…/
        result.json       scores, curve, costs; there only when the run is finished
        counts.npz        per target: documents, counts, owners
        encoder.pt        where a later run starts from this one's encoder
        failure.json      the last error, until the run is finished
        repeats.json      where it was trained once more for its encoder, which had been dropped
        claim             who is at work; its time of change is a sign of life

A result is found by its key alone, so studies share it. A claim is a file that exactly one process can make. It is
left behind when a process is killed; then it is taken over: at once where the process ran on this machine, and else
when it has shown no sign of life for a while.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from filelock import FileLock

from mtl.files import write_json
from mtl.study.design.run_spec import Finished

BEAT = 5.0
"""Seconds between two signs of life."""

LEASE = 60.0
"""Seconds without one after which a claim may be taken over."""

Counts = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""By target: `documents`, `counts`, and for each row of `counts` its document's place, `owners`."""


class Ledger:
    """A folder of runs.

    Args:
        folder: Made where it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run_folder(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def result(self, key: str) -> dict[str, Any] | None:
        """What the run gave; None where it isn't finished."""
        return _read(self.run_folder(key) / "result.json")

    def results(self, keys: Iterable[str]) -> dict[str, Finished]:
        """The finished runs among these, by key."""
        found = {key: self.result(key) for key in keys}
        return {key: Finished(result, self.counts(key)) for key, result in found.items() if result is not None}

    def failure(self, key: str) -> dict[str, Any] | None:
        """Why the run failed last; None where it didn't, or was finished since."""
        return _read(self.run_folder(key) / "failure.json")

    def encoder(self, key: str) -> Path:
        """Where the run's encoder is, or will be."""
        return self.run_folder(key) / "encoder.pt"

    def is_finished(self, key: str, *, with_encoder: bool = False) -> bool:
        """Whether there is a result, and the encoder where that is needed."""
        has_result = (self.run_folder(key) / "result.json").is_file()
        return has_result and (not with_encoder or self.encoder(key).is_file())

    def claim(self, key: str, session: str = "") -> Lease | None:
        """The right to train a run, until it is released or its process ends; None where another has it.

        Args:
            key: Of the run.
            session: Of the command; the claim counts the workers of this session that the run took down with it.
        """
        folder = self.run_folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "claim"
        process = psutil.Process()
        holder = {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
        holder |= {"session": session, "deaths": 0}
        with FileLock(folder / "claim.lock"):  # looking and taking are one
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
        """Records a result; it is there whole or not at all."""
        folder = self.run_folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"{target}/{name}": array for target, found in counts.items() for name, array in found.items()}
        part = folder / f".counts.{os.getpid()}.npz"
        np.savez_compressed(part, **arrays)  # type: ignore[arg-type]  # its stub takes the names for options
        part.replace(folder / "counts.npz")
        write_json(folder / "result.json", result)
        (folder / "failure.json").unlink(missing_ok=True)

    def take_over(self, old: str, key: str, labels: Mapping[str, Any]) -> None:
        """Records the result of a finished run under another key, at the time when it was trained.

        Args:
            old: The key of the finished run.
            key: The other key.
            labels: What the result says otherwise under the other key.
        """
        result = self.result(old)
        assert result is not None
        self.finish(key, {**result, **labels}, self.counts(old))
        trained = (self.run_folder(old) / "result.json").stat()
        os.utime(self.run_folder(key) / "result.json", ns=(trained.st_atime_ns, trained.st_mtime_ns))

    def repeats(self, key: str) -> list[dict[str, Any]]:
        """What `note_repeat` was told of the run."""
        found: list[dict[str, Any]] = (_read(self.run_folder(key) / "repeats.json") or {}).get("repeats", [])
        return found

    def note_repeat(self, key: str, repeat: Mapping[str, Any]) -> None:
        """Notes that a finished run was trained once more; its result stays, as MLflow and other studies have it."""
        write_json(self.run_folder(key) / "repeats.json", {"repeats": [*self.repeats(key), dict(repeat)]})
        (self.run_folder(key) / "failure.json").unlink(missing_ok=True)

    def fail(self, key: str, failure: Mapping[str, Any], session: str = "") -> None:
        """Records why a run failed, beside the sessions in which it did."""
        before = self.failure(key) or {}
        sessions = dict.fromkeys([*before.get("sessions", ()), session])
        write_json(self.run_folder(key) / "failure.json", {**failure, "sessions": list(sessions)})

    def counts(self, key: str) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """The counts of a finished run."""
        return read_counts(self.run_folder(key) / "counts.npz")


class Lease:
    """A claim that this process holds; used in a `with` statement, which releases it."""

    def __init__(self, path: Path, holder: Mapping[str, Any]) -> None:
        self._path, self._holder = path, dict(holder)
        self.deaths: int = holder["deaths"]
        """How many processes of this session died over the run, one after the other."""
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
        if _read(self._path) == self._holder:  # a process that slept for long may have lost it
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            with suppress(OSError):
                os.utime(self._path)


def read_counts(path: Path) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """The content of `counts.npz`, by target."""
    found: dict[str, dict[str, npt.NDArray[Any]]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            target, _, kind = name.rpartition("/")
            found.setdefault(target, {})[kind] = arrays[name]
    return found


def _is_stale(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        holder = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:  # written this very moment, or cut off
        return age > LEASE
    if holder["host"] != socket.gethostname():
        return age > LEASE
    try:
        process = psutil.Process(holder["pid"])
        is_another = abs(process.create_time() - holder["started"]) > 1
        # A process that was killed keeps its number until whoever started it asks how it ended.
        return is_another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def _read_or_none(path: Path) -> dict[str, Any] | None:
    """None for a file that was cut off, too."""
    try:
        return _read(path)
    except ValueError:
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content
