"""Workers of a Ray cluster (extra `ray`): each is a Ray task with its CPUs and GPUs.

The ledger and the data must be on a file system that all nodes share. Without a cluster, Ray starts one here.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.study.running.launchers import Launcher

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


class Ray(Launcher):
    """Trains in Ray tasks.

    Args:
        workers: Number of workers.
        threads: Number of threads of the numeric libraries of each worker.
        address: Address of a cluster; None uses ``RAY_ADDRESS``, or else starts a cluster on this machine.
        gpus: GPUs per worker.
    """

    def __init__(self, workers: int, threads: int, *, address: str | None = None, gpus: float = 0) -> None:
        super().__init__(workers, threads)
        self._address, self._gpus = address, gpus

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        if importlib.util.find_spec("ray") is not None:
            return []
        return [("The launcher 'ray' comes with the extra 'ray'.", "Run pip install 'biomtl[ray]'.")]

    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage data
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray 2.50 warns if it is not set
        import ray

        untyped: Any = ray
        file = work.write(folder)
        has_begun = not untyped.is_initialized()
        if has_begun:
            local = {} if self._address or "RAY_ADDRESS" in os.environ else {"num_cpus": self.workers * self.threads}
            untyped.init(address=self._address, include_dashboard=False, log_to_driver=False, **local)
        try:
            start = untyped.remote(num_cpus=self.threads, num_gpus=self._gpus, max_retries=3)(_worker)
            pending = [
                start.remote(self.command(file, number), self.environment(), str(Path.cwd()))
                for number in range(self.workers)
            ]
            codes = []
            while pending:
                ready, pending = untyped.wait(pending, timeout=1.0)
                codes += untyped.get(ready)
                watch()
        finally:
            if has_begun:
                untyped.shutdown()
        if any(codes):
            sys.stderr.write(f"mtl: study: {sum(map(bool, codes))} of {len(codes)} workers ended early.\n")


def _worker(command: list[str], environment: dict[str, str], folder: str) -> int:
    """Runs a worker in a new process, so that threads are set before its libraries load."""
    gpus = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}  # chosen by Ray
    return subprocess.run(command, env={**environment, **gpus}, cwd=folder, check=False).returncode  # noqa: S603  # ours
