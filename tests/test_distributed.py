"""Reductions over two real processes, and what they do in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mtl import distributed

REPOSITORY = Path(__file__).parents[1]
SCRIPT = """
import json, sys
import torch
from mtl import distributed

def step():
    # The weight after a step in which the gradient of the second rank overflows, and the scale after it.
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(weight.sum()).backward()
    weight.grad *= float("inf") if rank else 1.0
    scaler.unscale_(optimizer)
    distributed.share_overflow(scaler, optimizer)
    scaler.step(optimizer)
    scaler.update()
    return weight.item(), scaler.get_scale()

torch.distributed.init_process_group("gloo")
rank = distributed.rank()
table = torch.zeros(4, 2)
table[rank] = rank + 1.0  # rows 0 and 1 are touched by one rank each, row 2 by both, row 3 by none
table[2] = 10.0 * (rank + 1)
dense = table.clone()
distributed.average_rows(table)
distributed.average([dense])
print(json.dumps({
    "gathered": distributed.gather({"rank": rank}),
    "sum": distributed.sum_over_ranks(torch.tensor([rank + 1.0])).tolist(),
    "rows": table.tolist(),
    "dense": dense.tolist(),
    "world": distributed.world_size(),
    "first": distributed.is_rank_zero(),
    "step": step(),
}))
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 1),
        ({"RANK": "1", "WORLD_SIZE": "4"}, 4),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, 1),  # of Lightning's own launcher
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, 1),  # the script of a batch job
        ({"SLURM_PROCID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}, 2),
    ],
)
def test_processes_of_a_launcher_are_counted(
    environment: dict[str, str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert distributed.launched_processes() == number


@pytest.mark.slow
def test_two_processes_reduce_and_gather(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    shared = {"PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29687"}
    started = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, **shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = [json.loads(process.communicate(timeout=120)[0]) for process in started]
    for rank, values in enumerate(found):
        assert values["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert values["sum"] == [3.0]
        assert values["rows"] == values["dense"] == [[0.5, 0.5], [1.0, 1.0], [15.0, 15.0], [0.0, 0.0]]
        assert values["world"] == 2
        assert values["first"] == (rank == 0)
        assert values["step"] == [1.0, 2.0]


def test_one_process_changes_nothing() -> None:
    values = torch.tensor([1.0, 2.0])
    assert distributed.sum_over_ranks(values).tolist() == [1.0, 2.0]
    distributed.average([values])
    assert values.tolist() == [1.0, 2.0]
    assert distributed.gather("own") == ["own"]
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "1"}, True),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "2"}, False),
    ],
)
def test_the_first_process_is_known_from_the_launchers_variables(
    variables: dict[str, str], is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.is_rank_zero() is is_first
