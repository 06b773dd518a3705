"""Several processes on this machine, each with its own threads, spread over its GPUs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.config.mixture import Count
from mtl.study.running.launchers import Launcher
from mtl.study.running.worker import num_gpus

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


REPLACEMENTS = 3
"""Replacements per worker that died. If each one dies at once, more would not help."""


class Processes(Launcher):
    """Trains in processes on this machine, and replaces a process that dies.

    Worker i uses GPU i modulo the number of GPUs. A small encoder does not fill a GPU, so workers may share one.

    Args:
        workers: Number of workers.
        threads: Number of threads of the numeric libraries of each worker.
        workers_per_device: Number of workers per GPU, instead of `workers`; a machine without a GPU counts as one.
    """

    def __init__(self, workers: int, threads: int, *, workers_per_device: Count | None = None) -> None:
        if workers_per_device is not None:
            workers = workers_per_device * max(1, num_gpus())
        super().__init__(workers, threads)

    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        file = work.write(folder)
        started = [self._start(file, number) for number in range(self.workers)]
        replacements = REPLACEMENTS * self.workers
        try:
            while True:
                for number, process in enumerate(started):  # polls all, so that none stays a zombie
                    if process.poll() and replacements:
                        replacements -= 1
                        self._report(process)
                        started[number] = self._start(file, number)
                if all(process.returncode is not None for process in started):
                    break
                watch()
                time.sleep(1.0)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()
        for process in started:
            if process.returncode not in (0, -15):
                self._report(process)

    def _start(self, file: Path, number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(file, number), env=self.environment(), stdin=subprocess.DEVNULL)  # noqa: S603  # ours

    def _report(self, process: subprocess.Popen[bytes]) -> None:
        sys.stderr.write(f"mtl: study: One of {self.workers} workers ended early (exit code {process.returncode}).\n")
