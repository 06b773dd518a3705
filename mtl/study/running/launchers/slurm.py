"""Jobs of a Slurm cluster, through submitit (extra `slurm`): one worker per job, all in one array.

The ledger and the data must be on a file system that all nodes share. With `cluster: local`, submitit starts the jobs
on this machine, which is how it is tested.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtl.study.running.launchers import Launcher

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


class Slurm(Launcher):
    """Trains in Slurm jobs.

    Args:
        workers: Number of workers.
        threads: Number of threads of the numeric libraries of each worker.
        cluster: slurm, or local for jobs on this machine.
        timeout_min: Time limit of a job, in minutes. The next command trains the runs that it did not finish.
        parameters: Parameters of submitit's executor, such as ``{slurm_partition: gpu, gpus_per_node: 1}``.
    """

    def __init__(
        self,
        workers: int,
        threads: int,
        *,
        cluster: Literal["slurm", "local"] = "slurm",
        timeout_min: int = 24 * 60,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(workers, threads)
        self._cluster, self._timeout, self._parameters = cluster, timeout_min, dict(parameters or {})

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        if importlib.util.find_spec("submitit") is not None:
            return []
        return [("The launcher 'slurm' comes with the extra 'slurm'.", "Run pip install 'biomtl[slurm]'.")]

    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        import submitit

        file = work.write(folder)
        executor = submitit.AutoExecutor(folder / "slurm", cluster=self._cluster)
        shared = {"cpus_per_task": self.threads, "name": "mtl-study"}
        executor.update_parameters(timeout_min=self._timeout, **shared, **self._parameters)
        with executor.batch():
            jobs = [
                executor.submit(submitit.helpers.CommandFunction(self.command(file, number), env=self.environment()))
                for number in range(self.workers)
            ]
        try:
            while not all(job.done() for job in jobs):
                watch()
                time.sleep(1.0)
        finally:
            for job in jobs:
                if not job.done():
                    job.cancel()
        failed = [job for job in jobs if job.state not in ("COMPLETED", "FINISHED", "DONE")]
        if failed:
            sys.stderr.write(f"mtl: study: {len(failed)} of {len(jobs)} jobs ended early; see {folder / 'slurm'}.\n")
