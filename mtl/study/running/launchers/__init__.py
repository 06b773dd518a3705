"""Where the runs of a study are trained: one file per place.

A launcher starts workers (`mtl.study.running.worker`) and watches them. The ledger decides which worker trains which
run. A new launcher is a new file here with one subclass of `Launcher`; its file name is its
name in YAML.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


class Launcher(ABC):
    """Starts workers.

    Args:
        workers: Number of workers.
        threads: Number of threads of the numeric libraries of each worker.

    Options of a launcher are the keyword-only arguments that its own `__init__` adds.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    @abstractmethod
    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        """Trains all runs, or as many as possible, and returns when no worker is left.

        Args:
            work: The runs.
            folder: Folder of the study, where `work` is written for other processes.
            watch: Must be called about once a second while workers run in other processes.
            finished: Must be called after each run that is trained in this process.
        """

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        """What is missing to use this launcher (a package, a number of workers), each with what to do about it."""
        return []

    def environment(self) -> dict[str, str]:
        """Environment variables of a worker: those of this process, with the number of threads."""
        return {**os.environ, "OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}

    def command(self, file: Path, number: int) -> list[str]:
        """The command that starts a worker on the file that `Work.write` wrote."""
        return [sys.executable, "-m", "mtl.study.running.worker", str(file), str(number)]
