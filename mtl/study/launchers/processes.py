"""Several processes on this machine, each with its own threads, and with its own GPU where there are several."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.study.launchers import Launcher

if TYPE_CHECKING:
    from mtl.study.training import Order
    from mtl.study.worker import Work


class Processes(Launcher):
    """Trains in processes of this machine. One that dies costs the run it was at work on, which another takes over."""

    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[Order], None]) -> None:
        file = work.write(folder)
        started = [
            subprocess.Popen(self.command(file, number), env=self.environment(), stdin=subprocess.DEVNULL)  # noqa: S603
            for number in range(self.workers)
        ]
        try:
            while None in [process.poll() for process in started]:  # asks every one, so that none that died lingers
                watch()
                time.sleep(1.0)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()
        died = [process.returncode for process in started if process.returncode not in (0, -15)]
        if died:
            sys.stderr.write(f"mtl: study: {len(died)} of {len(started)} workers ended early (exit code {died[0]}).\n")
