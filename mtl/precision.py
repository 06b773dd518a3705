"""Which number format is quick on a device."""

from __future__ import annotations

import os
import time
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

from mtl.runs import is_rank_zero

GAIN = 1.2
"""How many times as quick as fp32 the products must be in bf16 to make up for its casts."""

VARIABLE = "MTL_PRECISION"
"""Where the first process leaves its choice for the others."""


def natural_precision(accelerator: str = "auto") -> str:
    """Lightning's name of the precision to train in: bf16 where the device has it and is quicker with it, else fp32.

    Asked of the device's capabilities, not of its name. A CPU may have the instructions and be no quicker with them,
    so there a few products are timed, once per process. A checkpoint keeps the precision of its run, and so do a
    resume and an evaluation.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator in ("auto", "cpu") and _cpu_has_bf16() and bf16_gain() >= GAIN:
        return "bf16-mixed"
    return "32-true"


def agreed_precision(accelerator: str = "auto") -> str:
    """`natural_precision` as the first process found it; those that Lightning starts for other devices take it over."""
    if is_rank_zero() or VARIABLE not in os.environ:
        os.environ[VARIABLE] = natural_precision(accelerator)
    return os.environ[VARIABLE]


@cache
def bf16_gain() -> float:
    """How many times as quick as in fp32 one thread of this CPU multiplies matrices of an encoder's size in bf16."""
    seconds = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _product_seconds(dtype: torch.dtype) -> float:
    states: Tensor = torch.zeros(1024, 384, dtype=dtype)
    weight, bias = torch.zeros(1536, 384, dtype=dtype), torch.zeros(1536, dtype=dtype)
    taken = []
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # whose own time doesn't count what other processes take
    try:
        for _ in range(6):  # the first prepares, and the least of the others is the least disturbed
            started = time.thread_time()
            linear(states, weight, bias)
            taken.append(time.thread_time() - started)
    finally:
        torch.set_num_threads(num_threads)
    return min(taken[1:])


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
