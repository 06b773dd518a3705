"""Which number format is quick on a device."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

GAIN = 1.2
"""How many times as quick as fp32 the products must be in bf16 to make up for its casts."""


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


@cache
def bf16_gain() -> float:
    """How many times as quick as in fp32 this CPU multiplies matrices of an encoder's size in bf16."""
    seconds = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _product_seconds(dtype: torch.dtype) -> float:
    states: Tensor = torch.zeros(1024, 384, dtype=dtype)
    weight, bias = torch.zeros(1536, 384, dtype=dtype), torch.zeros(1536, dtype=dtype)
    taken = []
    for _ in range(6):  # the first prepares, and the least of the others is the least disturbed
        started = time.perf_counter()
        linear(states, weight, bias)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
