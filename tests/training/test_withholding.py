"""An update that is not finite changes nothing, and the training ends before anything is evaluated or saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtl.config.loading import load_mixture
from mtl.training.optimisation import adamw
from mtl.training.withholding import Withholding


def model() -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    return layer, adamw([{"params": list(layer.parameters()), "lr": 0.1}], scaled=False)


def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, withholding: Withholding, factor: float) -> None:
    optimizer.zero_grad()
    (layer(torch.ones(1, 3)).sum() * factor).backward()
    withholding.guard(optimizer, 1.0)
    optimizer.step()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_changes_neither_weights_nor_the_optimiser(factor: float) -> None:
    disturbed, undisturbed = Withholding(), Withholding()
    (layer, optimizer), (other, its_optimizer) = model(), model()
    for value in (2.0, factor, 3.0, factor, factor):
        step(layer, optimizer, disturbed, value)
    for value in (2.0, 3.0):
        step(other, its_optimizer, undisturbed, value)
    assert torch.equal(layer.weight, other.weight)
    for weight, its_weight in zip(layer.parameters(), other.parameters(), strict=True):
        state, its_state = optimizer.state[weight], its_optimizer.state[its_weight]
        assert all(torch.equal(state[name], its_state[name]) for name in its_state)
    assert (disturbed.take(), undisturbed.take()) == (3, 0)
    assert disturbed.take() == 0


def test_gradients_are_clipped_as_pytorch_clips_them() -> None:
    (layer, optimizer), (other, _) = model(), model()
    for module in (layer, other):
        (module(torch.ones(1, 3)).sum() * 7).backward()
    Withholding().guard(optimizer, 0.5)
    nn.utils.clip_grad_norm_(other.parameters(), 0.5)
    for weight, its_weight in zip(layer.parameters(), other.parameters(), strict=True):
        assert weight.grad is not None
        assert its_weight.grad is not None
        assert torch.equal(weight.grad, its_weight.grad)


def test_an_optimiser_that_cannot_withhold_an_update_is_left_alone() -> None:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    withholding = Withholding()
    step(layer, optimizer, withholding, float("nan"))
    assert withholding.take() == 0
    assert layer.weight.isnan().all()


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_loss_that_is_not_finite_ends_the_training_before_the_next_evaluation_with_good_weights(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], clip: float | None
) -> None:
    kept: dict[str, Any] = {}

    def spoil(module: Any, data: Any) -> None:
        kept["module"] = module
        forward = module.training_step

        def spoilt(batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                kept["weights"] = {name: value.clone() for name, value in module.state_dict().items()}
            return forward(batch, batch_idx) * (float("nan") if batch_idx >= 2 else 1.0)

        module.training_step = spoilt

    options = {"limit_train_batches": 5, "log_every_n_steps": 50, "gradient_clip_val": clip}
    with pytest.raises(FloatingPointError, match="withheld"):
        train(load_mixture(toy_mixture()), before=spoil, **options)
    after = kept["module"].state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept["weights"].items())
    assert not kept["module"].results
