"""`torch.compile` for the encoder, tried before it is trusted."""

from __future__ import annotations

import torch

from mtl.encoder import Encoder
from mtl.faults import Fault, InputError


def compile_encoder(encoder: Encoder) -> None:
    """Compiles an encoder in place, for batches of any shape; names of its weights stay as they are.

    One small pass forward and back is made at once, so that what can't be compiled is told before training begins.

    Raises:
        InputError: The encoder can't be compiled on this machine.
    """
    encoder.model.compile(dynamic=True)
    ids = torch.ones(2, 8, dtype=torch.long)
    mask = torch.tensor([[True] * 8, [True] * 5 + [False] * 3])  # padded, and with types, as batches are
    try:
        states = encoder(ids, mask, torch.zeros_like(ids))
        if states.requires_grad:  # all of it may be frozen
            states.sum().backward()
    except Exception as error:  # the compiler raises whatever its stages meet
        lines = [line.strip() for line in str(error).splitlines()]
        told = [line for line in lines if line and not line.endswith("raised:")]  # Dynamo names its backend first
        message = f"The encoder can't be compiled on this machine: {type(error).__name__}: {(told or [''])[0]}"
        raise InputError(Fault("model.compile", message, "Leave it out.")) from error
    encoder.zero_grad(set_to_none=True)
