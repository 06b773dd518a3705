"""AdamW for the encoder and the heads, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from mtl.encoder.layers import depths
from mtl.training.hyperparameters import Convention, LearningRateSchedule, Optimisation

UPDATES_WITHOUT_WARMUP = 10_000
"""Time scale of the schedule `inverse_sqrt` without a warm-up."""

Owned = tuple[nn.Module, str, nn.Parameter]
"""A parameter with the module that owns it and its name there."""


def parameter_groups(
    encoder: nn.Module, heads: Mapping[str, nn.Module], optimisation: Optimisation, *, factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """AdamW's parameter groups: one each for the encoder and every head, plus one each for biases and norms, undecayed.

    With `layer_decay`, the encoder has such groups for its embeddings, for each layer, and for what lies above them.
    Frozen parameters are in no group.

    Args:
        encoder: The encoder, trained at `learning_rate`.
        heads: The head of each task, trained at `head_learning_rate` times the task's factor.
        optimisation: Learning rates and weight decay.
        factors: Factor on the learning rate of each task's head; 1 for tasks without one.
    """
    rates = optimisation.resolved()
    assert rates.learning_rate is not None
    assert rates.head_learning_rate is not None
    if rates.layer_decay is None:
        groups = _groups("encoder", _parameters(encoder), rates.learning_rate, rates.weight_decay)
    else:
        groups = _layer_groups(encoder, rates.learning_rate, rates)
    for task, head in heads.items():
        rate = rates.head_learning_rate * factors.get(task, 1.0)
        groups += _groups(task, _parameters(head), rate, rates.weight_decay)
    return groups


def layer_factor(depth: int, num_layers: int, decay: float, convention: Convention = "zhang") -> float:
    """The factor on the learning rate of a layer under layer-wise decay.

    The conventions differ by one step: with `zhang` (revisit-bert-finetuning, Zhang et al. 2021) the top layer has
    decay^1, with `electra` (Clark et al. 2020) decay^2.

    Args:
        depth: 0 for the embeddings, 1 for the lowest layer, `num_layers` for the top one, one more for what lies above.
        num_layers: Number of layers.
        decay: Factor from a layer to the one below.
        convention: `zhang` or `electra`.

    >>> [round(layer_factor(depth, 12, 0.8), 4) for depth in (12, 1, 0)]
    [0.8, 0.0687, 0.055]
    >>> [round(layer_factor(depth, 12, 0.8, "electra"), 4) for depth in (12, 1, 0)]
    [0.64, 0.055, 0.044]
    """
    top = num_layers + (2 if convention == "electra" else 1)
    return float(decay ** (top - depth))


def _layer_groups(encoder: nn.Module, rate: float, optimisation: Optimisation) -> list[dict[str, Any]]:
    """The groups of the encoder by depth, from the embeddings up."""
    depth_of, num_layers = depths(getattr(encoder, "model", encoder))
    by_depth: dict[int, list[Owned]] = {depth: [] for depth in range(num_layers + 2)}
    for owned in _parameters(encoder):
        by_depth[depth_of[id(owned[2])]].append(owned)
    groups: list[dict[str, Any]] = []
    for depth, parameters in by_depth.items():
        name = {0: "embeddings", num_layers + 1: "top"}.get(depth, f"layer_{depth}")
        decay, convention = optimisation.layer_decay or 1.0, optimisation.layer_decay_convention or "zhang"
        factor = layer_factor(depth, num_layers, decay, convention)
        groups += _groups(f"encoder/{name}", parameters, rate * factor, optimisation.weight_decay)
    return groups


def _groups(name: str, parameters: Iterable[Owned], rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Up to two groups: the weights, and the biases and norms, which do not decay."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for owner, parameter_name, parameter in parameters:
        is_bias_or_norm = parameter_name == "bias" or "Norm" in type(owner).__name__
        (undecayed if is_bias_or_norm else decayed).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay, "name": name + suffix}
        for suffix, parameters, decay in (("", decayed, weight_decay), ("/no_decay", undecayed, 0.0))
        if parameters
    ]


def schedule(
    kind: LearningRateSchedule, *, warmup: int, total: int, decay: int = 0, decay_to: float = 0.0
) -> Callable[[int], float]:
    """The factor on all peak learning rates as a function of the update: linear warm-up, then what `kind` says.

    At update n, counted from 0, the factor is (n + 1) / warmup during the warm-up, and after it:

    - `linear`: 1 - p, where the progress p rises from 0 at the end of the warm-up to 1 at `total`.
    - `cosine`: (1 + cos(pi p)) / 2 (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983).
    - `constant`: 1.
    - `warmup_stable_decay`: 1, and in the last `decay` updates decay_to + (1 - decay_to) (1 - sqrt(q)), where q rises
      from 0 to 1 over them (Hägele et al. 2024, https://arxiv.org/abs/2405.18392).
    - `inverse_sqrt`: sqrt(warmup / n) (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3). Without a
      warm-up it is sqrt(s / (n + s)) with s = 10,000, as in transformers.

    Args:
        kind: Schedule after the warm-up.
        warmup: Number of updates of the warm-up.
        total: Number of updates of the training.
        decay: Number of updates of a final decay.
        decay_to: Factor at which a final decay ends.

    >>> factor = schedule("linear", warmup=2, total=4)
    >>> [factor(step) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    >>> factor = schedule("warmup_stable_decay", warmup=0, total=6, decay=4)
    >>> [round(factor(step), 3) for step in range(7)]
    [1.0, 1.0, 1.0, 0.5, 0.293, 0.134, 0.0]
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if kind == "inverse_sqrt":
            scale = warmup or UPDATES_WITHOUT_WARMUP
            return math.sqrt(scale / (step - warmup + scale))
        if kind == "warmup_stable_decay":
            share = min(1.0, max(0.0, (step - total + decay) / max(1, decay)))
            return decay_to + (1.0 - decay_to) * (1.0 - math.sqrt(share))
        share = min(1.0, (step - warmup) / max(1, total - warmup))
        if kind == "linear":
            return 1.0 - share
        return 0.5 * (1.0 + math.cos(math.pi * share)) if kind == "cosine" else 1.0

    return factor


def adamw(groups: list[dict[str, Any]], *, scaled: bool) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused: on a CPU it takes a quarter of the time of the default.

    Args:
        groups: Parameter groups as `parameter_groups` returns them.
        scaled: Whether gradients are scaled (fp16). The optimiser is then not fused, because a fused one would unscale
            them itself, after clipping.
    """
    optimizer = torch.optim.AdamW(groups, fused=not scaled)
    # Lightning assumes that every fused optimiser unscales gradients, and refuses to clip them even without a scaler.
    vars(optimizer)["_step_supports_amp_scaling"] = False
    return optimizer


def _parameters(module: nn.Module) -> Iterator[Owned]:
    """Every trained parameter once."""
    seen: set[int] = set()
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield owner, name, parameter
