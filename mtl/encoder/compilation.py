"""`torch.compile` for the encoder, tried before it is trusted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from mtl.encoder.model import Encoder
from mtl.problems import InputError, Problem


def compile_encoder(
    encoder: Encoder, context: Callable[[], AbstractContextManager[None]] = nullcontext, *, trains: bool = True
) -> None:
    """Compiles an encoder in place, for batches of any shape; names of its weights stay as they are.

    Small passes are made at once, so that what can't be compiled is told before training begins. Code is made anew
    for every device, precision and mode, so these must be the ones of all that follows.

    Args:
        encoder: Where it is going to compute, with the attention that it is going to have.
        context: Of the precision that batches are computed in; the default is that of the weights.
        trains: Whether it is going to be trained, and not evaluated alone.

    Raises:
        InputError: The encoder can't be compiled on this machine.
    """
    encoder.model.compile(dynamic=True)
    was_training = encoder.training
    try:
        if trains:
            _try(encoder.train(), context)
        evaluates = torch.no_grad if trains else torch.inference_mode  # as Lightning does, within a training or alone
        with evaluates():
            _try(encoder.eval(), context)
    except Exception as error:  # the compiler raises whatever its stages meet
        lines = [line.strip() for line in str(error).splitlines()]
        told = [line for line in lines if line and not line.endswith("raised:")]  # Dynamo names its backend first
        message = f"The encoder can't be compiled on this machine: {type(error).__name__}: {(told or [''])[0]}"
        raise InputError(Problem("model.compile", message, "Leave it out.")) from error
    encoder.train(was_training)
    encoder.zero_grad(set_to_none=True)


def _try(encoder: Encoder, context: Callable[[], AbstractContextManager[None]]) -> None:
    """One small pass forward, and back where anything is trained."""
    device = next(encoder.parameters()).device
    ids = torch.ones(2, 8, dtype=torch.long, device=device)
    mask = torch.tensor([[True] * 8, [True] * 5 + [False] * 3], device=device)  # padded, and with types, as batches are
    with context():
        states = encoder(ids, mask, torch.zeros_like(ids))
    if states.requires_grad:  # all of it may be frozen
        states.sum().backward()
