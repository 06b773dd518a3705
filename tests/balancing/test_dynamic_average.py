import math

import pytest
import torch
from torchjd.scalarization import DWA

from mtl.balancing import Balancing
from mtl.balancing.dynamic_average import DynamicAverage
from mtl.problems import InputError
from tests.balancing import properties as has

EPOCHS = [[2.0, 1.0, 0.9], [1.5, 0.4, 0.9], [1.4, 0.3, 1.2], [1.4, 0.29, 0.6]]


def epochs(balancing: Balancing) -> None:
    for losses in EPOCHS[:3]:
        balancing.on_epoch_end(dict(zip(has.WEIGHTS, losses, strict=True)))


def test_it_has_the_properties_of_every_method() -> None:
    has.adds_up(DynamicAverage, [0.3, 1.2, 0.7, 2.0], [1, 0, 3])
    has.leaves_other_tasks_alone(DynamicAverage)
    has.scales_with_the_loss_weight(DynamicAverage)
    has.resumes(DynamicAverage, epochs)
    has.stays_in_single_precision(DynamicAverage)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_factors_of_every_epoch_agree_with_torchjd(temperature: float) -> None:
    ours, theirs = DynamicAverage(dict.fromkeys("abc", 1.0), temperature=temperature), DWA(temperature)
    for losses in EPOCHS:
        means = torch.tensor(losses, requires_grad=True)
        theirs(means).backward()  # the gradient is the vector of the factors
        assert list(ours.current_factors().values()) == pytest.approx(means.grad.tolist(), rel=1e-5)
        theirs.step()
        ours.on_epoch_end(dict(zip("abc", losses, strict=True)))
    assert ours.current_factors() != dict.fromkeys("abc", 1.0)


def test_the_first_two_epochs_have_fixed_weights() -> None:
    balancing = DynamicAverage(has.WEIGHTS)
    balancing.on_epoch_end(dict(zip(has.WEIGHTS, EPOCHS[0], strict=True)))
    assert balancing.current_factors() == pytest.approx(has.WEIGHTS)


def test_a_task_that_was_not_trained_keeps_its_last_ratio() -> None:
    balancing = DynamicAverage({"a": 1.0, "b": 1.0})
    for losses in ({"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 1.0}):
        balancing.on_epoch_end(losses)
    before = balancing.current_factors()
    balancing.on_epoch_end({"b": 1.0})
    assert balancing.current_factors() == before
    assert before["a"] < 1.0 < before["b"]


def test_a_loss_of_zero_gives_finite_factors() -> None:
    balancing = DynamicAverage({"a": 1.0, "b": 1.0})
    for losses in ({"a": 0.0, "b": 1.0}, {"a": 0.0, "b": 0.5}):
        balancing.on_epoch_end(losses)
    assert all(map(math.isfinite, balancing.current_factors().values()))
    assert sum(balancing.current_factors().values()) == pytest.approx(2.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_above_0_is_an_input_error(temperature: float) -> None:
    with pytest.raises(InputError) as caught:
        DynamicAverage({"gad": 1.0}, temperature=temperature)
    assert [problem.key for problem in caught.value.problems] == ["balancing.temperature"]


def test_new_weights_hold_at_once_and_keep_the_losses_of_the_epochs() -> None:
    changed, other = DynamicAverage(has.WEIGHTS), DynamicAverage(dict.fromkeys(has.WEIGHTS, 3.0))
    for balancing in (changed, other):
        epochs(balancing)
    changed.set_weights(dict.fromkeys(has.WEIGHTS, 3.0))
    assert changed.current_factors() == pytest.approx(other.current_factors())
    assert len(set(changed.current_factors().values())) > 1
