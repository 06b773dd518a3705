"""Distributed training: ranks, and values reduced or gathered over all processes.

Everything here also works in a single process, where it changes nothing.

Shapes: V rows of a table, H hidden size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def is_rank_zero() -> bool:
    """Whether this process is the first of those that train together, according to the launcher's variables."""
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def is_one_of_several() -> bool:
    """Whether a launcher other than Lightning started this process as one of several."""
    return launched_processes() > 1


def launched_processes() -> int:
    """The number of processes that a launcher other than Lightning started together with this one, itself included.

    Lightning's own launcher sets no RANK. In a batch job of Slurm, only `srun` starts several processes; the script
    itself runs once, whatever the job's number of tasks.
    """
    if "RANK" in os.environ:
        return int(os.environ.get("WORLD_SIZE", "1"))
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if "SLURM_STEP_ID" in os.environ else 1


def rank() -> int:
    """The rank of this process in its process group; 0 without one."""
    return torch.distributed.get_rank() if world_size() > 1 else 0


def world_size() -> int:
    """The number of processes that train together; 1 without a process group."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def gather(value: Any) -> list[Any]:
    """The values of all ranks, in order of rank; only this process's value without a process group."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place."""
    if world_size() > 1:
        torch.distributed.all_reduce(values)
    return values


def max_over_ranks(values: Tensor) -> Tensor:
    """The maximum of a tensor over all processes, element by element, in place."""
    if world_size() > 1:
        torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MAX)
    return values


def share_overflow(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
    """Makes all processes skip an optimiser's next step if the gradients of one of them overflowed.

    A scaler looks at the gradients of its own process before those outside DDP are averaged, so processes could
    disagree, and their weights would differ from then on.

    Args:
        scaler: The scaler of fp16, which has unscaled the gradients of the optimiser.
        optimizer: The optimiser.
    """
    of_optimizer = scaler._per_optimizer_states[id(optimizer)]
    for found in of_optimizer["found_inf_per_device"].values():
        max_over_ranks(found)


def average_rows(gradient: Tensor) -> None:
    """Averages a gradient [V, H] over all processes, in place, sending only rows that are not zero on some rank."""
    touched = gradient.any(dim=1).to(torch.uint8)  # [V]
    torch.distributed.all_reduce(touched, op=torch.distributed.ReduceOp.MAX)
    rows = touched.nonzero().squeeze(1)
    values = gradient[rows]
    torch.distributed.all_reduce(values)
    gradient[rows] = values / world_size()


def average(gradients: Iterable[Tensor]) -> None:
    """Averages gradients over all processes, in place."""
    for gradient in gradients:
        sum_over_ranks(gradient).div_(world_size())


def keep_out_of_ddp(module: nn.Module, names: Iterable[str]) -> None:
    """Makes DistributedDataParallel ignore some parameters and buffers of a module that it will wrap."""
    cast(Any, DistributedDataParallel)._set_params_and_buffers_to_ignore_for_model(module, set(names))
