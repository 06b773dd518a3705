"""An update that is not finite changes nothing, and the training ends before anything is evaluated or saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtl.config.loading import load_mixture
from mtl.training.guard import Guard
from mtl.training.module import CHECKPOINT_KEY
from mtl.training.optimisation import adamw
from mtl.training.withholding import DEVIATIONS, WINDOW, Mark, MarkedUpdate, NormWindow, Withholding


def model() -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    return layer, adamw([{"params": list(layer.parameters()), "lr": 0.1}], scaled=False)


def step(
    layer: nn.Linear, optimizer: torch.optim.Optimizer, withholding: Withholding, factor: float, update: int = 0
) -> None:
    optimizer.zero_grad()
    (layer(torch.ones(1, 3)).sum() * factor).backward()
    withholding.guard(optimizer, update, 1.0)
    optimizer.step()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_changes_neither_weights_nor_the_optimiser(factor: float) -> None:
    disturbed, undisturbed = Withholding(), Withholding()
    (layer, optimizer), (other, its_optimizer) = model(), model()
    for update, value in enumerate((2.0, factor, 3.0, factor, factor)):
        step(layer, optimizer, disturbed, value, update)
    for value in (2.0, 3.0):
        step(other, its_optimizer, undisturbed, value)
    assert torch.equal(layer.weight, other.weight)
    for weight, its_weight in zip(layer.parameters(), other.parameters(), strict=True):
        state, its_state = optimizer.state[weight], its_optimizer.state[its_weight]
        assert all(torch.equal(state[name], its_state[name]) for name in its_state)
    assert disturbed.take() == [MarkedUpdate(update, Mark.NOT_FINITE) for update in (1, 3, 4)]
    assert undisturbed.take() == disturbed.take() == []


def test_gradients_are_clipped_as_pytorch_clips_them() -> None:
    (layer, optimizer), (other, _) = model(), model()
    for module in (layer, other):
        (module(torch.ones(1, 3)).sum() * 7).backward()
    Withholding().guard(optimizer, 0, 0.5)
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
    assert withholding.take() == []
    assert layer.weight.isnan().all()


def test_the_limit_of_a_spike_is_as_computed_by_hand() -> None:
    (layer, optimizer), withholding, norms = model(), Withholding("clip"), []
    random = torch.Generator().manual_seed(0)
    for update in range(WINDOW + 1):
        factor = 50.0 if update == WINDOW else 1 + 0.1 * float(torch.randn((), generator=random))
        layer.weight.grad, layer.bias.grad = torch.full((2, 3), factor / 6**0.5), torch.zeros(2)
        norms.append(float(layer.weight.grad.norm()))
        withholding.guard(optimizer, update)
    before = torch.tensor(norms[:WINDOW])
    limit = float(before.mean() + DEVIATIONS * before.std())
    assert withholding.take() == [MarkedUpdate(WINDOW, Mark.SPIKE)]
    assert float(layer.weight.grad.norm()) == pytest.approx(limit, rel=1e-4)


def test_a_skipped_spike_changes_nothing_and_does_not_raise_the_limit() -> None:
    (layer, optimizer), withholding = model(), Withholding("skip")
    for update in range(WINDOW):
        step(layer, optimizer, withholding, 1 + update % 3, update)
    weights = layer.weight.clone()
    for update in range(WINDOW, WINDOW + 5):
        step(layer, optimizer, withholding, 1e4, update)
    assert torch.equal(layer.weight, weights)
    assert [one.mark for one in withholding.take()] == [Mark.SPIKE] * 5
    step(layer, optimizer, withholding, 2.0, WINDOW + 5)
    assert not torch.equal(layer.weight, weights)


def test_updates_without_gradients_leave_no_mark_and_do_not_change_the_limit() -> None:
    mixed, plain = Withholding("skip"), Withholding("skip")
    (layer, optimizer), (other, its_optimizer) = model(), model()

    def both(factor: float, update: int) -> None:
        step(layer, optimizer, mixed, factor, update)
        optimizer.zero_grad()
        mixed.guard(optimizer, update, 1.0)
        optimizer.step()
        step(other, its_optimizer, plain, factor, update)

    both(float("nan"), 0)
    for update in range(1, WINDOW + 1):
        both(1 + update % 3, update)
    both(50.0, WINDOW + 1)
    assert mixed.state_dict() == plain.state_dict()
    assert mixed.take() == plain.take() == [(0, Mark.NOT_FINITE), (WINDOW + 1, Mark.SPIKE)]
    assert torch.equal(layer.weight, other.weight)


def test_a_resumed_run_finds_the_same_spikes() -> None:
    (layer, optimizer), first, second = model(), Withholding("skip"), Withholding("skip")
    for update in range(WINDOW + 7):
        step(layer, optimizer, first, 1 + update % 3, update)
    second.load_state_dict(first.state_dict())
    for withholding in (first, second):
        step(layer, optimizer, withholding, 30.0)
        step(layer, optimizer, withholding, 2.0)
    assert first.take() == second.take() == [MarkedUpdate(0, Mark.SPIKE)]
    assert first.state_dict() == second.state_dict()
    assert Withholding().state_dict() == {}


def test_steps_of_stopped_tasks_are_no_updates_whose_norm_counts(
    toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    def stop(module: Any, data: Any) -> None:
        module.stopped = {"cause", "bleed"}

    model = {"guard": Guard(spikes="skip")}
    trained = train(load_mixture(toy_mixture()), before=stop, model=model, limit_val_batches=0)
    steps = trained.data.schedule.epoch(0)
    number = sum(step[0].task not in trained.module.stopped for step in steps)
    checkpoint: dict[str, Any] = {}
    trained.module.on_save_checkpoint(checkpoint)
    window = checkpoint[CHECKPOINT_KEY]["norms"]
    assert window["count"] == number < len(steps)
    assert sum(norm > 0 for norm in window["norms"]) == number


def spoilt(updates: set[int], kept: dict[str, Any]) -> Callable[[Any, Any], None]:
    """A function that makes the losses of some updates NaN and keeps the weights before the first of them."""

    def spoil(module: Any, data: Any) -> None:
        kept["module"] = module
        forward = module.training_step

        def training_step(batch: Any, batch_idx: int) -> Any:
            if module.global_step == min(updates):
                kept["weights"] = {name: value.clone() for name, value in module.state_dict().items()}
            return forward(batch, batch_idx) * (float("nan") if module.global_step in updates else 1.0)

        module.training_step = training_step

    return spoil


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_not_finite_ends_the_training_before_the_next_evaluation_with_good_weights(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], clip: float | None
) -> None:
    kept: dict[str, Any] = {}
    options = {"limit_train_batches": 5, "log_every_n_steps": 50, "gradient_clip_val": clip}
    with pytest.raises(FloatingPointError) as caught:
        train(load_mixture(toy_mixture()), before=spoilt({2, 3, 4}, kept), **options)
    module = kept["module"]
    after = module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept["weights"].items())
    assert not module.results
    assert module.marked == [MarkedUpdate(update, Mark.NOT_FINITE) for update in (2, 3, 4)]
    task, ids = next(iter(module.trainer.datamodule.rows_of_update(2).items()))
    assert "update 2" in str(caught.value)
    assert f"{task}: {ids[0]}" in str(caught.value)


def test_updates_that_are_not_finite_can_be_left_out_up_to_a_limit(
    toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    options = {"limit_train_batches": 5, "log_every_n_steps": 2}
    kept: dict[str, Any] = {}
    skip = {"guard": Guard(nonfinite="skip", limit=2)}
    trained = train(load_mixture(toy_mixture()), before=spoilt({1, 3}, kept), model=skip, **options)
    assert [one.update for one in trained.module.marked] == [1, 3]
    assert all(value.isfinite().all() for value in trained.weights.values() if value.is_floating_point())
    with pytest.raises(FloatingPointError, match="3 updates"):
        train(load_mixture(toy_mixture()), before=spoilt({1, 2, 3}, kept), model=skip, **options)


def test_a_check_in_the_middle_of_an_update_waits_for_its_mark(
    toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    """The loss is not finite in the first batch of an update, and the log comes before its gradient is complete."""
    options = {"limit_train_batches": 12, "accumulate_grad_batches": 4, "log_every_n_steps": 2}
    skip = {"guard": Guard(nonfinite="skip", limit=2)}
    trained = train(load_mixture(toy_mixture()), before=spoilt_value({1}), model=skip, **options)
    assert trained.module.marked == [MarkedUpdate(1, Mark.NOT_FINITE)]
    with pytest.raises(FloatingPointError, match="update 1 "):
        train(load_mixture(toy_mixture()), before=spoilt_value({1}), **options)


def test_skipped_spikes_count_as_updates_that_were_left_out(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a lasting rise of the norm, as from another loss weight, would leave out the rest of the training."""
    monkeypatch.setattr(NormWindow, "limit", lambda self, norm: norm.new_tensor(1e-9))
    options = {"limit_train_batches": 6, "log_every_n_steps": 2}
    for spikes, limit in (("clip", 2), ("skip", 6)):
        guard = Guard(spikes=spikes, limit=limit)
        trained = train(load_mixture(toy_mixture()), model={"guard": guard}, **options)
        assert trained.module.marked == [MarkedUpdate(update, Mark.SPIKE) for update in range(6)]
    with pytest.raises(FloatingPointError, match=r"guard\.limit"):
        train(load_mixture(toy_mixture()), model={"guard": Guard(spikes="skip", limit=3)}, **options)


