"""Which number format a device computes in natively."""

from __future__ import annotations

import torch


def natural_precision(accelerator: str = "auto") -> str:
    """Lightning's name of the precision that is fast on this device: bf16 where it is native, else fp32.

    Asked of the device's capabilities, not of its name: bf16 that is emulated is slower than fp32.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator in ("auto", "cpu") and _cpu_has_bf16():
        return "bf16-mixed"
    return "32-true"


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
