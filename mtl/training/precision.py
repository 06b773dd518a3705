"""Which number format is fast on a device."""

from __future__ import annotations

import os
import time
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

from mtl.distributed import is_one_of_several, is_rank_zero
from mtl.problems import Problem

GAIN = 1.2
"""Smallest speed-up of matrix products in bf16 over fp32 that makes up for the casts."""

VARIABLE = "MTL_PRECISION"
"""Environment variable in which the first process leaves its choice for the others."""


def natural_precision(accelerator: str = "auto") -> str:
    """Lightning's name for the precision to train in: bf16 if the device supports it and is faster in it, else fp32.

    This depends on what the device can do, not on its name. A CPU may have the instructions without being faster, so on
    a CPU a few products are timed, once per process. A checkpoint keeps the precision of its run, and resuming or
    evaluating it uses that precision.

    Args:
        accelerator: Lightning's name for the accelerator.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if _has_bf16("cuda") else "32-true"
    if accelerator in ("auto", "cpu") and _has_bf16("cpu") and bf16_gain() >= GAIN:
        return "bf16-mixed"
    return "32-true"


def agreed_precision(accelerator: str = "auto", num_nodes: int = 1) -> str:
    """`natural_precision` as chosen by the first process and used by those that Lightning starts for other devices.

    Processes that an outside launcher starts (torchrun, Slurm, by hand on several nodes) cannot ask the first before
    they train together, and each would time its own CPU. So nothing is timed there: CPUs compute in fp32, and GPUs,
    which must all be of one kind, in what they support.

    Args:
        accelerator: Lightning's name for the accelerator.
        num_nodes: Number of nodes of the training.
    """
    if num_nodes > 1 or is_one_of_several():
        return natural_precision("cuda") if accelerator in ("auto", "gpu", "cuda") else "32-true"
    if is_rank_zero() or VARIABLE not in os.environ:
        os.environ[VARIABLE] = natural_precision(accelerator)
    return os.environ[VARIABLE]


def precision_problems(precision: str, device: str) -> list[Problem]:
    """Why a requested precision is not available: training cannot succeed in it, or the device does not support it.

    Args:
        precision: Lightning's name for the precision.
        device: Type of the device. Support is checked for cpu and cuda only.
    """
    key = "trainer.precision"
    mixed = "16-mixed" if device == "cuda" else "bf16-mixed"
    if precision == "16-true":
        message = "AdamW cannot train weights in fp16, where squares of gradients underflow; got 16-true."
        return [Problem(key, message, f"Omit it, or use {mixed} or 32-true.")]
    if precision.startswith("transformer-engine"):
        message = f"Transformer Engine needs layer sizes in multiples of 16, which heads do not have; got {precision}."
        return [Problem(key, message, f"Omit it, or use {mixed} or 32-true.")]
    if device == "cpu" and precision in ("16", "16-mixed"):
        message = f"A CPU has no mixed precision with fp16, and Lightning would use bf16 instead; got {precision}."
        return [Problem(key, message, "Omit it, or use bf16-mixed or 32-true.")]
    if precision in ("bf16", "bf16-mixed", "bf16-true") and device in ("cpu", "cuda") and not _has_bf16(device):
        others = "32-true" if device == "cpu" else "16-mixed or 32-true"
        message = f"The device must support bf16 itself; got {precision} on a {device} device that would emulate it."
        return [Problem(key, message, f"Omit it, or use {others}.")]
    return []


def prepare_products(device: str) -> None:
    """Lets a GPU multiply fp32 matrices in TF32, with 10 of 23 bits of each factor, unless the user has set this.

    By data sheet, an A100 then does 156 instead of 19.5 TFLOP/s. Heads always compute in fp32.

    Args:
        device: Type of the device.
    """
    if device == "cuda" and torch.get_float32_matmul_precision() == "highest":
        torch.set_float32_matmul_precision("high")


@cache
def bf16_gain() -> float:
    """Speed-up of bf16 over fp32 for matrix products of an encoder's size in one thread of this CPU."""
    seconds = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _product_seconds(dtype: torch.dtype) -> float:
    states: Tensor = torch.zeros(1024, 384, dtype=dtype)
    weight, bias = torch.zeros(1536, 384, dtype=dtype), torch.zeros(1536, dtype=dtype)
    seconds = []
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the measured time does not include that of other processes
    try:
        for _ in range(6):  # the first warms up; the shortest of the others was disturbed least
            started = time.thread_time()
            linear(states, weight, bias)
            seconds.append(time.thread_time() - started)
    finally:
        torch.set_num_threads(num_threads)
    return min(seconds[1:])


def _has_bf16(device: str) -> bool:
    """Whether a device has bf16 instructions of its own."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
