"""`torch.compile` for the encoder, tested before training starts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from mtl.encoder.model import Encoder
from mtl.encoder.packing import Layout
from mtl.problems import InputError, Problem


def compile_encoder(
    encoder: Encoder, context: Callable[[], AbstractContextManager[None]] = nullcontext, *, trains: bool = True
) -> None:
    """Compiles an encoder in place for batches of any shape, and keeps the names of its weights.

    Small test passes report a failed compilation before training starts. Code is compiled for a device, a precision and
    a mode, so these must be the ones used later.

    Args:
        encoder: Encoder on its final device, with its final attention.
        context: Context manager for the precision of batches; the default computes in the precision of the weights.
        trains: Whether the encoder will be trained; False if it is only evaluated.

    Raises:
        InputError: The encoder cannot be compiled on this machine.
    """
    # The attention of a packed encoder is not traced, and Dynamo then looks at gradients of hidden states.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
    encoder.model.compile(dynamic=True)
    was_training = encoder.training
    try:
        if trains:
            _try(encoder.train(), context)
        evaluates = torch.no_grad if trains else torch.inference_mode  # as Lightning does
        with evaluates():
            _try(encoder.eval(), context)
    except Exception as error:  # the stages of the compiler have no common error class
        lines = [line.strip() for line in str(error).splitlines()]
        reasons = [line for line in lines if line and not line.endswith("raised:")]  # Dynamo names its backend first
        message = f"The encoder cannot be compiled on this machine: {type(error).__name__}: {(reasons or [''])[0]}"
        raise InputError(Problem("model.compile", message, "Remove the key.")) from error
    encoder.train(was_training)
    encoder.zero_grad(set_to_none=True)


def _try(encoder: Encoder, context: Callable[[], AbstractContextManager[None]]) -> None:
    """One small forward pass, and a backward pass unless the encoder is frozen."""
    device = next(encoder.parameters()).device
    ids = torch.ones(13, dtype=torch.long, device=device)
    layout = Layout([8, 5]).map(lambda values: values.to(device))
    with context():
        states = encoder(ids, layout, torch.zeros_like(ids))
    if states.requires_grad:  # all of it may be frozen
        states.sum().backward()
