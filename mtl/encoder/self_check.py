"""Compares an encoder's states with those by transformers' own attention, before anything is trained.

Whether batches are packed changes results only by rounding.

Shapes: T tokens, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from mtl.encoder.packing import Layout
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.encoder.model import Encoder

DECIDES_RESULTS = False

LONG, SHORT = 200, 30
"""Tokens of the two sequences that are compared on the device: the first is longer than local windows are."""

ROUNDING = 0.1
"""Largest relative difference of a sequence's states that 16-bit precision explains. For MiniLM-L6 it is 0.01 in bf16,
and 0.8 if attention also reads the other sequence."""


def packing_problem(model: Any, first_position: int) -> str | None:
    """Why packing changes hidden states, compared with transformers' own attention; None if it does not.

    A family that ignores the attention function mixes the sequences without an error; so does one that counts
    positions differently.
    """
    ids = _sample(model)
    sequences = [ids[:7], ids[7:]]
    layout = Layout([len(one) for one in sequences])
    try:
        with torch.no_grad(), _in_evaluation(model):
            positions = (layout.positions + first_position)[None]
            packed = model(input_ids=ids[None], position_ids=positions, layout=layout).last_hidden_state[0]
        expected = torch.cat([_states_alone(model, one) for one in sequences])
    except InputError as error:  # an argument that the family needs and packed attention does not have
        return error.problems[0].message
    except (TypeError, ValueError, RuntimeError) as error:  # an argument that it does not have, or other shapes
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    if packed.shape == expected.shape and torch.allclose(packed, expected, rtol=1e-3, atol=1e-4):
        return None
    return "Packing two sequences in one row changes their hidden states."


def check_on_device(encoder: Encoder, device: torch.device) -> None:
    """Compares packed attention with transformers' own on a device other than a CPU, in the precision of training.

    Call it in the context that autocasts. There, kernels run that the check at the encoder's load has not seen. A
    compiled encoder runs as it was before, because code for these two shapes would be compiled for nothing.

    Args:
        encoder: The encoder, on the device.
        device: The device.

    Raises:
        InputError: The states differ by more than rounding.
    """
    if device.type == "cpu" or not encoder.packs or encoder.is_causal:
        return
    room = int(getattr(encoder.config, "max_position_embeddings", LONG)) - SHORT
    ids = _sample(encoder.model).to(device)
    sequences = [own.repeat(LONG)[: min(length, room)] for own, length in ((ids[:7], LONG), (ids[7:], SHORT))]
    layout = Layout([len(one) for one in sequences]).map(lambda tensor: tensor.to(device))
    with torch.no_grad(), _in_evaluation(encoder.model), torch.compiler.set_stance("force_eager"):
        packed = encoder(torch.cat(sequences), layout)
        alone = [_states_alone(encoder.model, one).float() for one in sequences]
    pairs = [(packed[row, : len(own)].float(), own) for row, own in enumerate(alone)]
    difference = max(float((found - own).norm() / own.norm()) for found, own in pairs)
    if not difference <= ROUNDING:
        message = (
            f"Packed attention on {device.type} gives states that differ by {difference:.1%} from transformers' own;"
            f" rounding explains {ROUNDING:.0%}."
        )
        raise InputError(Problem("encoder.attention", message, "Set it to eager."))


def sees_backwards_only(model: Any) -> bool:
    """Whether another last token changes no state before it, by transformers' own attention."""
    ids = _sample(model)
    first, second = (_states_alone(model, torch.cat([ids[:6], last])) for last in (ids[6:7], ids[7:8]))
    return torch.allclose(first[:6], second[:6], rtol=1e-3, atol=1e-4) and not torch.equal(first[6], second[6])


def _sample(model: Any) -> torch.Tensor:
    """Eleven different ids of tokens, drawn at random."""
    size = model.get_input_embeddings().weight.shape[0]
    pad_id = getattr(model.config, "pad_token_id", None)
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:12].tolist()
    return torch.tensor([token for token in drawn if token != pad_id][:11])


def _states_alone(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The states [T, H] of one sequence, by transformers' own attention."""
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad(), _in_evaluation(model):
            found: torch.Tensor = model(
                input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]
            ).last_hidden_state[0]
            return found
    finally:
        model.set_attn_implementation(implementation)


@contextmanager
def _in_evaluation(model: Any) -> Iterator[None]:
    """A context in which a model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