def test_the_rows_of_an_update_are_those_that_it_trains(
    toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    seen: list[dict[str, list[str]]] = []

    def watch(module: Any, data: Any) -> None:
        batch_of = data.train_dataloader

        def loader() -> Any:
            loader = batch_of()
            make = loader._batch

            def batch(step: Any, update: Any, stopped: Any) -> Any:
                rows = {}
                for ref in step:
                    for task in data.followers(ref.task):
                        split = data.tasks[task]["train"]
                        examples = split.examples.take(data.schedule.indices(ref))
                        rows[task] = [split.rows[example["row"]].id for example in examples]
                seen.append(rows)
                return make(step, update, stopped)

            loader._batch = batch
            return loader

        data.train_dataloader = loader

    trained = train(load_mixture(toy_mixture()), before=watch, max_epochs=2, limit_train_batches=4)
    for update, rows in enumerate(seen):
        assert trained.data.rows_of_update(update) == {task: list(dict.fromkeys(ids)) for task, ids in rows.items()}
    assert len(seen) == 8


def spoilt_value(updates: set[int]) -> Callable[[Any, Any], None]:
    """A function that makes the losses of some updates NaN, but not their gradients."""

    def spoil(module: Any, data: Any) -> None:
        def term(part: Any, logits: Any) -> Any:
            found = its_term(part, logits)
            constant = float("nan") if module.global_step in updates else 0.0
            return found + torch.tensor(constant)

        its_term, module._term = module._term, term

    return spoil


def test_a_loss_that_is_not_finite_is_withheld_although_its_gradient_is_finite(
    toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    options = {"limit_train_batches": 5, "log_every_n_steps": 50}
    kept: dict[str, Any] = {}

    def spoil(module: Any, data: Any) -> None:
        kept["module"] = module
        spoilt_value({1, 3})(module, data)

    skip = {"guard": Guard(nonfinite="skip", limit=2)}
    trained = train(load_mixture(toy_mixture()), before=spoil, model=skip, **options)
    assert trained.module.marked == [MarkedUpdate(update, Mark.NOT_FINITE) for update in (1, 3)]
    with pytest.raises(FloatingPointError, match="update 1 "):
        train(load_mixture(toy_mixture()), before=spoil, **options)


def test_a_loss_of_a_scaled_training_is_noted_with_its_update() -> None:
    withholding = Withholding()
    for update, is_finite in enumerate((True, False, True)):
        withholding.note(update, torch.tensor(is_finite))
    assert withholding.take() == [MarkedUpdate(1, Mark.NOT_FINITE)]


def test_a_spike_guard_and_a_gradient_scaler_exclude_each_other() -> None:
    for spikes in ("clip", "skip"):
        (problem,) = Guard(spikes=spikes).problems("16-mixed")
        assert problem.key == "guard.spikes"
        assert not Guard(spikes=spikes).problems("bf16-mixed")
    assert not Guard(nonfinite="skip").problems("16-mixed")
