"""Runs that a launcher other than Lightning starts, as on several machines, as far as two processes on one show it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtl.commands import run
from mtl.tracking.run_folder import RunFolder
from tests import five_tasks

TASKS = ("cause", "drugs", "risk", "bleed")
OPTIONS = (
    "--run.track=false",
    "--run.baselines=false",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",  # bf16, which some machines choose, rounds otherwise in two processes
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=5",
    "--mixture.encoder.dropout=0",
    *(f"--mixture.tasks.{task}.options.dropout=0" for task in TASKS),
)


def weights(folder: Path) -> dict[str, Tensor]:
    content = torch.load(RunFolder.open(folder).resolve_checkpoint("last"), weights_only=True)
    return dict(content["state_dict"])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def torchrun(words: list[str], environment: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    return [subprocess.Popen([*command, "-m", *words], env=environment, stderr=subprocess.PIPE)]


def slurm(words: list[str], environment: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """Two tasks of a job on one node, with the variables that `srun` sets."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "mtl", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
    job |= {"SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1"}
    job |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [
        subprocess.Popen([sys.executable, "-m", *words], env=environment | job | rank, stderr=subprocess.PIPE)
        for rank in ranks
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launch", [torchrun, pytest.param(slurm, marks=pytest.mark.soak)])
def test_two_processes_of_a_launcher_train_one_run_that_equals_that_of_one_process(
    toy_mixture: Callable[..., Path], tmp_path: Path, launch: Callable[..., list[subprocess.Popen[bytes]]]
) -> None:
    path = toy_mixture()
    words = ["fit", f"--mixture={path}", *OPTIONS, f"--run.root={tmp_path / 'runs'}"]
    with five_tasks.surroundings(tmp_path):
        assert run(words) == 0
    (alone,) = tmp_path.glob("runs/toy/*/run.json")
    together = tmp_path / "together"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    environment |= {"MTL_RUN_FOLDER": str(together), "OMP_NUM_THREADS": "1"}
    processes = launch(["mtl", *words, "--trainer.devices=2", "--trainer.strategy=ddp"], environment)
    errors = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    assert len(list(tmp_path.rglob("run.json"))) == 2
    one, two = weights(alone.parent), weights(together)
    for name, value in one.items():
        if not name.endswith("key.bias"):  # its gradient is rounding noise, which AdamW scales up
            torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=name)
