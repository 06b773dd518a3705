"""Random streams keyed by their purpose, so that adding a task does not change the draws of other tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *key: str | int) -> int:
    """A 63-bit seed that depends on the seed and on every part of the key.

    >>> derive(1, "order", "gad") == derive(1, "order", "gad")
    True
    >>> derive(1, "order", "gad") == derive(1, "order", "rqe")
    False
    """
    text = "\x1f".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """A NumPy generator whose seed is `derive(seed, *key)`."""
    return np.random.default_rng(derive(seed, *key))


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seeds PyTorch's generators of the CPU and of one device, from which dropout is drawn.

    `torch.manual_seed` seeds every backend, also those that are not there, which takes longer than a small layer.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def separate_draws(seed: int | None = None) -> Iterator[None]:
    """A context that leaves PyTorch's generator of the CPU as it was, for first weights, which are drawn there.

    `torch.random.fork_rng` and `torch.manual_seed` treat every device unless told otherwise. That starts CUDA in
    commands that do not need it, and waits for the device in a training.

    Args:
        seed: Seed of the draws inside; None continues those outside.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield
