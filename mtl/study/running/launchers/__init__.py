"""Where the runs of a study are trained: one file per place.

A launcher starts workers (`mtl.study.running.worker`) and says whether they still run; which worker trains which
run is the ledger's business. A new launcher is a new file here with one subclass of `Launcher`; its file name is its
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
        workers: How many.
        threads: Of each, for its numeric libraries.

    Options of a launcher are the keyword-only arguments that its own `__init__` adds.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    @abstractmethod
    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        """Trains all runs, or as many as can be; returns when no worker is left.

        Args:
            work: The runs.
            folder: Of the study, where `work` is written for other processes.
            watch: To be called about once a second while workers run elsewhere.
            finished: To be called after each run that is trained in this very process.
        """

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        """What it needs and doesn't have here (a package, a number of workers), each with what to do about it."""
        return []

    def environment(self) -> dict[str, str]:
        """Of a worker's process: this process's own, with so many threads."""
        return {**os.environ, "OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}

    def command(self, file: Path, number: int) -> list[str]:
        """What starts a worker on what `Work.write` left."""
        return [sys.executable, "-m", "mtl.study.running.worker", str(file), str(number)]
